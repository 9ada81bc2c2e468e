"""The door of the page: what a request must be like before Gradio sees it, and what browsers are told each time.

Left to itself, Gradio fetches any address that somebody names as a file, takes any number of uploads, lets one visitor
fill the queue, and reads a message of any length. Here, at one place before all of its routes:

- only the routes that the page and `/classify` need are open;
- whatever a message names as a file is an upload of ours, or is replaced by one that does not exist, so that no
  address is ever fetched and the function that wanted the file says the sentence;
- messages, uploads and open connections have limits, in all and for each visitor;
- every response carries the headers that a public page should have, and the page itself its own preview for links.
"""

import asyncio
import html
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import gradio as gr
from gradio.route_utils import get_root_url
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kd.demo.crowd import QUEUE, STREAMS, Allowance, may_have
from kd.demo.documents import DOCS
from kd.demo.examples import RECORDED
from kd.demo.uploads import NO_UPLOAD, is_upload, no_upload, sweep
from kd.demo.visitor import address_of, name_proxies

API = "/gradio_api/"
# The parts of Gradio's API that its front end and its clients use of this page; `run` is for what needs no queue.
# Not `cancel`: it forgets a thread that still waits for its turn, and so lets anybody have any number of them.
ROUTES = {
    "app_id", "call", "custom_component", "heartbeat", "info", "login_check", "openapi.json", "queue",
    "reset", "run", "startup-events", "theme.css", "upload", "upload_progress", "user",
}  # fmt: skip
MAX_MESSAGE = 1_000_000  # bytes; a list of a hundred files is a tenth of that
MAX_DEPTH = 20  # of what is nested in a message
MAX_SESSION = 100  # characters of the name that a browser gives itself; Gradio's front end takes eleven
# Bytes that one address may upload at once, a hundred ordinary photos, and then each second. A class of thirty fits in.
UPLOAD_BURST, UPLOAD_RATE = 500_000_000, 10_000_000
LEAST_UPLOAD = 1_000_000  # bytes that a file counts as at least, so that many small ones do not sweep others away
MAX_DRAINED, DRAIN_SECONDS = 50_000_000, 30  # of a refused request: bytes that are read and forgotten, and how long
SWEEP_PAUSE = 2  # seconds, at least, from one look at all stored uploads to the next

TOO_MUCH = (
    f"Too much was uploaded from your address just now: {UPLOAD_BURST // 10**6} MB at once and "
    f"{UPLOAD_RATE // 10**6} MB a second are the limits. Please wait a little."
)
FULL = "Too many visitors are here at once. Please try again in a few seconds."
FULL_FOR_ONE = "Too much is asked for from your address at once. Please try again in a few seconds."
OTHER_FORM = b'{"detail": "This message has another form than the page can read."}'

PREVIEW = Path(__file__).parent / "preview.png"
# What is served beside Gradio's own, by its address: as text what a browser would store instead of showing it.
FILES = {"/preview.png": PREVIEW, f"/{RECORDED.name}": RECORDED}
FILES |= {f"/docs/{path.name}": path for path in DOCS.glob("*.md")}
DESCRIPTION = (
    "Drag the temperature and see what a large network's doubts say, and what a small network learns from them: "
    "knowledge distillation, with your own photos."
)

# Gradio's front end makes functions from texts (templates, scripts of components), and puts styles and pictures
# into the page; nothing comes from another host. A Space is shown in a frame of its host's page.
CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self' https://huggingface.co",
    )
)
GRADIOS_PREVIEW = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def behind_door(page: gr.Blocks) -> dict:
    """Put the door before a page; returns settings for its launch()."""
    name_proxies()
    page.api_open = False  # nobody goes past the queue
    middleware = [Middleware(GZipMiddleware), Middleware(Door, page=page)]  # Gradio sends the page as it is, 250 kB
    return {
        "app_kwargs": {"middleware": middleware, "docs_url": None, "redoc_url": None},
        "run_history": False,  # which sends a visitor's runs to a host of their choice
        "enable_monitoring": False,
    }


