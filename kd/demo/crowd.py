"""A crowd at the page: how many are served at once, in which order, and how many images one may bring.

What runs the networks on photos (an upload, another crop, a list of a program) is let in at once, up to `QUEUE` events,
each in a thread that costs little while it waits. They compute in turns of one photo or one batch, as many at once as
there are cores. Visitors take their turns one after the other, however much each of them has to do, so that nobody's
single photo waits until a hundred of another visitor are done. Those with a large photo, which takes as long to decode
as fifty others, wait among themselves, so that they never hold up all the rest.
Gradio could also gather waiting visitors into batches; then one bad file would fail the whole batch,
and a batch's gain is small beside the time that Gradio itself needs for an upload.
"""

import os
import threading
import time
from collections import OrderedDict, deque
from contextlib import suppress
from pathlib import Path

from kd.demo.visitor import asking

try:
    import resource
except ImportError:  # Windows
    resource = None

QUEUE = 200  # events that wait, are served, or whose result nobody has fetched; one more is told to come back later
STREAMS = 800  # requests that Gradio serves at once; a page holds one or two of them open
SESSIONS = 200  # whose state Gradio keeps, at 100 kB each, or a message's 1 MB; the page itself keeps nothing there
MAX_IMAGES = 100  # in the tab of many images, and in one list for the endpoint


def cores() -> int:
    """How many cores this process may use: in a container often fewer than the machine has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("utf-8").split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # not Linux, or without a limit, which reads "max"
        return allowed


def open_many_files() -> None:
    """Let this process have as many files and connections open as the system allows it: at first often 1,024."""
    if resource:
        with suppress(OSError, ValueError):  # macOS allows less than it says
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Turns:
    """Lets so many threads at once compute: `with turns: ...`.

    A thread that has more to do takes one turn after the other, and whoever waits comes in between. A turn that becomes
    free goes to the next address in a round of all that wait, and there to the next session in a round of its own: who
    names ever new sessions has no more turns than his address. Each session's threads are served as they came.
    """

    def __init__(self, at_once: int) -> None:
        self._lock, self._free = threading.Lock(), at_once
        self._waiting: OrderedDict[str, OrderedDict[str, deque]] = OrderedDict()  # by address, then by session

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine, (address, session) = threading.Lock(), asking()
            mine.acquire()
            self._waiting.setdefault(address, OrderedDict()).setdefault(session, deque()).append(mine)
        mine.acquire()  # until somebody hands his turn over

    def __exit__(self, *_) -> None:
        with self._lock:
            if self._waiting:
                self._next().release()
            else:
                self._free += 1

    def _next(self) -> threading.Lock:
        address, sessions = self._waiting.popitem(last=False)
        session, threads = sessions.popitem(last=False)
        thread = threads.popleft()
        if threads:
            sessions[session] = threads
        if sessions:
            self._waiting[address] = sessions
        return thread


class Allowance:
    """So much at once for each key, and so much more each second (a token bucket)."""

    def __init__(self, at_once: float, each_second: float) -> None:
        self._at_once, self._each_second = at_once, each_second
        self._left: dict[str, tuple[float, float]] = {}  # by key: what was left, and when

    def left(self, key: str) -> float:
        """What the key may take now."""
        left, when = self._left.get(key, (self._at_once, 0.0))
        return min(self._at_once, left + (time.monotonic() - when) * self._each_second)

    def take(self, key: str, amount: float) -> bool:
        """Take it, if there is so much."""
        left = self.left(key)
        if amount > left:
            return False
        self._left[key] = left - amount, time.monotonic()
        if len(self._left) > 1000:  # what has filled up again need not be remembered
            self._left = {key: value for key, value in self._left.items() if self.left(key) < self._at_once}
        return True


def may_have(mine: int, taken: int, places: int) -> bool:
    """Whether somebody who has this many places may have one more: fewer than are still free.

    So one address may have half of all; the more addresses there are, the less each gets, and somebody who comes anew
    finds a place until all are taken (A. K. Choudhury and E. L. Hahne, "Dynamic queue length thresholds", 1998).
    """
    return mine < places - taken


TURNS = Turns(cores())
# Who reads a large photo takes one of these first: with two cores, one at a time; each may take 400 MB of memory.
LARGE = Turns(min(4, max(1, cores() - 1)))

PHOTOS = {"concurrency_id": "photos", "concurrency_limit": QUEUE}  # settings of Gradio's events: all wait in `TURNS`
THREADS = QUEUE + 40  # for those, and as many for all else as Gradio has by itself
