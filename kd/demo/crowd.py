"""A crowd at the page: how many are served at once, in which order, and how many images one may bring.

What runs the networks on photos (an upload, another crop, a list of a program) is let in at once, up to `QUEUE` events,
each in a thread that costs little while it waits. They compute in turns of one photo or one batch, as many at once as
there are cores. The next turn is for whoever has computed least of late, so that nobody's single photo waits until a
hundred of another visitor are done. Large photos, each of which takes as long to decode as fifty others, have few of
the turns, so that they never hold up all the rest.
Gradio could also gather waiting visitors into batches; then one bad file would fail the whole batch,
and a batch's gain is small beside the time that Gradio itself needs for an upload.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kd.demo.visitor import asking

try:
    import resource
except ImportError:  # Windows
    resource = None

QUEUE = 200  # events that wait, are served, or whose result nobody has fetched; one more is told to come back later
STREAMS = 800  # requests that Gradio serves at once; a page holds one or two of them open
SESSIONS = 200  # whose state Gradio keeps, at 100 kB each, or a message's 1 MB; the page itself keeps nothing there
PEOPLE = 40  # that an address counts as at most: a class and its teacher
STAY = 120  # seconds that somebody counts after fetching an answer
HALF_LIFE = 60  # seconds after which what somebody has computed counts half
MAX_REMEMBERED = 1000  # visitors; beyond that, those are forgotten of whom there is little to remember
LITTLE = 2  # seconds of turns: of ten photos or so
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
    """Lets so many threads at once compute, and so many of these with something large: `with turns.one(): ...`.

    A thread that has more to do takes one turn after the other, and whoever waits comes in between. A turn that becomes
    free goes to whoever has computed least of late (least attained service: M. Nuyens and A. Wierman, "The
    Foreground-Background queue: A survey", 2008), so that neither many questions nor costly ones hold up those who ask
    for little; these, with less than `LITTLE`, are served as they came. An address may have as much as its `people`
    together: who names ever new sessions, and never comes for an answer, gets no more by it.

    Attributes:
        people: how many people an address is.
    """

    def __init__(self, at_once: int, large_at_once: int) -> None:
        self._lock = threading.Lock()
        self._free, self._free_large = at_once, large_at_once
        self._waiting: list[_Place] = []  # in the order in which they came
        self._computed = Recently()  # seconds, by address and by address and session
        self.people = People()

    @contextmanager
    def one(self, large: bool = False) -> Iterator[None]:
        """Wait for a turn, and have it until the block ends.

        Args:
            large: whether it is for something that takes long, and may have few turns only.
        """
        place = _Place(*asking(), large)
        with self._lock:
            self._waiting.append(place)
            self._let_in()
        place.mine.wait()
        since = time.monotonic()  # not this thread's own time: some decoders compute in threads of theirs
        try:
            yield
        finally:
            with self._lock:
                now = time.monotonic()
                self._computed.add(place.address, now - since, now)
                self._computed.add((place.address, place.session), now - since, now)
                self._free += 1
                self._free_large += large
                self._let_in()

    def _let_in(self) -> None:
        """Give turns to those who wait, as far as there are any."""
        now = time.monotonic()  # the same for all, or who waits longest would seem to have had most
        while self._free and (may := [each for each in self._waiting if self._free_large or not each.large]):
            place = min(may, key=lambda each: self._had(each, now))
            self._waiting.remove(place)
            self._free -= 1
            self._free_large -= place.large
            place.mine.set()

    def _had(self, place: "_Place", now: float) -> float:
        """Seconds computed of late, by the session or by its share of the address, whichever is more.

        All below `LITTLE` are equal, and of equals the first in the line is taken.
        """
        of_each = self._computed.of(place.address, now) / self.people.of(place.address, now)
        return max(self._computed.of((place.address, place.session), now), of_each, LITTLE)


class _Place:
    """Somebody who waits for a turn."""

    def __init__(self, address: str, session: str, large: bool) -> None:
        self.address, self.session, self.large = address, session, large
        self.mine = threading.Event()


class People:
    """How many people an address is: sessions that came for an answer of late, 1 to `PEOPLE`."""

    def __init__(self) -> None:
        self._came: dict[str, dict[str, float]] = {}  # by address and session: when; the latest last

    def came(self, address: str, session: str, now: float) -> None:
        """Note that a session has fetched an answer, at a time of `time.monotonic`."""
        sessions = self._came.pop(address, {})
        sessions.pop(session, None)
        self._came[address] = dict([*sessions.items(), (session, now)][-PEOPLE:])
        if len(self._came) > MAX_REMEMBERED:
            del self._came[next(iter(self._came))]

    def of(self, address: str, now: float) -> int:
        """How many it is."""
        return max(1, sum(now - when < STAY for when in self._came.get(address, {}).values()))


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
    """Whether somebody who has `mine` places may have one more: as long as these are fewer than are still free.

    So one address may have half of all; the more addresses there are, the less each gets, and somebody who comes anew
    finds a place until all are taken (A. K. Choudhury and E. L. Hahne, "Dynamic queue length thresholds", 1998).
    """
    return mine < places - taken


# With two cores one large photo at a time is decoded; each may take 400 MB of memory.
TURNS = Turns(cores(), large_at_once=min(4, max(1, cores() - 1)))

PHOTOS = {"concurrency_id": "photos", "concurrency_limit": QUEUE}  # settings of Gradio's events: all wait in `TURNS`
THREADS = QUEUE + 40  # for those, and as many for all else as Gradio has by itself
