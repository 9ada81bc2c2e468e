"""Measure the page: python -m tests.benchmark_page

Prints, for the shipped networks and for the same architectures with CIFAR stems (random weights, which
cost the same): seconds from `python app.py` to the first answer, memory, milliseconds for an
answer of all three networks, and in headless Chromium the time from a slider event to the changed
table, redraws a second in a two-second drag, and requests made meanwhile. Wants an idle machine.
"""

import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright

from kd import checkpoint, models
from kd.inference import Trio, read_photo, to_network_size
from kd.recipe import ROLES
from tests.serving import CHROMIUM, CHROMIUM_FLAGS, ROOT, resident_bytes, serve

PHOTO = ROOT / "kd" / "demo" / "examples" / "dog.png"
ANSWERS, MOVES, STEPS, DRAG_SECONDS = 100, 60, 50, 2

WATCH = """() => {
    const slider = document.querySelector('#temperature-slider');
    window.delays = []; window.redraws = 0;
    let since = null;
    document.addEventListener('input', (event) => { if (event.target === slider) since = performance.now(); }, true);
    const redrawn = () => {
        if (since !== null) { window.delays.push(performance.now() - since); since = null; }
        window.redraws += 1;
    };
    const table = document.querySelector('#soft-targets-table tbody');
    new MutationObserver(redrawn).observe(table, {subtree: true, attributes: true, characterData: true});
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
            visit(browser.new_page(viewport={"width": 1280, "height": 1000}), address)
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


def visit(page, address: str) -> None:
    """Upload, then move and drag the slider."""
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("#soft-targets-table tbody tr")
    report("first picture", f"{time.perf_counter() - started:.2f} s after navigation")
    page.wait_for_selector("#curves .js-plotly-plot .main-svg")
    page.evaluate("document.querySelector('#answers').firstElementChild.setAttribute('data-old', '')")
    started = time.perf_counter()
    page.locator("#image input[type=file]").set_input_files(PHOTO)
    page.wait_for_function("!document.querySelector('#answers [data-old]')")
    report("upload to cards", f"{(time.perf_counter() - started) * 1000:.0f} ms")
    page.wait_for_timeout(2000)  # the curves come after the cards

    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.evaluate(WATCH)
    box = page.locator("#temperature-slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for move in range(MOVES):
        page.mouse.move(box["x"] + box["width"] * (0.1 + 0.8 * move / MOVES), middle)
        page.wait_for_timeout(30)
    report("slider event to changed table", spread(page.evaluate("window.delays")))

    page.evaluate("window.redraws = 0")
    started, moves = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < DRAG_SECONDS:
        to = 0.9 if moves // STEPS % 2 else 0.1
        page.mouse.move(box["x"] + box["width"] * to, middle, steps=STEPS)
        moves += STEPS
    page.mouse.up()
    redraws = page.evaluate("window.redraws")
    report("redraws while dragging", f"{redraws / elapsed:.0f} a second ({moves / elapsed:.0f} moves)")
    report("requests while dragging", str(len(requests)))


def report(what: str, figure: str) -> None:
    print(f"  {what:32} {figure}")


def spread(milliseconds: list[float]) -> str:
    p95 = statistics.quantiles(milliseconds, n=20)[-1]
    return f"median {statistics.median(milliseconds):.2f} ms, p95 {p95:.2f} ms"


if __name__ == "__main__":
    main()