class RefusalError(Exception):
    """A request is not let in: the status of the response, and the sentence in it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Door:
    """The middleware (ASGI) between the server and Gradio."""

    def __init__(self, app: ASGIApp, page: gr.Blocks) -> None:
        self.app, self.page = app, page
        self.allowance = Allowance(UPLOAD_BURST, UPLOAD_RATE)
        self.swept = 0.0
        # By address: open requests to Gradio's API, and those of them that will stand in the queue but do not yet.
        self.open, self.joining = Counter(), Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send, receive, address = with_headers(send), Body(receive), address_of(scope.get("client"))
        _, found, route = scope["path"].partition(API)
        try:
            if found:
                check_route(route)
                check_place(self.open, address, STREAMS)
                with held(self.open, address):
                    await self.answer_api(scope, receive, send, route, address)
            elif file := FILES.get(scope["path"]):
                media_type = "text/plain" if file.suffix == ".md" else None
                await FileResponse(file, media_type=media_type)(scope, receive, send)
            elif scope["method"] in ("GET", "HEAD"):
                await self.app(scope, receive, with_preview(send, scope, self.page.title, self.page.root_path))
            else:
                raise RefusalError(405, "This page takes messages at its API alone.")
        except RefusalError as refusal:
            if may_have(self.open[address], self.open.total(), STREAMS):  # else whoever is refused may not hear why
                with held(self.open, address), suppress(TimeoutError):
                    await asyncio.wait_for(receive.drain(), DRAIN_SECONDS)
            # Gradio's front end shows the detail of a message that failed, and all the text of an upload that did.
            text = PlainTextResponse(str(refusal), refusal.status)
            response = text if route.startswith("upload") else JSONResponse({"detail": str(refusal)}, refusal.status)
            await response(scope, receive, send)

    async def answer_api(self, scope: Scope, receive: Receive, send: Send, route: str, address: str) -> None:
        """Let a request to Gradio's API in; a message without foreign files, from one who may stand in the queue."""
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif route.strip("/") == "upload":
            await self.take_upload(scope, receive, send, address)
        else:
            content = await checked_message(receive, route, self.page)
            queued = route.startswith(("queue/join", "call/"))
            if queued:
                events = (address_of(event.request.scope.get("client")) for event in events_of(self.page))
                check_place(Counter(events) + self.joining, address, QUEUE)
            with held(self.joining, address) if queued else nullcontext():
                await self.app(scope, replay(content, receive), with_sentence(send))

    async def take_upload(self, scope: Scope, receive: Receive, send: Send, address: str) -> None:
        """Let an upload in as far as its sender's allowance goes; then keep all uploads together within bounds."""
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.allowance.left(address):
            raise RefusalError(429, TOO_MUCH)

        boundary, end = boundary_of(Headers(scope=scope)), b""

        async def counted() -> Message:
            nonlocal end
            message = await receive()
            body = message.get("body", b"")
            files = (end + body).count(boundary) if boundary else 0
            end = (end + body)[-len(boundary) + 1 :] if len(boundary) > 1 else b""
            if not self.allowance.take(address, max(len(body), files * LEAST_UPLOAD)):  # announced less, or nothing
                raise RefusalError(429, TOO_MUCH)
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            if time.monotonic() - self.swept > SWEEP_PAUSE:
                self.swept = time.monotonic()
                await run_in_threadpool(sweep)


def boundary_of(headers: Headers) -> bytes:
    """What parts the files of an upload from one another (RFC 2046, 5.1.1); nothing where it is not said."""
    _, found, boundary = headers.get("content-type", "").partition("boundary=")
    boundary = boundary.partition(";")[0].strip().strip('"')
    return b"--" + boundary.encode("latin-1", "replace") if found and boundary else b""


@contextmanager
def held(counts: Counter, address: str) -> Iterator[None]:
    """Count something of an address for as long as it lasts."""
    counts[address] += 1
    try:
        yield
    finally:
        counts[address] -= 1
        if not counts[address]:
            del counts[address]


def check_place(taken: Counter, address: str, places: int) -> None:
    """Refuse one more to an address that has its share of places (`may_have`), or to all where none is left."""
    if not may_have(taken[address], taken.total(), places):
        raise RefusalError(503, FULL) if taken.total() >= places else RefusalError(429, FULL_FOR_ONE)


def check_route(route: str) -> None:
    """Refuse what the page does not need of Gradio's API, and the address of another host in the place of a file."""
    if route.startswith("file="):
        if "://" in route:
            raise RefusalError(403, NO_UPLOAD)
    elif route.partition("/")[0] not in ROUTES or route.startswith("call/v2"):
        raise RefusalError(404, "This page has no such route.")


