"""A crowd at the page: fifty visitors at once all get their own answer, in the order in which they came."""

import json
import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kd.demo import crowd, door, messages, uploads
from kd.demo import page as page_module
from kd.demo.crowd import (
    HALF_LIFE,
    LITTLE,
    MAX_REMEMBERED,
    PEOPLE,
    PHOTOS,
    QUEUE,
    STAY,
    Allowance,
    People,
    Recently,
    Turns,
    cores,
    open_many_files,
)  # fmt: skip
from kd.demo.uploads import read_upload
from kd.photo import MAX_FILE_BYTES
from tests import benchmark_crowd
from tests.benchmark_crowd import CROWD, GROWTH, LAST, P95, crowd_text
from tests.serving import ROOT, wait_until
from tests.visitors import Visitor, photo_bytes

VISITORS = 50
OVERTAKEN = 16  # places that a visitor may lose: threads start at once, and answers cross on their way


@pytest.fixture(scope="module")
def visitors(networks, tiny, tmp_path_factory):
    """Of a page of tiny networks in this process: whose photo comes when does not hang on the networks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        page = page_module.build_page(networks)
        page_module.launch(page, prevent_thread_lock=True, quiet=True)
        first = Visitor(page.local_url)
        yield [first, *(Visitor(page.local_url, config=first.config) for _ in range(VISITORS - 1))]
        # Its thread ends by itself; `page.close()` would wait for the visitors' streams.
        page.server.should_exit = page.server.force_exit = True


@pytest.fixture(scope="module")
def large_photos(visitors):
    """Uploads of a large photo under twenty names, which the server takes for as many; whoever knows them may ask."""
    content = photo_bytes(photo_of(0).resize((1500, 1500)), "JPEG")
    return [visitors[0].upload(content, f"{number}.jpg") for number in range(20)]


def photo_of(number):
    """A photo like no other visitor's."""
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("way", ["page", "endpoint"])
def test_fifty_visitors_at_once_each_get_the_answer_to_their_own_photo(visitors, tiny_trio, way):
    expected = tiny_trio.timed_logits([photo_of(number) for number in range(VISITORS)])
    together = threading.Barrier(VISITORS)

    def visit(number):
        together.wait()
        upload = visitors[number].upload(photo_bytes(photo_of(number)), f"{number}.png")
        return visitors[number].show(upload) if way == "page" else visitors[number].classify(upload)

    with ThreadPoolExecutor(VISITORS) as pool:
        for number, answer in enumerate(pool.map(visit, range(VISITORS))):
            for role, alone in expected[number].items():
                assert answer["models"][role]["logits"] == pytest.approx(alone.logits, abs=1e-3)


def test_who_comes_first_is_served_first(visitors):
    uploads = [visitor.upload(photo_bytes(photo_of(number))) for number, visitor in enumerate(visitors)]
    events = [visitor.event("image", "input") for visitor in visitors]
    served = [0.0] * VISITORS

    def wait(number, place):
        visitors[number].wait(place)
        served[number] = time.monotonic()

    with ThreadPoolExecutor(VISITORS) as pool:
        for number, visitor in enumerate(visitors):
            place = visitor.join(events[number], [uploads[number]])
            pool.submit(wait, number, place)
    order = sorted(range(VISITORS), key=served.__getitem__)
    lost = [order.index(number) - number for number in range(VISITORS)]
    assert max(lost) <= OVERTAKEN, order


def done(visitor, place):
    """The answer to what stands in the queue, and when it came."""
    return visitor.wait(place), time.monotonic()


@pytest.mark.parametrize("way", ["tab", pytest.param("endpoint", marks=pytest.mark.slow)])
def test_a_single_photo_does_not_wait_behind_lists_of_other_visitors(visitors, large_photos, way):
    lists, single = visitors[:3], visitors[3]
    photo = single.upload(photo_bytes(photo_of(1)))
    name = {"elem_id": "gallery-files", "trigger": "change"} if way == "tab" else {"api_name": "classify"}
    asked = [] if way == "tab" else [1.0]
    with ThreadPoolExecutor(len(lists)) as pool:
        lists_done = [
            pool.submit(done, visitor, visitor.join(visitor.event(**name), [large_photos, *asked])) for visitor in lists
        ]
        single.show(photo)
        served = time.monotonic()
    assert served < min(list_done.result()[1] for list_done in lists_done)


def test_who_has_much_to_do_takes_turns_with_the_others():
    turns, order, started = Turns(1, 1), [], threading.Event()

    def work(name, times):
        for _ in range(times):
            with turns.one():
                order.append(name)
                started.set()
                if len(order) == 1:
                    wait_until(lambda: len(turns._waiting) == 2)

    many = threading.Thread(target=work, args=("many", 6))
    many.start()
    started.wait()
    others = [threading.Thread(target=work, args=(f"single {number}", 1)) for number in range(2)]
    for other in others:
        other.start()
    for thread in (many, *others):
        thread.join()
    assert sorted(order[:3]) == ["many", "single 0", "single 1"]
    assert order.count("many") == 6


