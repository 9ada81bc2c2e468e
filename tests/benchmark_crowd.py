"""Measure a crowd at the page: python -m tests.benchmark_crowd [crowds] [abuse] [memory]

crowds: for 1, 10 and 50 visitors who upload without a pause, answers a second and the waiting time of an answer
(median, p95, p99; upload included).
abuse: the same for 100 visitors at once of whom 10 are abusive, each in another way (`ABUSES`), all behind one address;
every honest photo has to be answered, 95 of 100 within 5 seconds, in less than 1.5 GB of memory, and whoever is
refused has to get a sentence.
memory: the server's memory after 100 and after 2,000 uploads, which may grow by 3 % at most.

Does all three unless some are named; ends with 1 if a limit does not hold. Wants an idle machine.
"""

import io
import random
import statistics
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import httpx
from PIL import Image

from kd.demo.crowd import MAX_IMAGES
from kd.photo import MAX_PIXELS
from tests.benchmark_page import report
from tests.serving import resident_bytes, serve
from tests.visitors import RefusalError, Visitor, photo_bytes

CROWDS = (1, 10, 50)
ANSWERS = 200  # of each crowd, shared out among its visitors
FIRST, LAST = 100, 2000  # uploads after which memory is read
GROWTH = 0.03
SIDE = 640  # pixels; an ordinary photo from the web

HONEST = 90
PHOTOS = 5  # of each honest visitor
LOOK = 15  # seconds, at most, that somebody looks at an answer
P95, MEMORY = 5000, 1_500_000_000  # milliseconds; bytes


def main(parts: list[str]) -> int:
    held = [PARTS[name]() for name in parts or PARTS]
    return 0 if all(held) else 1


def measure_crowds() -> bool:
    with serve() as (address, _):
        for size in CROWDS:
            measure_crowd(address, size)
    return True


