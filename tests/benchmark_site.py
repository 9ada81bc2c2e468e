"""Measure the page in both its forms, side by side: python -m tests.benchmark_site

For the page on its server, and for the page without one (as `python -m train.export --site` writes it) with one thread
and with as many as the browser takes where the file server isolates the page, it prints of a first visit in headless
Chromium: bytes and seconds to the first picture and to the first answer to a photo; the time from a photo to the
answers of all three networks, and the networks' own part of it; the time from a slider event to the changed table and
to the screen; memory of the server and of the browser's page. Bytes are those on the wire; no delay is added to it.
Wants an idle machine.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.benchmark_page import PHOTO, WATCH, count_bytes, drag, report, spread
from tests.serving import CHROMIUM, CHROMIUM_FLAGS, ROOT, FileServer, resident_bytes, serve
from train.export import main as export

PHOTOS = 30
ISOLATION = {"Cross_Origin_Opener_Policy": "same-origin", "Cross_Origin_Embedder_Policy": "require-corp"}
FIRST_VISIT_SECONDS = 600  # far more than it takes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark_site", description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, metavar="DIR", help="as --site of train.export wrote it (written anew)")
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "checkpoints", metavar="DIR",
                        help="of the three networks (checkpoints)")  # fmt: skip
    options = parser.parse_args()
    with ExitStack() as stack:
        site = options.site or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "site"
        if not options.site:
            export(["--site", str(site), "--checkpoints", str(options.checkpoints)])
        browsers = stack.enter_context(sync_playwright()).chromium

        def measure(title: str, address: str, sent: Callable[[], int] | None) -> None:
            print(f"\n{title}")
            browser = browsers.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)  # with an empty cache
            visit(browser, address, sent)
            browser.close()

        address, process = stack.enter_context(serve(options.checkpoints))
        measure("with a server", address, None)
        report("memory of the server", f"{resident_bytes(process.pid) / 1e9:.2f} GB")
        for title, headers in (("one thread", {}), ("several threads", ISOLATION)):
            server = FileServer(site.resolve(), **headers)
            measure(f"without a server, {title}", server.address, lambda server=server: server.sent)
            server.stop()


def visit(browser: Browser, address: str, sent: Callable[[], int] | None) -> None:
    """Visit for the first time, bring photos, and move the slider.

    Args:
        sent: bytes that the file server has sent, those to workers too; None to count what the page has received.
    """
    page = browser.new_page(viewport={"width": 1280, "height": 1000}, bypass_csp=True)  # to wait for conditions
    page.set_default_timeout(FIRST_VISIT_SECONDS * 1000)
    received = count_bytes(page)
    sent = sent or (lambda: sum(received))
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("#soft-targets-table tbody tr")
    report("first picture", f"{time.perf_counter() - started:.2f} s, {sent() / 1e6:.2f} MB")
    answer(page)
    report("first answer to a photo", f"{time.perf_counter() - started:.2f} s, {sent() / 1e6:.2f} MB")
    times, own = zip(*(answer(page) for _ in range(PHOTOS)), strict=True)
    report("photo to answers", spread(times))
    report("of it the networks", f"median {statistics.median(own):.0f} ms")
    page.evaluate(WATCH)
    drag(page, "slider")
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    renderers = [each["id"] for each in processes if each["type"] == "renderer"]
    report("memory of the browser's page", f"{sum(map(proportional_bytes, renderers)) / 1e9:.2f} GB")


def answer(page: Page) -> tuple[float, float]:
    """Bring a photo; milliseconds until all three have answered, and those that the networks say they took."""
    page.evaluate("document.querySelector('#answers').firstElementChild?.setAttribute('data-old', '')")
    started = time.perf_counter()
    page.locator("#image input[type=file]").set_input_files(PHOTO)
    page.wait_for_selector("#answers .answer:not([data-old])")
    page.wait_for_function("!document.querySelector('#answers [data-old]')")
    elapsed = (time.perf_counter() - started) * 1000
    costs = page.locator("#costs li").all_inner_texts()
    return elapsed, sum(float(re.search(r"(\d+) ms", text)[1]) for text in costs)


def proportional_bytes(pid: int) -> int:
    """Memory of a process, in which what several share is shared out among them."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
