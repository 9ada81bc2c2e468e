"""Measure a crowd at the page: python -m tests.benchmark_crowd

Prints, for 1, 10 and 50 visitors who upload without a pause, answers a second and the waiting time of an
answer (median, p95, p99; upload included), and the server's memory after 100 and after 1,000 uploads,
which may grow by 5 % at most. Wants an idle machine.
"""

import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

from PIL import Image

from tests.benchmark_page import report
from tests.serving import resident_bytes, serve
from tests.visitors import Visitor, photo_bytes

CROWDS = (1, 10, 50)
ANSWERS = 200  # of each crowd, shared out among its visitors
FIRST, LAST = 100, 1000  # uploads after which memory is read
GROWTH = 0.05
SIDE = 640  # pixels; an ordinary photo from the web


def main() -> None:
    with serve() as (address, process):
        for size in CROWDS:
            measure_crowd(address, size)
    with serve() as (address, process):  # a fresh one, so that nothing has grown yet
        measure_memory(address, process.pid)


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


def measure_memory(address: str, pid: int) -> None:
    """Read the server's memory after the first and the last of many uploads, each by a visitor of its own."""
    memory = {}
    for number in range(1, LAST + 1):
        visitor = Visitor(address)
        visitor.show(visitor.upload(photo(number)))
        visitor.http.close()
        if number in (FIRST, LAST):
            memory[number] = resident_bytes(pid)
            report(f"memory after {number} uploads", f"{memory[number] / 1e6:.0f} MB")
    growth = memory[LAST] / memory[FIRST] - 1
    report("growth", f"{growth:.1%} ({'within' if growth < GROWTH else 'MORE THAN'} {GROWTH:.0%})")


def photo(number: int) -> bytes:
    """A JPEG like no other."""
    pixels = Image.frombytes("RGB", (8, 8), random.Random(number).randbytes(192))
    return photo_bytes(pixels.resize((SIDE, SIDE), Image.Resampling.BICUBIC), "JPEG")


if __name__ == "__main__":
    main()
