"""A crowd at the page: how many are served at once, in which order, and how many images one may bring.

What runs the networks on photos (an upload, another crop, a list of a program) is let in at once, up to `QUEUE` events,
each in a thread that costs little while it waits. They compute in turns of one photo or one batch, as many at once as
there are cores. The next turn is for whoever has computed least of late, so that nobody's single photo waits until a
hundred of another visitor are done. Those with a large photo, which takes as long to decode as fifty others, wait among
themselves, so that they never hold up all the rest.
Gradio could also gather waiting visitors into batches; then one bad file would fail the whole batch,
and a batch's gain is small beside the time that Gradio itself needs for an upload.
"""

import os
import threading
import time
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
PEOPLE = 40  # sessions of which an address may be: a class and its teacher
HALF_LIFE = 60  # seconds after which what somebody has computed counts half
MAX_REMEMBERED = 1000  # visitors; beyond that, those are forgotten of whom there is little to remember
LITTLE = 1  # seconds of computing: of ten photos or so
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
    free goes to whoever has computed least of late (least attained service: M. Nuyens and A. Wierman, "The
    Foreground-Background queue: A survey", 2008), so that neither many questions nor costly ones hold up those who ask
    for little; these, with less than `LITTLE`, are served as they came. An address counts as `PEOPLE` sessions: who
    names ever new ones gets what so many get.
    """

    def __init__(self, at_once: int) -> None:
        self._lock, self._free = threading.Lock(), at_once
        self._waiting: list[tuple[tuple[str, str], threading.Lock]] = []  # who, in the order in which they came
        self._computed = Recently()  # seconds, by address and by address and session
        self._mine = threading.local()

    def __enter__(self) -> None:
        who, place = asking(), None
        with self._lock:
            if self._free:
                self._free -= 1
            else:
                place = threading.Lock()
                place.acquire()
                self._waiting.append((who, place))
        if place:
            place.acquire()  # until somebody hands his turn over
        self._mine.who, self._mine.since = who, time.thread_time()

    def __exit__(self, *_) -> None:
        (address, session), seconds = self._mine.who, time.thread_time() - self._mine.since
        with self._lock:
            now = time.monotonic()  # for all of them, or who waits longest would seem to have had most
            self._computed.add(address, seconds, now)
            self._computed.add((address, session), seconds, now)
            if self._waiting:
                least = min(self._waiting, key=lambda each: self._share(*each[0], now))
                self._waiting.remove(least)
                least[1].release()
            else:
                self._free += 1

    def _share(self, address: str, session: str, now: float) -> float:
        return max(self._computed.of((address, session), now), self._computed.of(address, now) / PEOPLE, LITTLE)


class Recently:
    """How much of something each key had of late: what it had `HALF_LIFE` ago counts half."""

    def __init__(self) -> None:
        self._had: dict[object, tuple[float, float]] = {}  # by key: how much, and when

    def of(self, key: object, now: float) -> float:
        """How much the key had, at a time of `time.monotonic`."""
        amount, when = self._had.get(key, (0.0, now))
        return amount * 0.5 ** ((now - when) / HALF_LIFE)

    def add(self, key: object, amount: float, now: float) -> None:
        """Count what the key has had now."""
        self._had[key] = self.of(key, now) + amount, now
        if len(self._had) > MAX_REMEMBERED:
            self._had = {key: value for key, value in self._had.items() if self.of(key, now) > LITTLE}


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
        if len(self._left) > MAX_REMEMBERED:  # what has filled up again need not be remembered
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
