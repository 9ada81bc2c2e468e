"""Measure the page in both its forms, side by side: python -m tests.benchmark_page

For the page on its server, and for the page without one (as `python -m train.export --site` writes it) with one thread
and with as many as the browser takes where the file server isolates the page, in headless Chromium with an empty cache:
bytes and seconds to the first picture and to the first answer to a photo; the time from a photo to the answers of all
three networks, and the networks' own part of it; in a drag of the slider, with the map of classes and the replay open,
the time from its event to the changed table and from the mouse to the frame on the screen, redraws a second where it
moves in every frame, and requests made meanwhile; the same of the map's own slider, where the map is in sight; memory.
Of the server, besides: seconds from `python app.py`, and the drag once more while twenty others upload. Bytes are those
on the wire; no delay is added to it.

What was measured is kept in `PAGE`; --document FILE also puts it as a table between that file's markers. Wants an idle
machine, for some minutes.
"""

import argparse
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from gradio_client import handle_file
from playwright.sync_api import Browser, Page, sync_playwright

from kd.device import machine
from kd.files import write_json
from kd.tables import markdown_table
from tests.serving import CHROMIUM, CHROMIUM_FLAGS, ROOT, FileServer, api_client, resident_bytes, serve
from train.document import write_section
from train.export import main as export
from train.options import add_checkpoints, add_document

PAGE = ROOT / "checkpoints" / "page.json"
PHOTO = ROOT / "kd" / "demo" / "examples" / "dog.png"
VIEWS = ("#map", "#replay")  # that are folded at first
PHOTOS, MOVES, DRAG_SECONDS = 30, 60, 2
OTHERS, PAUSE_SECONDS = 20, 5  # visitors who upload, and how long each looks at an answer
ISOLATION = {"Cross_Origin_Opener_Policy": "same-origin", "Cross_Origin_Embedder_Policy": "require-corp"}
FIRST_VISIT_SECONDS = 600  # far more than it takes

WATCH = """() => {
    window.delays = []; window.frames = []; window.redraws = 0;
    let since = null;
    document.addEventListener('input', (event) => {
        if (event.target.type !== 'range') return;
        since = performance.now();
        // A task after the next frame's callbacks runs when that frame is on its way to the screen.
        requestAnimationFrame(() => setTimeout(() => window.frames.push(performance.now() - event.timeStamp)));
    }, true);
    const redrawn = () => {
        if (since !== null) { window.delays.push(performance.now() - since); since = null; }
        window.redraws += 1;
    };
    const table = document.querySelector('#soft-targets-table tbody');
    new MutationObserver(redrawn).observe(table, {subtree: true, attributes: true, attributeFilter: ['data-value']});
}"""

