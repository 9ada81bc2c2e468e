"""What Gradio would keep of its visitors for good: results that nobody fetches, and how far uploads have come.

Gradio has no public way to see who waits (`/queue/status` tells a number alone), nor to forget. So this reads and
changes what Gradio 6.31 keeps in private, as visitor.py and door.py do once each; tests ask the real page and fail
where it is kept elsewhere.
"""

import asyncio
import time
from collections import Counter, defaultdict

import gradio as gr
from gradio.routes import file_upload_statuses

from kd.demo.crowd import QUEUE, TURNS
from kd.demo.visitor import address_of

UNREAD_SECONDS, UNREAD_IN_A_CROWD = 60, 5  # that a result waits to be fetched; a page that is open does so at once
UPLOADS = 1000  # of which Gradio remembers how far they have come


class Places:
    """The places in the page's queue: of events that wait or are served, and of results until they are fetched."""

    def __init__(self, page: gr.Blocks) -> None:
        self._queue = page._queue
        self._unread: dict[str, tuple[str, str, float]] = {}  # by event: address, session, and since when
        self._send, self._queue.send_message = self._queue.send_message, self._note_and_send

    async def taken(self) -> Counter:
        """How many each address has; first of all, results that nobody fetched in time go, with their session."""
        crowd = len(self.events()) + len(self._unread) > QUEUE // 2
        patience = UNREAD_IN_A_CROWD if crowd else UNREAD_SECONDS
        for event, (address, session, since) in list(self._unread.items()):
            if event not in self._unread:  # forgotten with its session
                continue
            messages = self._queue.pending_messages_per_session.get(session)
            if messages is None or messages.empty():
                self._unread.pop(event, None)
                TURNS.people.came(address, session, time.monotonic())
            elif time.monotonic() - since > patience:
                await self._forget(session)
        addresses = [address_of_event(event) for event in self.events()]
        return Counter(addresses + [address for address, _, _ in self._unread.values()])

    def events(self) -> list:
        """The events that wait or are served, each with its `session_hash` and `request`."""
        waiting = [event for queue in self._queue.event_queue_per_concurrency_id.values() for event in queue.queue]
        return waiting + [event for job in self._queue.active_jobs if job for event in job]

    def _note_and_send(self, event: object, message: object) -> None:
        self._send(event, message)
        if event.alive and message.msg == "process_completed":
            self._unread[event._id] = address_of_event(event), event.session_hash, time.monotonic()

    async def _forget(self, session: str) -> None:
        self._unread = {event: each for event, each in self._unread.items() if each[1] != session}
        await self._queue.clean_events(session_hash=session)
        self._queue.pending_messages_per_session.pop(session, None)
        self._queue.pending_event_ids_session.pop(session, None)


def address_of_event(event: object) -> str:
    """Whose an event is."""
    return address_of(event.request.scope.get("client"))


class Recent(defaultdict):
    """A dict that forgets its oldest entry for each one beyond `UPLOADS`."""

    def __setitem__(self, key: str, value: object) -> None:
        super().__setitem__(key, value)
        while len(self) > UPLOADS:
            del self[next(iter(self))]


def forget_old_uploads() -> None:
    """Let Gradio remember of the last uploads alone how far they have come."""
    file_upload_statuses._signals, file_upload_statuses._statuses = Recent(asyncio.Event), Recent()
