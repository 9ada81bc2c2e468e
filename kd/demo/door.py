"""The door of the page: what a request must be like before Gradio sees it, and what browsers are told each time.

Left to itself, Gradio fetches any address that somebody names as a file, takes any number of uploads, lets one visitor
fill the queue, and reads a message of any length. Here, at one place before all of its routes:

- only the routes that the page and `/classify` need are open;
- whatever a message names as a file is an upload of ours, or is replaced by one that does not exist, so that no
  address is ever fetched and the function that wanted the file says the sentence;
- messages (`kd.demo.messages`), uploads, results and requests have limits, in all and for each visitor;
- every response carries the headers that a public page should have, and the page itself its own preview for links.
"""

import asyncio
import logging
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import gradio as gr
from gradio import route_utils
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kd.demo.crowd import QUEUE, STREAMS, Allowance, may_have, open_many_files
from kd.demo.documents import DOCS
from kd.demo.examples import RECORDED
from kd.demo.kept import Places, forget_old_uploads
from kd.demo.messages import RefusalError, checked_message
from kd.demo.preview import PREVIEW, with_preview
from kd.demo.uploads import NO_UPLOAD, sweep
from kd.demo.visitor import address_of, name_proxies

API = "/gradio_api/"
# The parts of Gradio's API that its front end and its clients use of this page; `run` is for what needs no queue.
# Not `cancel`: it forgets a thread that still waits for its turn, and so lets anybody have any number of them.
ROUTES = {
    "app_id", "call", "custom_component", "heartbeat", "info", "queue", "run", "startup-events", "theme.css",
    "upload", "upload_progress", "user",
}  # fmt: skip
MAX_ADDRESS = 2000  # characters of a request's path and query; the longest that the page needs is that of a file
# Bytes that one address may upload at once, a hundred ordinary photos, and then each second. A class of thirty fits in.
UPLOAD_BURST, UPLOAD_RATE = 500_000_000, 10_000_000
LEAST_UPLOAD = 1_000_000  # bytes that a file counts as at least, so that many small ones do not sweep others away
MAX_DRAINED, DRAIN_SECONDS = 50_000_000, 30  # of a refused request: bytes that are read and forgotten, and how long
DRAIN_PAUSE = 0.01  # seconds after each 64 kB of them: no faster than most connections, and others come in between
TOO_MUCH_IS_ASKED = (413, 429, 503)  # statuses of refusals that come late, so that asking again at once gains nothing
REFUSAL_PAUSE = 1  # seconds
SWEEP_PAUSE = 2  # seconds, at least, from one look at all stored uploads to the next

TOO_MUCH = (
    f"Too much was uploaded from your address just now: {UPLOAD_BURST // 10**6} MB at once and "
    f"{UPLOAD_RATE // 10**6} MB a second are the limits. Please wait a little."
)
NO_FILE = "Each part of an upload has to be a file."
FAILED = "The page could not answer this. Please try again."
FULL = "Too many visitors are here at once. Please try again in a few seconds."
FULL_FOR_ONE = "Too many requests from your address at once. Please try again in a few seconds."

# What is served beside Gradio's own, by its address: as text what a browser would store instead of showing it.
FILES = {"/preview.png": PREVIEW, f"/{RECORDED.name}": RECORDED}
FILES |= {f"/docs/{path.name}": path for path in DOCS.glob("*.md")}
ASSETS = ("/assets/", "/static/")  # files of Gradio's, of which a browser asks for dozens at once

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
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def behind_door(page: gr.Blocks) -> dict:
    """Put the door before a page; returns settings for its launch()."""
    name_proxies()
    open_many_files()
    forget_old_uploads()
    route_utils.GradioMultiPartParser = FilesAlone
    page.api_open = False  # nobody goes past the queue
    middleware = [Middleware(GZipMiddleware), Middleware(Door, page=page)]  # Gradio sends the page as it is, 250 kB
    return {
        "app_kwargs": {"middleware": middleware, "docs_url": None, "redoc_url": None},
        "run_history": False,  # which sends a visitor's runs to a host of their choice
        "enable_monitoring": False,
    }


_log = logging.getLogger(__name__)