IN_EVERY_FRAME = """([slider, milliseconds]) => new Promise((done) => {
    const input = document.querySelector(slider), middle = (+input.min + +input.max) / 2, began = performance.now();
    window.redraws = 0;
    requestAnimationFrame(function move() {
        const since = performance.now() - began;
        if (since >= milliseconds) return done(1000 * window.redraws / since);
        input.valueAsNumber = middle + (input.max - middle) * 0.8 * Math.sin(since / 250);
        input.dispatchEvent(new Event('input', {bubbles: true}));
        requestAnimationFrame(move);
    });
})"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark_page", description=__doc__.splitlines()[0])
    add_checkpoints(parser)
    parser.add_argument("--site", type=Path, metavar="DIR", help="as --site of train.export wrote it (written anew)")
    add_document(parser)
    options = parser.parse_args(arguments)
    found = {"machine": machine(torch.device("cpu")), "forms": measure(options.checkpoints, options.site)}
    write_json(PAGE, found)
    print(table := page_table(found), end="")
    if options.document:
        write_section(options.document, "page", table)


def measure(checkpoints: Path, site: Path | None) -> dict[str, dict]:
    """What was measured of each form, by its name."""
    forms = {}
    with ExitStack() as stack:
        if not site:
            site = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "site"
            export(["--site", str(site), "--checkpoints", str(checkpoints)])
        browsers = stack.enter_context(sync_playwright()).chromium

        def browser() -> Browser:
            return browsers.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)

        started = time.perf_counter()
        with serve(checkpoints) as (address, process), browser() as used:
            ready = time.perf_counter() - started
            served = visit(used, address, None, lambda: others(address))
            forms["with a server"] = served | {"ready": ready, "server_bytes": resident_bytes(process.pid)}
        for name, headers in (("without, one thread", {}), ("without, several threads", ISOLATION)):
            server = FileServer(site.resolve(), **headers)
            with browser() as used:
                forms[name] = visit(used, server.address, lambda server=server: server.sent)
            server.stop()
    return forms


def page_table(found: dict) -> str:
    """What was measured as a Markdown table, with a line below it that says on what."""
    forms = found["forms"].values()

    def milliseconds(key: str) -> list[str]:
        return [f"{form[key]['median']:.1f}, {form[key]['p95']:.1f}" if key in form else "" for form in forms]

    def first(key: str) -> list[str]:
        return [f"{form[key]['seconds']:.1f} s, {form[key]['bytes'] / 1e6:.2f} MB" for form in forms]

    def size(key: str) -> list[str]:
        return [f"{form[key] / 1e6:,.0f} MB" if key in form else "" for form in forms]

    rows = [
        ("first picture", *first("first_picture")),
        ("first answer to a photo, all three networks there", *first("first_answer")),
        ("from a photo to three answers, ms", *milliseconds("answer")),
        ("of it the networks, ms", *milliseconds("networks")),
        ("from the slider's event to the table, ms", *milliseconds("table")),
        ("from the mouse to the screen, ms", *milliseconds("screen")),
        (f"slider to table while {OTHERS} others upload, ms", *milliseconds("table_among_others")),
        ("redraws a second", *(f"{form['redraws']:.0f}" for form in forms)),
        ("from the map's slider to the table, ms", *milliseconds("map_table")),
        ("redraws a second there", *(f"{form['map_redraws']:.0f}" for form in forms)),
        ("requests in both drags", *(str(form["requests"] + form["map_requests"]) for form in forms)),
        ("memory of the browser's page", *size("browser_bytes")),
        ("memory of the server", *size("server_bytes")),
    ]
    table = markdown_table(["", *found["forms"]], rows)
    ready = found["forms"]["with a server"]["ready"]
    return (
        f"{table}\n\n"
        f"Milliseconds are median and 95th percentile. The server answers {ready:.1f} s after `python app.py`.\n"
        f"Headless Chromium and the server on one machine, {found['machine']}. `python -m tests.benchmark_page`\n"
    )


def visit(
    browser: Browser, address: str, sent: Callable[[], int] | None, crowd: Callable[[], object] | None = None
) -> dict:
    """Visit for the first time, bring photos, and drag the slider: alone, and amid a crowd where one is given.

    Args:
        sent: bytes that the file server has sent, those to workers too; None to count what the page has received.
        crowd: a context in which others visit.
    """
    page = browser.new_page(viewport={"width": 1280, "height": 1000}, bypass_csp=True)  # to wait for conditions
    page.set_default_timeout(FIRST_VISIT_SECONDS * 1000)
    received = count_bytes(page)
    sent = sent or (lambda: sum(received))
    started = time.perf_counter()

    def so_far() -> dict:
        return {"seconds": time.perf_counter() - started, "bytes": sent()}

    page.goto(address)
    page.wait_for_selector("#soft-targets-table tbody tr")
    first_picture = so_far()
    answer(page)
    first_answer = so_far()
    answers, networks = zip(*(answer(page) for _ in range(PHOTOS)), strict=True)
    for view in VIEWS:
        page.locator(f"{view} > summary").click()
        page.wait_for_selector(f"{view} .panel")
    page.evaluate(WATCH)
    found = {
        "first_picture": first_picture,
        "first_answer": first_answer,
        "answer": spread(answers),
        "networks": spread(networks),
        **drag(page, "#temperature-slider"),
        **{f"map_{what}": value for what, value in drag(page, "#map-slider").items()},
    }
    if crowd:
        with crowd():
            found["table_among_others"] = drag(page, "#temperature-slider")["table"]
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    renderers = [each["id"] for each in processes if each["type"] == "renderer"]
    return found | {"browser_bytes": sum(map(proportional_bytes, renderers))}


def count_bytes(page: Page) -> list[int]:
    """A list that grows by the bytes on the wire of each response that the page has received."""
    received = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    return received


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


def drag(page: Page, slider: str) -> dict:
    """Move a slider by the mouse for its delays, then in every frame for its redraws: Playwright's mouse is slower."""
    page.bring_to_front()
    page.locator(slider).evaluate("slider => slider.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(1000)  # what comes into sight is drawn for the first time
    requests = []
    # Gradio asks now and then whether the server is there, dragged or not.
    page.on("request", lambda request: None if request.url.endswith("app_id") else requests.append(request.url))
    page.evaluate("window.delays = []; window.frames = []")
    box = page.locator(slider).bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for move in range(MOVES):
        page.mouse.move(box["x"] + box["width"] * (0.1 + 0.8 * move / MOVES), middle)
        page.wait_for_timeout(30)
    table, screen = (spread(page.evaluate(f"window.{times}")) for times in ("delays", "frames"))
    page.mouse.up()
    redraws = page.evaluate(IN_EVERY_FRAME, [slider, DRAG_SECONDS * 1000])
    if requests:
        print(f"asked for while {slider} was dragged: {', '.join(requests)}", file=sys.stderr)
    return {"table": table, "screen": screen, "redraws": redraws, "requests": len(requests)}


@contextmanager
def others(address: str) -> Iterator[None]:
    """Other visitors, who upload a photo every few seconds. (What they drag costs their own machines alone.)"""
    left = threading.Event()

    def upload() -> None:
        client = api_client(address)
        while not left.wait(PAUSE_SECONDS):
            client.predict(handle_file(PHOTO), api_name="/classify")

    with ThreadPoolExecutor(OTHERS) as visitors:
        uploads = [visitors.submit(upload) for _ in range(OTHERS)]
        try:
            yield
        finally:
            left.set()
    for finished in uploads:
        finished.result()


def proportional_bytes(pid: int) -> int:
    """Memory of a process, in which what several share is shared out among them."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:")[1].split()[0]) * 1024


def spread(milliseconds: list[float]) -> dict[str, float]:
    return {"median": statistics.median(milliseconds), "p95": statistics.quantiles(milliseconds, n=20)[-1]}


if __name__ == "__main__":
    main()
