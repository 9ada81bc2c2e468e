"""Visitors over plain HTTP, who speak to Gradio as its front end does: hundreds of them cost no browser."""

import io
import json
import secrets
from operator import itemgetter

import httpx
from PIL import Image

PATIENCE = 120  # seconds; a busy machine must not fail a test


class RefusalError(Exception):
    """The server answered with a sentence instead, or with none."""


class Visitor:
    """One visitor with a session of their own.

    Args:
        address: of the page.
        comes_from: the visitor's own address, where the server believes a proxy on this machine.
        config: what the page says of itself, where another visitor has asked for it.
    """

    def __init__(self, address: str, comes_from: str | None = None, config: dict | None = None) -> None:
        headers = {"X-Forwarded-For": comes_from} if comes_from else {}
        self.http = httpx.Client(base_url=address, timeout=PATIENCE, headers=headers)
        self.session = secrets.token_hex(8)
        self.config = config or self.http.get("config").json()

    def upload(self, content: bytes, name: str = "photo.png") -> dict:
        """Upload a file; returns Gradio's description of it."""
        reply = self.http.post("gradio_api/upload", files={"files": (name, content)})
        reply.raise_for_status()
        return {"path": reply.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def classify(self, image: object, temperature: object = 4.0) -> dict | list[dict]:
        """Ask the endpoint `/classify`."""
        return self.wait(self.join(self.event(api_name="classify"), [image, temperature]))[0]

    def show(self, upload: dict | None) -> dict:
        """Do as the page does on an upload: the stage's value; raises RefusalError with its sentence."""
        value = self.wait(self.join(self.event("image", "input"), [upload]))[0]
        if value and "problem" in value:
            raise RefusalError(value["problem"])
        return value

    def show_many(self, uploads: list[dict]) -> dict:
        """Do as the tab of many images does: what its view shows in the end."""
        return self.wait(self.join(self.event("gallery-files", "change"), [uploads]))[0]

    def event(self, elem_id: str | None = None, trigger: str | None = None, api_name: str | None = None) -> int:
        """The number of an event that the server answers, by its component and trigger or by its name."""
        ids = {part["props"].get("elem_id"): part["id"] for part in self.config["components"]}
        for dependency in filter(itemgetter("backend_fn"), self.config["dependencies"]):
            if [ids.get(elem_id), trigger] in dependency["targets"] or api_name and dependency["api_name"] == api_name:
                return dependency["id"]
        raise LookupError(f"the page has no event {elem_id} {trigger} {api_name}")

    def join(self, event: int, data: list) -> str:
        """Stand in the queue; returns the place's id."""
        body = {"data": data, "fn_index": event, "session_hash": self.session, "event_data": None, "trigger_id": None}
        reply = self.http.post("gradio_api/queue/join", json=body)
        if reply.status_code != 200:
            raise RefusalError(reply.text)
        return reply.json()["event_id"]

    def wait(self, place: str) -> list:
        """Wait for the answer; raises RefusalError with the sentence if there is none."""
        for message in self.messages():
            if message.get("event_id") == place and message["msg"] == "process_completed":
                if not message["success"]:
                    raise RefusalError(message["output"]["error"])
                return message["output"]["data"]
        raise RefusalError("the stream ended without an answer")

    def wait_for_all(self, places: list[str]) -> None:
        """Wait until each of these places has been answered, in whatever way."""
        left = set(places)
        for message in self.messages():
            left -= {message.get("event_id")} if message["msg"] == "process_completed" else set()
            if not left:
                return
        raise RefusalError(f"the stream ended before {len(left)} answers")

    def messages(self):
        """All that the server tells this session, until it closes the stream."""
        with self.http.stream("GET", "gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))


def photo_bytes(image: Image.Image, form: str = "PNG", **options) -> bytes:
    """An image as the content of a file."""
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()
