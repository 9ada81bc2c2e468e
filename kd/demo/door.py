"""The door of the page: what a request must be like before Gradio sees it, and what browsers are told of every answer.

Left to itself, Gradio fetches any address that somebody names as a file, takes any number of uploads, lets one visitor
fill the queue, and reads a message of any length. Here, at one place before all of its routes:

- only the routes that the page and `/classify` need are open;
- whatever a message names as a file is an upload of ours, or is replaced by one that does not exist, so that no
  address is ever fetched and the function that wanted the file says the sentence;
- messages and uploads have limits, in all and for each visitor;
- every answer carries the headers that a public page should have, and the page itself its own preview for links.
"""

import html
import ipaddress
import json
import re
import time
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

from kd.demo.crowd import QUEUE, Allowance
from kd.demo.documents import DOCS
from kd.demo.examples import RECORDED
from kd.demo.uploads import NO_UPLOAD, is_upload, no_upload, sweep

API = "/gradio_api/"
# The parts of Gradio's API that its front end and its clients use of this page; `run` is for what needs no queue.
ROUTES = {
    "app_id", "call", "cancel", "custom_component", "heartbeat", "info", "login_check", "openapi.json", "queue",
    "reset", "run", "startup-events", "theme.css", "upload", "upload_progress", "user",
}  # fmt: skip
MAX_MESSAGE = 1_000_000  # bytes; a list of a hundred files is a tenth of that
MAX_DEPTH = 20  # of what is nested in a message
MAX_SESSION = 100  # characters of the name that a browser gives itself; Gradio's front end takes eleven
# Bytes that one address may upload at once, a hundred ordinary photos, and then each second. A class of thirty fits in.
UPLOAD_BURST, UPLOAD_RATE = 500_000_000, 10_000_000
MAX_DRAINED = 50_000_000  # bytes of a refused request that are read and forgotten
SWEEP_PAUSE = 2  # seconds, at least, from one look at all stored uploads to the next
PLACES = 4  # in the queue for one visitor: the page itself asks for two at most

TOO_MUCH = (
    f"Too much was uploaded from your address just now: {UPLOAD_BURST // 10**6} MB at once and "
    f"{UPLOAD_RATE // 10**6} MB a second are the limits. Please wait a little."
)

PREVIEW = Path(__file__).parent / "preview.png"
# What is served beside Gradio's own, by its address: as text what a browser would store instead of showing it.
FILES = {"/preview.png": PREVIEW, f"/{RECORDED.name}": RECORDED}
FILES |= {f"/docs/{path.name}": path for path in DOCS.glob("*.md")}
DESCRIPTION = (
    "Drag the temperature and see what a large network's doubts say, and what a small network learns from them: "
    "knowledge distillation on CIFAR-10, with your own photos."
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
    page.api_open = False  # nobody goes past the queue
    middleware = [Middleware(GZipMiddleware), Middleware(Door, page=page)]  # Gradio sends the page as it is, 250 kB
    return {
        "app_kwargs": {"middleware": middleware, "docs_url": None, "redoc_url": None},
        "run_history": False,  # which sends a visitor's runs to a host of their choice
        "enable_monitoring": False,
    }


class RefusalError(Exception):
    """A request is not let in: the status of the answer, and the sentence in it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Door:
    """The middleware (ASGI) between the server and Gradio."""

    def __init__(self, app: ASGIApp, page: gr.Blocks) -> None:
        self.app, self.page = app, page
        self.allowance = Allowance(UPLOAD_BURST, UPLOAD_RATE)
        self.swept = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send, receive = with_headers(send), Body(receive)
        _, found, route = scope["path"].partition(API)
        try:
            if found:
                check_route(route)
            if file := FILES.get(scope["path"]):
                media_type = "text/plain" if file.suffix == ".md" else None
                await FileResponse(file, media_type=media_type)(scope, receive, send)
            elif not found and scope["method"] in ("GET", "HEAD"):
                await self.app(scope, receive, with_preview(send, scope, self.page.title, self.page.root_path))
            elif scope["method"] != "POST":
                await self.app(scope, receive, send)
            elif route.strip("/") == "upload":
                await self.take_upload(scope, receive, send)
            else:
                await self.app(scope, replay(await self.checked_message(scope, receive, route), receive), send)
        except RefusalError as refusal:
            await receive.drain()
            # Gradio's front end shows the detail of a message that failed, and all the text of an upload that did.
            text = PlainTextResponse(str(refusal), refusal.status)
            answer = text if route.startswith("upload") else JSONResponse({"detail": str(refusal)}, refusal.status)
            await answer(scope, receive, send)

    async def checked_message(self, scope: Scope, receive: Receive, route: str) -> bytes:
        """A message without foreign files, from a visitor who may still stand in the queue."""
        content = await read_message(receive)
        if not content:
            return content
        try:
            message = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RefusalError(400, "This message is not JSON.") from error
        message = only_uploads(message)
        if route.startswith(("queue/join", "call/")):
            session = message.get("session_hash") if isinstance(message, dict) else None
            self.check_places(session, address_of(scope))
        if route.startswith("queue/join"):
            check_form(message, self.page)
        # Written anew in any case, so that Gradio reads what was checked.
        return json.dumps(message).encode()

    def check_places(self, session: object, address: str) -> None:
        """Refuse who waits already: a visitor with `PLACES` places, and an address with half of all."""
        waiting = events_waiting(self.page)
        if sum(event.session_hash == session for event in waiting) >= PLACES:
            raise RefusalError(429, "Your last requests are still waiting. Please wait for their answers first.")
        if sum(address_of(event.request.scope) == address for event in waiting) >= QUEUE // 2:
            raise RefusalError(429, "Too many people at your address are waiting. Please try again in a few seconds.")

    async def take_upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let an upload in as far as its sender's allowance goes; then keep all uploads together within bounds."""
        address, announced = address_of(scope), Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.allowance.left(address):
            raise RefusalError(429, TOO_MUCH)

        async def counted() -> Message:
            message = await receive()
            if not self.allowance.take(address, len(message.get("body", b""))):  # announced less, or nothing
                raise RefusalError(429, TOO_MUCH)
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            if time.monotonic() - self.swept > SWEEP_PAUSE:
                self.swept = time.monotonic()
                await run_in_threadpool(sweep)


def check_route(route: str) -> None:
    """Refuse what the page does not need of Gradio's API, and the address of another host in the place of a file."""
    if route.startswith("file="):
        if "://" in route:
            raise RefusalError(403, NO_UPLOAD)
    elif route.partition("/")[0] not in ROUTES:
        raise RefusalError(404, "This page has no such route.")


def events_waiting(page: gr.Blocks) -> list:
    """The events in the page's queue, each with its `session_hash` and `request`.

    Gradio has no public way to see who waits (`/queue/status` tells a number alone), so this, and nothing else, reads
    what Gradio 6.31 keeps in private. A test asks the real page for it and fails where it is kept elsewhere.
    """
    return [event for queue in page._queue.event_queue_per_concurrency_id.values() for event in queue.queue]


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


def address_of(scope: Scope) -> str:
    """Where a request comes from; behind a proxy, such as a Space's, what the proxy says of that."""
    address = scope["client"][0] if scope.get("client") else ""
    try:
        proxy = ipaddress.ip_address(address).is_private
    except ValueError:
        proxy = False
    forwarded = Headers(scope=scope).get("x-forwarded-for", "") if proxy else ""
    return forwarded.rpartition(",")[2].strip() or address


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
    """A `send` that adds `HEADERS` to the answer."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
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