def events_of(page: gr.Blocks) -> list:
    """The events that wait in the page's queue or are answered, each with its `session_hash` and `request`.

    Gradio has no public way to see who waits (`/queue/status` tells a number alone), so this, and nothing else, reads
    what Gradio 6.31 keeps in private. A test asks the real page for it and fails where it is kept elsewhere.
    """
    waiting = [event for queue in page._queue.event_queue_per_concurrency_id.values() for event in queue.queue]
    return waiting + [event for job in page._queue.active_jobs if job for event in job]


async def checked_message(receive: Receive, route: str, page: gr.Blocks) -> bytes:
    """The content of a message, written anew, so that Gradio reads what was checked: without foreign files."""
    content = await read_message(receive)
    if not content and not route.startswith(("queue/join", "run/", "call/")):
        return content
    try:
        message = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusalError(400, "This message is not JSON.") from error
    message = only_uploads(message)
    if route.startswith(("queue/join", "run/")):
        check_form(message, page)
    elif route.startswith("call/"):
        check_call(message, route, page)
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
    if not isinstance(session, str) or not 0 < len(session) <= MAX_SESSION:
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


def only_uploads(value: object, depth: int = 0) -> object:
    """A message's content in which whatever looks like a file is an upload of ours, or one that does not exist."""
    if depth > MAX_DEPTH:
        raise RefusalError(400, "This message is nested too deeply.")
    if isinstance(value, list):
        return [only_uploads(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if "path" not in value:
        return {key: only_uploads(item, depth + 1) for key, item in value.items()}
    name = value.get("orig_name")
    return {
        "path": value["path"] if is_upload(value["path"]) else no_upload(),
        "orig_name": name if isinstance(name, str) else None,
        "meta": {"_type": "gradio.FileData"},
    }


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


class Body:
    """A `receive` that knows whether all of the request's body has come."""

    def __init__(self, receive: Receive) -> None:
        self.receive, self.over = receive, False

    async def __call__(self) -> Message:
        message = await self.receive()
        self.over = not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read on to the end, or far enough: who is still sending does not hear an answer."""
        left = MAX_DRAINED
        while not self.over and left > 0:
            left -= len((await self()).get("body", b""))


def replay(content: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this content as the whole body, and then what else there is."""
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def with_headers(send: Send) -> Send:
    """A `send` that adds `HEADERS` to the response."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sent


def with_sentence(send: Send) -> Send:
    """A `send` that puts a sentence in the place of what a validator lists about a message of another form."""
    refused = False

    async def sent(message: Message) -> None:
        nonlocal refused
        if message["type"] == "http.response.start" and message["status"] == 422:
            refused = True
            headers = MutableHeaders(scope=message)
            headers["content-length"], headers["content-type"] = str(len(OTHER_FORM)), "application/json"
        if refused and message["type"] == "http.response.body":
            if message.get("more_body", False):
                return
            message = message | {"body": OTHER_FORM}
        await send(message)

    return sent


def with_preview(send: Send, scope: Scope, title: str, root_path: str) -> Send:
    """A `send` that puts the page's own preview, for links to it, in the place of Gradio's; only into HTML."""
    start, content = None, bytearray()

    async def sent(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            if not MutableHeaders(scope=message).get("content-type", "").startswith("text/html"):
                await send(message)
            else:
                start = message
        elif start is None:
            await send(message)
        else:
            content.extend(message.get("body", b""))
            if not message.get("more_body", False):
                root = get_root_url(Request(scope), route_path=scope["path"], root_path=root_path)
                body = GRADIOS_PREVIEW.sub("", content.decode()).replace("<head>", "<head>" + preview(title, root), 1)
                if scope["method"] != "HEAD":
                    MutableHeaders(scope=start)["content-length"] = str(len(body.encode()))
                await send(start)
                await send({"type": "http.response.body", "body": body.encode()})

    return sent


def preview(title: str, root: str) -> str:
    """What other sites show of a link to the page (The Open Graph protocol, ogp.me)."""
    content = {
        "og:type": "website", "og:title": title, "og:description": DESCRIPTION,
        "og:url": f"{root}/", "og:image": f"{root}/preview.png",
    }  # fmt: skip
    lines = [f'<meta property="{name}" content="{html.escape(text)}">' for name, text in content.items()]
    lines += [f'<meta name="description" content="{html.escape(DESCRIPTION)}">']
    return "\n".join([*lines, '<meta name="twitter:card" content="summary_large_image">'])