class Door:
    """The middleware (ASGI) between the server and Gradio."""

    def __init__(self, app: ASGIApp, page: gr.Blocks) -> None:
        self.app, self.page = app, page
        self.allowance = Allowance(UPLOAD_BURST, UPLOAD_RATE)
        self.swept, self.sweep_is_due, self.sweeps = 0.0, False, set()
        self.places = Places(page)
        # By address: open requests that Gradio serves, and those of them that will stand in the queue but do not yet.
        self.open, self.joining = Counter(), Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send, receive, address = SendWithHeaders(send), Body(receive), address_of(scope.get("client"))
        try:
            await self.let_in(scope, receive, send, address)
        except RefusalError as refusal:
            await self.refuse(refusal, scope, receive, send, address)
        except Exception as error:  # of Gradio's own, which the server would respond to past this door
            at = traceback.extract_tb(error.__traceback__)[-1]
            _log.error("%.100r ended in %s (%s:%s)", scope["path"], type(error).__name__, at.filename, at.lineno)
            if not send.begun:
                await self.refuse(RefusalError(500, FAILED), scope, receive, send, address)

    async def let_in(self, scope: Scope, receive: Receive, send: Send, address: str) -> None:
        """Serve a request, or let Gradio do it; raises RefusalError."""
        path, query = scope["path"], scope.get("query_string", b"")
        _, found, route = path.partition(API)
        if len(path) + len(query) > MAX_ADDRESS:
            raise RefusalError(414, "This address is too long.")
        if QueryParams(query).get("page"):
            raise RefusalError(404, "There is one page here, and none within it.")
        if file := FILES.get(path):
            media_type = "text/plain" if file.suffix == ".md" else None
            await FileResponse(file, media_type=media_type)(scope, receive, send)
            return
        if found:
            check_route(route)
        elif scope["method"] not in ("GET", "HEAD"):
            raise RefusalError(405, "This page takes messages at its API alone.")
        if path.startswith(ASSETS):
            await self.app(scope, receive, send)
            return
        check_place(self.open, address, STREAMS)
        with held(self.open, address):
            if found:
                await self.let_into_api(scope, receive, send, route, address)
            else:
                await self.app(scope, receive, with_preview(send, scope, self.page.title, self.page.root_path))

    async def refuse(self, refusal: RefusalError, scope: Scope, receive: Receive, send: Send, address: str) -> None:
        """Answer with the sentence of a refusal, once the request has been heard out."""
        if may_have(self.open[address], self.open.total(), STREAMS):  # else whoever is refused may not hear why
            with held(self.open, address), suppress(TimeoutError):
                await asyncio.wait_for(receive.drain(), DRAIN_SECONDS)
                if refusal.status in TOO_MUCH_IS_ASKED:
                    await asyncio.sleep(REFUSAL_PAUSE)
        # Gradio's front end shows the detail of a message that failed, and all the text of an upload that did.
        upload = scope["path"].partition(API)[2].startswith("upload")
        text = PlainTextResponse(str(refusal), refusal.status)
        response = text if upload else JSONResponse({"detail": str(refusal)}, refusal.status)
        await response(scope, receive, send)

    async def let_into_api(self, scope: Scope, receive: Receive, send: Send, route: str, address: str) -> None:
        """Let a request to Gradio's API in; a message without foreign files, from one who may stand in the queue."""
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif route.strip("/") == "upload":
            await self.take_upload(scope, receive, send, address)
        else:
            queued = route.startswith(("queue/join", "call/"))
            if queued:  # before anything is read, and once more before it is let in
                await self.check_queue(address)
            content = await checked_message(receive, route, self.page)
            if queued:
                await self.check_queue(address)
            with held(self.joining, address) if queued else nullcontext():
                await self.app(scope, replay(content, receive), send)

    async def check_queue(self, address: str) -> None:
        """Refuse one who has as many places in the queue as an address may have."""
        check_place(await self.places.taken() + self.joining, address, QUEUE)

    async def take_upload(self, scope: Scope, receive: Receive, send: Send, address: str) -> None:
        """Let an upload in as far as its sender's allowance goes; then keep all uploads together within bounds."""
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.allowance.left(address):
            raise RefusalError(429, TOO_MUCH)

        boundary, tail = boundary_of(Headers(scope=scope)), b""

        async def counted() -> Message:
            nonlocal tail
            message = await receive()
            body = message.get("body", b"")
            files = (tail + body).count(boundary)
            tail = (tail + body)[-len(boundary) + 1 :]  # two messages may share a boundary
            if not self.allowance.take(address, max(len(body), files * LEAST_UPLOAD)):  # announced less, or nothing
                raise RefusalError(429, TOO_MUCH)
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            if not self.sweep_is_due:
                self.sweep_is_due = True
                task = asyncio.create_task(self.sweep_soon())
                self.sweeps.add(task)  # or nobody would hold it
                task.add_done_callback(self.sweeps.discard)

    async def sweep_soon(self) -> None:
        """Keep all uploads together within bounds, after the pause since the last time."""
        await asyncio.sleep(max(0, self.swept + SWEEP_PAUSE - time.monotonic()))
        self.swept, self.sweep_is_due = time.monotonic(), False  # what ends from now on wants another one
        await run_in_threadpool(sweep)


class FilesAlone(route_utils.GradioMultiPartParser):
    """Gradio's reader of an upload, for files alone: any other part it would keep in memory, however long it is."""

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.file is None:
            raise RefusalError(400, NO_FILE)


def boundary_of(headers: Headers) -> bytes:
    """What parts the files of an upload from one another, read as Gradio does, which takes an empty name as well."""
    _, options = route_utils.parse_options_header(headers.get("content-type", ""))
    return b"--" + options.get(b"boundary", b"")


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


class Body:
    """A `receive` that knows whether all of the request's body has come."""

    def __init__(self, receive: Receive) -> None:
        self.receive, self.over = receive, False

    async def __call__(self) -> Message:
        message = await self.receive()
        self.over = not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read on to the end, or far enough: who is still sending does not hear a response."""
        left = MAX_DRAINED
        while not self.over and left > 0:
            left -= len((await self()).get("body", b""))
            await asyncio.sleep(DRAIN_PAUSE)


def replay(content: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this content as the whole body, and then what else there is."""
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


class SendWithHeaders:
    """A `send` that adds `HEADERS` to the response, and knows whether it has begun."""

    def __init__(self, send: Send) -> None:
        self.send, self.begun = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            MutableHeaders(scope=message).update(HEADERS)
        await self.send(message)
