"""Measure the page: python -m tests.benchmark_page

Prints, for the shipped networks and for the same architectures with CIFAR stems (random weights, which
cost the same): seconds from `python app.py` to the first answer, memory, milliseconds for an
answer of all three networks; in headless Chromium the bytes and seconds to the first picture, the time
from a slider event to the changed table and from the mouse to the frame on the screen, redraws a second
in a two-second drag, and requests made meanwhile; the drag once more while twenty others upload.
Wants an idle machine.
"""

import platform
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from gradio_client import handle_file
from playwright.sync_api import sync_playwright

from kd import checkpoint, models
from kd.inference import Trio
from kd.models import ROLES
from kd.photo import read_photo, to_network_size
from tests.serving import CHROMIUM, CHROMIUM_FLAGS, ROOT, api_client, resident_bytes, serve

PHOTO = ROOT / "kd" / "demo" / "examples" / "dog.png"
ANSWERS, MOVES, STEPS, DRAG_SECONDS = 100, 60, 50, 2
OTHERS, PAUSE_SECONDS = 20, 5  # visitors who upload, and how long each looks at an answer

WATCH = """() => {
    const slider = document.querySelector('#temperature-slider');
    window.delays = []; window.frames = []; window.redraws = 0;
    let since = null;
    document.addEventListener('input', (event) => {
        if (event.target !== slider) return;
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


def main() -> None:
    print(f"{platform.machine()} CPU with {torch.get_num_threads()} cores, torch {torch.__version__}")
    measure(ROOT / "checkpoints", "shipped networks")
    with tempfile.TemporaryDirectory() as folder:
        write_cifar_stems(Path(folder))
        measure(Path(folder), "CIFAR stems, random weights")


def write_cifar_stems(folder: Path) -> None:
    """Checkpoints like the shipped ones, with CIFAR stems and random weights."""
    for role in ROLES:
        config = checkpoint.load_config(ROOT / "checkpoints" / role) | {"stem": "cifar"}
        checkpoint.save(models.build(config["architecture"], "cifar"), config, folder / role, half=True)


def measure(checkpoints: Path, title: str) -> None:
    print(f"\n{title}")
    milliseconds = answer_times(checkpoints)
    report("answer of all three, one thread", spread(milliseconds))
    started = time.perf_counter()
    with serve(checkpoints) as (address, process):
        report("page ready", f"{time.perf_counter() - started:.1f} s after python app.py")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)
            visit(browser, address)
            browser.close()
        report("memory of the server", f"{resident_bytes(process.pid) / 1e9:.2f} GB")


def answer_times(checkpoints: Path) -> list[float]:
    torch.set_num_threads(1)  # as the page does
    trio, image = Trio(checkpoints), to_network_size(read_photo(PHOTO))
    times = []
    for _ in range(ANSWERS):
        started = time.perf_counter()
        trio.answer(image)
        times.append((time.perf_counter() - started) * 1000)
    return times


def visit(browser, address: str) -> None:
    """Load, upload, then move and drag the slider: alone, and among others."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    received = count_bytes(page)
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("#soft-targets-table tbody tr")
    report("first picture", f"{time.perf_counter() - started:.2f} s, {sum(received) / 1000:.0f} kB")
    page.evaluate("document.querySelector('#answers').firstElementChild.setAttribute('data-old', '')")
    started = time.perf_counter()
    page.locator("#image input[type=file]").set_input_files(PHOTO)
    page.wait_for_function("!document.querySelector('#answers [data-old]')")
    report("upload to answers", f"{(time.perf_counter() - started) * 1000:.0f} ms")
    page.evaluate(WATCH)
    drag(page, "alone")
    with others(address):
        drag(page, f"among {OTHERS}")


def count_bytes(page) -> list[int]:
    """A list that grows by the bytes on the wire of each response that the page has received."""
    received = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    return received


@contextmanager
def others(address: str):
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


def drag(page, company: str) -> None:
    """Move the slider by hand and report delays, then drag it fast and report redraws."""
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.bring_to_front()
    page.evaluate("window.delays = []; window.frames = []")
    box = page.locator("#temperature-slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for move in range(MOVES):
        page.mouse.move(box["x"] + box["width"] * (0.1 + 0.8 * move / MOVES), middle)
        page.wait_for_timeout(30)
    report(f"{company}: slider event to table", spread(page.evaluate("window.delays")))
    report(f"{company}: input to screen", spread(page.evaluate("window.frames")))

    page.evaluate("window.redraws = 0")
    started, moves = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < DRAG_SECONDS:
        to = 0.9 if moves // STEPS % 2 else 0.1
        page.mouse.move(box["x"] + box["width"] * to, middle, steps=STEPS)
        moves += STEPS
    page.mouse.up()
    redraws = page.evaluate("window.redraws")
    report(f"{company}: redraws", f"{redraws / elapsed:.0f} a second ({moves / elapsed:.0f} moves)")
    report(f"{company}: requests", str(len(requests)))


def report(what: str, figure: str) -> None:
    print(f"  {what:32} {figure}")


def spread(milliseconds: list[float]) -> str:
    p95 = statistics.quantiles(milliseconds, n=20)[-1]
    return f"median {statistics.median(milliseconds):.2f} ms, p95 {p95:.2f} ms"


if __name__ == "__main__":
    main()
