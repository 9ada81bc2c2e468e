"""What a message to the page may hold: JSON of bounded length, in a form that the page answers, no foreign files."""

import json

import gradio as gr
from starlette.types import Receive

from kd.demo.uploads import NO_UPLOAD, is_upload, no_upload

MAX_MESSAGE = 1_000_000  # bytes; a list of a hundred files is a tenth of that
MAX_DEPTH = 20  # of what is nested in it
MAX_VALUES = 2000  # in it, a file being one; the page sends a list of as many files as Gradio takes at once, 1,000
MAX_COMMAS = 20_000  # in its text, ten for each value: a million bytes of JSON's smallest parts take .1 s to be read
MAX_NAME = 1000  # characters of a file's name, with folders
TOO_MANY_VALUES = "This message holds too much."
FIELDS = ("fn_index", "session_hash", "trigger_id", "event_data", "data")  # what front end and clients send
MAX_SESSION = 100  # characters of the name that a browser gives itself; Gradio's front end takes eleven


class RefusalError(Exception):
    """A request is not let in: the status of the response, and the sentence in it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def checked_message(receive: Receive, route: str, page: gr.Blocks) -> bytes:
    """The content of a message, written anew: so Gradio reads nothing but what was checked, and no foreign files."""
    content = await read_message(receive)
    if not content and not route.startswith(("queue/join", "run/", "call/")):
        return content
    if content.count(b",") > MAX_COMMAS:
        raise RefusalError(413, TOO_MANY_VALUES)
    try:
        message = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusalError(400, "This message is not JSON.") from error
    message = only_uploads(message)
    if route.startswith(("queue/join", "run/")):
        check_form(message, page)
        message = {field: message.get(field) for field in FIELDS}
    elif route.startswith("call/"):
        check_call(message, route, page)
        message = {"data": message["data"]}
    return json.dumps(message).encode()


def check_call(message: object, route: str, page: gr.Blocks) -> None:
    """Refuse a program's question that names no endpoint of the page, or does not bring what it takes."""
    name = route.strip("/").partition("/")[2]
    event = next((event for event in page.fns.values() if event.api_name == name != ""), None)
    if event is None or event.api_visibility == "private":
        raise RefusalError(404, "This page has no such endpoint.")
    values = message.get("data") if isinstance(message, dict) else None
    if not isinstance(values, list) or len(values) != len(event.inputs):
        raise RefusalError(400, f'This message has to bring a list of {len(event.inputs)} values as its "data".')


def check_form(message: object, page: gr.Blocks) -> None:
    """Refuse what asks for an event that the page does not have, or in a form in which nobody can answer it.

    Gradio itself would break off the connection, or log a traceback and answer with no sentence.
    """
    if not isinstance(message, dict):
        raise RefusalError(400, "This message is no JSON object.")
    number, session, values = (message.get(key) for key in ("fn_index", "session_hash", "data"))
    event = page.fns.get(number) if type(number) is int else None
    if event is None or event.fn is None:
        raise RefusalError(400, "This message asks for nothing that the page has.")
    if not isinstance(session, str) or not session.isprintable() or not 0 < len(session) <= MAX_SESSION:
        raise RefusalError(400, "This message names no session.")
    if type(message.get("trigger_id")) not in (int, type(None)):
        raise RefusalError(400, "This message names no component.")
    if not isinstance(values, list) or len(values) != len(event.inputs):
        raise RefusalError(400, f"This message has to bring a list of {len(event.inputs)} values.")
    for value, component in zip(values, event.inputs, strict=True):
        form = getattr(component, "data_model", None)
        if form and value is not None:
            try:
                form.model_validate(value)
            except ValueError as error:  # pydantic's, too
                raise RefusalError(400, NO_UPLOAD) from error


def only_uploads(message: object) -> object:
    """A message's content in which whatever looks like a file is an upload of ours, or one that does not exist.

    Raises:
        RefusalError: it has more than `MAX_VALUES` values, or they are nested too deeply.
    """
    left = MAX_VALUES

    def checked(value: object, depth: int) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise RefusalError(413, TOO_MANY_VALUES)
        if depth > MAX_DEPTH:
            raise RefusalError(400, "This message is nested too deeply.")
        if isinstance(value, list):
            return [checked(item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if "path" not in value:
            return {key: checked(item, depth + 1) for key, item in value.items()}
        name = value.get("orig_name")
        return {
            "path": value["path"] if is_upload(value["path"]) else no_upload(),
            "orig_name": name[:MAX_NAME] if isinstance(name, str) else None,
            "meta": {"_type": "gradio.FileData"},
        }

    return checked(message, 0)


async def read_message(receive: Receive) -> bytes:
    """The whole body of a request.

    Raises:
        RefusalError: it is longer than `MAX_MESSAGE`.
    """
    content, more = bytearray(), True
    while more:
        message = await receive()
        content += message.get("body", b"")
        if len(content) > MAX_MESSAGE:
            raise RefusalError(413, "This message is too long.")
        more = message.get("more_body", False)
    return bytes(content)