def measure_crowd(address: str, size: int) -> None:
    """Let `size` visitors upload one photo after the other, all at once."""
    visitors = [Visitor(address) for _ in range(size)]
    visitors[0].show(visitors[0].upload(photo(0)))
    started = time.perf_counter()
    with ThreadPoolExecutor(size) as pool:
        waits = [wait for waits in pool.map(upload_again, visitors, repeat(ANSWERS // size)) for wait in waits]
    seconds = time.perf_counter() - started
    cuts = statistics.quantiles(waits, n=100)
    report(f"{size} at once", f"{len(waits) / seconds:.1f} answers a second; {describe(cuts)}")


def describe(cuts: list[float]) -> str:
    return ", ".join(f"{name} {cuts[number - 1]:.0f} ms" for name, number in (("median", 50), ("p95", 95), ("p99", 99)))


def upload_again(visitor: Visitor, times: int) -> list[float]:
    """The milliseconds of each upload with its answer; raises at the first error."""
    waits = []
    for number in range(times):
        content = photo(number)
        started = time.perf_counter()
        visitor.show(visitor.upload(content))
        waits.append((time.perf_counter() - started) * 1000)
    return waits


def measure_abuse() -> bool:
    """Let honest and abusive visitors come all at once; returns whether the limits held."""
    with serve() as (address, process):
        visitors = [Visitor(address) for _ in range(HONEST)]
        visitors[0].show(visitors[0].upload(photo(0)))
        over, most, refused = threading.Event(), [0], Counter()

        def watch() -> None:
            while not over.wait(0.1):
                most[0] = max(most[0], resident_bytes(process.pid))

        def abuse(way) -> None:
            again = way(Visitor(address))
            while not over.is_set():
                try:
                    again()
                    refused["answered"] += 1
                except RefusalError as error:
                    refused[str(error)] += 1
                except httpx.HTTPStatusError as error:
                    refused[error.response.text] += 1
                except httpx.TransportError as error:  # an upload that is broken off
                    refused[type(error).__name__] += 1

        with ThreadPoolExecutor(HONEST + len(ABUSES) + 1) as pool:
            pool.submit(watch)
            abusers = [pool.submit(abuse, way) for way in ABUSES]
            waits = [wait for waits in pool.map(look_at_photos, visitors, range(HONEST)) for wait in waits]
            over.set()
            for abuser in abusers:
                abuser.result()
        cuts = statistics.quantiles(waits, n=100)
        report(f"{HONEST} honest, {len(ABUSES)} abusive", f"{len(waits)} photos, all answered; {describe(cuts)}")
        report("most memory", f"{most[0] / 1e6:.0f} MB")
        for said, times in refused.most_common():
            report(f"abusive, {times} times", said[:150])
        report("next photo", f"{upload_again(Visitor(address), 1)[0]:.0f} ms")
    without_sentence = [said for said in refused if said in ("", "None") or "Traceback" in said]
    return cuts[94] < P95 and most[0] < MEMORY and not without_sentence


def look_at_photos(visitor: Visitor, number: int) -> list[float]:
    """Upload photos and look at the answers, as an honest visitor does; the milliseconds of each."""
    draw, waits = random.Random(number), []
    for photo_number in range(PHOTOS):
        time.sleep(draw.uniform(0, LOOK))
        content = photo(1000 * number + photo_number)
        started = time.perf_counter()
        visitor.show(visitor.upload(content))
        waits.append((time.perf_counter() - started) * 1000)
    return waits


def largest(form: str, pixels: int = MAX_PIXELS, **options) -> bytes:
    """A file of few bytes and of as many pixels as are read."""
    content = io.BytesIO()
    Image.new("RGB", (4000, pixels // 4000), (9, 99, 200)).save(content, form, **options)
    return content.getvalue()


def upload_and_show(content: bytes):
    return lambda visitor: lambda: visitor.show(visitor.upload(content))


def name_again_and_again(content: bytes, ask: str):
    """One upload, named as often as a list may be long."""

    def prepare(visitor: Visitor):
        files = [visitor.upload(content)] * MAX_IMAGES
        return lambda: getattr(visitor, ask)(files)

    return prepare


def many_large(visitor: Visitor):
    """A list of images that are all different and as large as may be."""
    files = [visitor.upload(largest("PNG", MAX_PIXELS - 4000 * number)) for number in range(MAX_IMAGES)]
    return lambda: visitor.show_many(files)


def upload_noise(visitor: Visitor):
    return lambda: visitor.upload(random.randbytes(20_000_000), "noise.bin")


def name_an_address(visitor: Visitor):
    address = {"path": "http://192.0.2.1/large", "meta": {"_type": "gradio.FileData"}}  # RFC 5737: nobody's
    return lambda: visitor.classify(address)


def fill_the_queue(visitor: Visitor):
    """Ask without waiting for any answer."""
    upload, event = visitor.upload(largest("WEBP", method=0)), visitor.event("image", "input")
    return lambda: visitor.join(event, [upload, "Whole photo", 0.5, 0.5, 1])


def ask_as_somebody_new(visitor: Visitor):
    """The same, under a new session each time."""
    upload, event = visitor.upload(largest("PNG")), visitor.event("image", "input")

    def ask() -> None:
        visitor.session = random.randbytes(8).hex()
        visitor.join(event, [upload, "Whole photo", 0.5, 0.5, 1])
        time.sleep(1)

    return ask


ABUSES = [
    upload_and_show(largest("PNG", 40_000_000)),
    upload_and_show(largest("PNG")),
    upload_and_show(largest("WEBP", method=0)),
    name_again_and_again(largest("PNG"), "show_many"),
    name_again_and_again(largest("PNG"), "classify"),
    many_large,
    upload_noise,
    name_an_address,
    fill_the_queue,
    ask_as_somebody_new,
]


def measure_memory() -> bool:
    """Read the server's memory after the first and the last of many uploads, each by a visitor of its own."""
    memory = {}
    with serve() as (address, process):  # a fresh one, so that nothing has grown yet
        for number in range(1, LAST + 1):
            visitor = Visitor(address)
            visitor.show(visitor.upload(photo(number)))
            visitor.http.close()
            if number in (FIRST, LAST):
                memory[number] = resident_bytes(process.pid)
                report(f"memory after {number} uploads", f"{memory[number] / 1e6:.0f} MB")
    growth = memory[LAST] / memory[FIRST] - 1
    report("growth", f"{growth:.1%} ({'within' if growth < GROWTH else 'MORE THAN'} {GROWTH:.0%})")
    return growth < GROWTH


def photo(number: int) -> bytes:
    """A JPEG like no other."""
    pixels = Image.frombytes("RGB", (8, 8), random.Random(number).randbytes(192))
    return photo_bytes(pixels.resize((SIDE, SIDE), Image.Resampling.BICUBIC), "JPEG")


PARTS = {"crowds": measure_crowds, "abuse": measure_abuse, "memory": measure_memory}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
