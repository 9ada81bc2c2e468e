"""What other sites show of a link to the page: a title, a sentence and a picture, in the place of Gradio's own."""

import html
import re
from pathlib import Path

from gradio.route_utils import get_root_url
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import Message, Scope, Send

PREVIEW = Path(__file__).parent / "preview.png"
DESCRIPTION = (
    "Drag the temperature and see what a large network's doubts say, and what a small network learns from them: "
    "knowledge distillation, with your own photos."
)
GRADIOS_PREVIEW = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')


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
