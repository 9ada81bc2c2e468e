"""A crowd at the page: fifty visitors at once all get their own answer, in the order in which they came."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from kd.demo import crowd
from kd.demo.crowd import MANY_IMAGES, MAX_IMAGES, QUEUE, SINGLE_PHOTO
from tests.visitors import Visitor, photo_bytes

VISITORS = 50
# Places that a visitor may lose: as many are answered at once as there are cores, and answers cross on their way.
OVERTAKEN = 8


@pytest.fixture(scope="module")
def visitors(server):
    return [Visitor(server) for _ in range(VISITORS)]


def photo_of(number):
    """A photo like no other visitor's."""
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)


def assert_answers(models, photo, trio):
    for role, alone in trio.answer(photo).items():
        assert models[role]["logits"] == pytest.approx(alone.logits, abs=1e-3)


@pytest.mark.parametrize("way", ["page", "endpoint"])
def test_fifty_visitors_at_once_each_get_the_answer_to_their_own_photo(visitors, trio, way):
    together = threading.Barrier(VISITORS)

    def visit(number):
        together.wait()
        upload = visitors[number].upload(photo_bytes(photo_of(number)), f"{number}.png")
        return visitors[number].show(upload) if way == "page" else visitors[number].classify(upload)

    with ThreadPoolExecutor(VISITORS) as pool:
        for number, answer in enumerate(pool.map(visit, range(VISITORS))):
            assert_answers(answer["models"], photo_of(number), trio)


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


def test_a_single_photo_does_not_wait_behind_a_hundred_of_another_visitor(visitors):
    many, single = visitors[:2]
    large = photo_bytes(photo_of(0).resize((1500, 1500)), "JPEG")
    place = many.join(many.event("gallery-files", "upload"), [[many.upload(large, "large.jpg")] * MAX_IMAGES])
    single.show(single.upload(photo_bytes(photo_of(1))))
    served = time.monotonic()
    rows = many.wait(place)[0]["rows"]
    assert time.monotonic() > served
    assert len(rows) == MAX_IMAGES and all("answers" in row for row in rows)


def test_the_limits_stand_in_the_page(visitors):
    assert QUEUE >= 2 * VISITORS
    dependencies = {entry["api_name"]: entry for entry in visitors[0].config["dependencies"]}
    assert dependencies["classify"]["queue"]
    assert SINGLE_PHOTO["concurrency_limit"] == crowd.cores() and MANY_IMAGES["concurrency_limit"] == 1
    assert SINGLE_PHOTO["concurrency_id"] != MANY_IMAGES["concurrency_id"]


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