def served(monkeypatch, costs, *askers, people=()):
    """In which order those who wait get their turns, one at a time.

    Args:
        costs: seconds of a turn, by address; else .1.
        askers: an address and a session each, and whether it is for something large.
        people: addresses and sessions that came for answers before.
    """
    turns, order, threads, who, now = Turns(1, 1), [], [], threading.local(), [1000.0]
    for each in people:
        turns.people.came(*each, now[0])
    monkeypatch.setattr(crowd, "asking", lambda: getattr(who, "is_asking", ("", "")))
    monkeypatch.setattr(crowd, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(crowd, "HALF_LIFE", 1e9)

    def work(asker):
        who.is_asking = asker[:2]
        with turns.one(*asker[2:]):
            order.append(asker)
            now[0] += costs.get(asker[0], 0.1)

    with turns.one():
        for asker in askers:
            threads.append(threading.Thread(target=work, args=(asker,)))
            threads[-1].start()
            wait_until(lambda: len(turns._waiting) == len(threads))
    for thread in threads:
        thread.join()
    assert not turns._waiting and (turns._free, turns._free_large) == (1, 1)
    return order


def test_who_has_computed_much_waits_for_all_who_have_computed_little(monkeypatch):
    busy, cheap = [("busy", "a")] * 5, [("cheap", "a")] * 5
    order = served(monkeypatch, {"busy": 2 * LITTLE}, *busy, *cheap, ("quiet", "a"), ("quiet", "b"))
    assert order == [busy[0], *cheap, ("quiet", "a"), ("quiet", "b"), *busy[1:]]


@pytest.mark.parametrize("people", [0, 10, PEOPLE, PEOPLE + 20])
def test_sessions_of_an_address_count_once_they_came_for_their_answers_and_then_as_a_class_at_most(monkeypatch, people):
    many = [("many", f"session {number}") for number in range(PEOPLE + 20)]
    order = served(monkeypatch, {"many": 0.75 * LITTLE}, *many, ("elsewhere", "a"), people=many[:people])
    allowed = LITTLE * min(PEOPLE, max(1, people))
    assert order.index(("elsewhere", "a")) == min(len(many), allowed // (0.75 * LITTLE) + 1)


def test_of_those_who_have_computed_as_much_the_first_one_is_served_first(monkeypatch):
    each = [(f"visitor {number}", "a") for number in range(20)]
    order = served(monkeypatch, dict.fromkeys((address for address, _ in each), 3 * LITTLE), *each, *each)
    assert order == [*each, *each]


def test_who_waits_with_something_large_holds_up_nobody_meanwhile(monkeypatch):
    busy, honest = ("busy", "a", True), ("honest", "a", True)
    order = served(monkeypatch, {"busy": 5 * LITTLE}, busy, busy, busy, honest, ("small", "a"))
    assert order == [busy, honest, ("small", "a"), busy, busy]


def test_who_came_for_an_answer_is_remembered_for_a_while(monkeypatch):
    people = People()
    for number in range(5):
        people.came("class", f"pupil {number}", now=10 * number)
        people.came("class", "pupil 0", now=10 * number)
    assert people.of("class", 50) == 5 and people.of("class", STAY + 25) == 3 and people.of("class", 2 * STAY) == 1
    assert people.of("elsewhere", 0) == 1
    for number in range(2 * MAX_REMEMBERED):
        people.came(f"visitor {number}", "a", now=1000)
    assert len(people._came) == MAX_REMEMBERED


def test_what_was_computed_counts_half_after_its_half_life_and_is_forgotten_of_old_visitors():
    recently = Recently()
    recently.add("a", 8, now=100)
    recently.add("a", 2, now=100 + HALF_LIFE)
    assert recently.of("a", 100 + HALF_LIFE) == 6 and recently.of("a", 100 + 2 * HALF_LIFE) == 3
    assert recently.of("b", 100) == 0
    for number in range(3 * MAX_REMEMBERED):
        recently.add(number, 2 * LITTLE, now=1000 + number)
    assert len(recently._had) <= MAX_REMEMBERED + 1 and recently.of(number, 1000 + number) == 2 * LITTLE


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_no_more_than_the_allowed_number_compute_at_once_and_an_error_gives_its_turn_back(at_once):
    turns, lock, now, most = Turns(at_once, 1), threading.Lock(), [0], [0]
    together = threading.Barrier(at_once, timeout=60)  # of 60, which every number here divides

    def work(number):
        try:
            with turns.one():
                with lock:
                    now[0] += 1
                    most[0] = max(most[0], now[0])
                together.wait()
                time.sleep(0.002)
                with lock:
                    now[0] -= 1
                raise ValueError(number)
        except ValueError:
            return number

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(work, range(60))) == list(range(60))
    assert most[0] == at_once


def test_an_allowance_is_used_up_by_its_key_alone_and_comes_back_with_time(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(crowd.time, "monotonic", lambda: now[0])
    allowance = Allowance(10, 2)
    assert allowance.take("a", 8) and not allowance.take("a", 3) and allowance.take("a", 2)
    assert allowance.left("a") == 0 and allowance.left("b") == 10
    now[0] += 2
    assert allowance.left("a") == 4
    now[0] += 3600
    assert allowance.left("a") == 10
    for number in range(3000):
        now[0] += 10
        allowance.take(f"visitor {number}", 1)
    assert len(allowance._left) <= 1001  # who has not come for long is forgotten


def test_the_documentation_tells_the_limits():
    text = " ".join((ROOT / "docs" / "hosting.md").read_text("utf-8").split())
    for said in (
        f"Up to {QUEUE} questions",
        f"for {crowd.STREAMS} requests",
        f"up to {crowd.MAX_IMAGES} images",
        f"{door.UPLOAD_BURST // 10**6} MB at once and {door.UPLOAD_RATE // 10**6} MB a second",
        f"at most {messages.MAX_MESSAGE // 10**6} MB and {messages.MAX_VALUES:,} values",
        f"{uploads.MAX_STORED // 10**9} GB and {uploads.MAX_STORED_FILES:,} files",
        f"for {(uploads.SWEEP_SECONDS + uploads.CACHE_SECONDS) // 60} minutes at most",
        f"A photo has at most {MAX_FILE_BYTES // 10**6} MB",
    ):
        assert said in text, said


def test_the_limits_stand_in_the_page(visitors, networks, tiny):
    queue = page_module.build_page(networks)._queue
    assert queue.max_size == QUEUE >= 2 * VISITORS and queue.default_concurrency_limit == cores()
    dependencies = {entry["api_name"]: entry for entry in visitors[0].config["dependencies"]}
    assert dependencies["classify"]["queue"]
    assert crowd.THREADS > PHOTOS["concurrency_limit"] == QUEUE  # or those who wait would hold up all else


@pytest.mark.parametrize(
    ("limit", "allowed", "cores"),
    [("200000 100000", 16, 2), ("50000 100000", 16, 1), ("800000 100000", 4, 4), ("max 100000", 4, 4), (None, 4, 4)],
)
def test_a_containers_share_of_the_cores_counts(monkeypatch, limit, allowed, cores):
    def read_text(path, *_):
        if limit is None:
            raise FileNotFoundError(path)
        return limit + "\n"

    monkeypatch.setattr(crowd.os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    monkeypatch.setattr(crowd.Path, "read_text", read_text)
    assert crowd.cores() == cores


def test_large_photos_wait_among_themselves_and_hold_up_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(uploads, "TURNS", turns := Turns(2, 1))
    Image.new("RGB", (3000, 2000)).save(tmp_path / "large.png")
    Image.new("RGB", (300, 200)).save(tmp_path / "small.png")
    large, small = ({"path": str(tmp_path / name)} for name in ("large.png", "small.png"))
    with ThreadPoolExecutor(8) as pool:
        with turns.one(large=True):
            waiting = [pool.submit(read_upload, large, 32) for _ in range(4)]
            assert pool.submit(read_upload, small, 32).result(60).size == (32, 32)
            assert not any(each.done() for each in waiting)
        for each in waiting:
            assert each.result(60).mode == "RGB"


MEMORY = """
import threading
from kd.memory import return_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if {keep}:
    assert return_freed_memory()
before = resident()
kept = []

def read_photos():
    for _ in range(4):
        photos = [bytearray(6_000_000) for _ in range(4)]
        kept.append(bytes(50_000))
        del photos

for _ in range(12):
    thread = threading.Thread(target=read_photos)
    thread.start()
    thread.join()
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="the allocator is another one")
def test_what_large_photos_took_goes_back_to_the_system():
    run = [sys.executable, "-c", MEMORY.format(keep=True)]
    assert int(subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT).stdout) < 6_000_000


def test_the_benchmark_of_a_crowd_held_its_limits_and_the_documentation_quotes_it():
    found = json.loads(CROWD.read_text("utf-8"))
    crowd, growth = found["crowd"], found["growth"]
    assert (crowd["honest"], crowd["abusive"], crowd["look"]) == (90, len(benchmark_crowd.ABUSES), benchmark_crowd.LOOK)
    assert crowd["answered"] == crowd["photos"] == 450 and crowd["p95_ms"] < P95
    assert crowd["most_bytes"] < benchmark_crowd.MEMORY and crowd["without_sentence"] == 0
    assert growth["last"] == LAST and growth["last_bytes"] / growth["first_bytes"] - 1 < GROWTH
    document = (ROOT / "docs" / "hosting.md").read_text("utf-8")
    assert document.split("<!-- crowd -->\n")[1].split("<!-- end of crowd -->")[0] == crowd_text(found)


def test_as_many_files_may_be_open_as_the_system_allows():
    resource = pytest.importorskip("resource", reason="needs limits on the number of files, as Unix has them")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        open_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
