"""How fast a folder of pictures is packed and trained on, and what memory it takes, at two sizes.

    python -m tests.benchmark_data --document docs/training.md

Pictures are JPEGs of 40 x 40 noise in ten classes; they are trained on at 32 x 32 by `convnet-4`, for one epoch, in the
order of blocks that a pack larger than the memory has. Memory is the process's own (RssAnon): the pack's pages belong
to the system, which takes them back when it needs them. Each number of pictures is measured in a process of its own.
What was measured is kept in `DATA`; --document FILE also puts it as a table between that file's markers.
"""

import argparse
import contextlib
import io
import multiprocessing
import shutil
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import kd.folder
from kd import models
from kd.data_dir import open_data
from kd.device import machine
from kd.files import write_json
from kd.recipe import RECIPES
from kd.tables import markdown_table
from kd.training import train
from tests.serving import ROOT
from train.document import write_section
from train.options import add_document

DATA = ROOT / "checkpoints" / "data.json"
CLASSES, DISTINCT, SIDE = 10, 200, 32


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark_data", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the pictures go, or are (a temporary folder)")
    parser.add_argument("--pictures", type=int, nargs="+", default=[20_000, 200_000], metavar="N", help="how many")
    add_document(parser)
    options = parser.parse_args(arguments)
    sizes = []
    with tempfile.TemporaryDirectory() as temporary:
        for pictures in options.pictures:
            folder = (options.folder or Path(temporary)) / str(pictures)
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                sizes.append(process.submit(measure, folder, pictures).result())
    found = {"machine": machine(torch.device("cpu")), "sizes": sizes}
    write_json(DATA, found)
    print(table := data_table(found), end="")
    if options.document:
        write_section(options.document, "many pictures", table)


def measure(folder: Path, pictures: int) -> dict:
    """Pack and train on so many pictures, which are made where the folder is not there."""
    if not folder.exists():
        generate(folder, pictures)
    kd.folder.IN_MEMORY = 0  # as if the memory were small
    shutil.rmtree(folder / kd.folder.PACKED, ignore_errors=True)
    with peak_memory() as packing:
        started = time.perf_counter()
        training, validation = open_data(folder, SIDE).split()
        packed = time.perf_counter() - started
    recipe = RECIPES["digits"]["student"].changed(epochs=1, batch_size=256, crop_padding=4, flip=0.5, rotation=0.0)
    network = models.build("convnet-4", "imagenet", CLASSES)
    with peak_memory() as learning, tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        (epoch,) = train(network, training, validation[torch.arange(1000)], recipe, Path(place))
    return {
        "pictures": pictures,
        "packed_per_second": pictures / packed,
        "packing_megabytes": packing[0],
        "trained_per_second": epoch["images_per_second"],
        "training_megabytes": learning[0],
    }


def data_table(found: dict) -> str:
    """What was measured as a Markdown table, with a line below it that says on what."""
    headings = ["pictures", "packing, pictures/s", "memory that it took", "training, images/s", "memory that it took"]
    rows = [
        (f"{size['pictures']:,}", f"{size['packed_per_second']:,.0f}", f"{size['packing_megabytes']:.0f} MB",
         f"{size['trained_per_second']:,.0f}", f"{size['training_megabytes']:.0f} MB")
        for size in found["sizes"]
    ]  # fmt: skip
    return f"{markdown_table(headings, rows, names=0)}\n\n{found['machine']}. `python -m tests.benchmark_data`\n"


def generate(folder: Path, pictures: int) -> None:
    """Write pictures: some are drawn, and each file is one of them with a number after the end of the image."""
    random, drawn = np.random.default_rng(0), []
    for _ in range(DISTINCT):
        content = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(content, "JPEG")
        drawn.append(content.getvalue())
    for label in range(CLASSES):
        (folder / "train" / f"class {label}").mkdir(parents=True)
    for number in range(pictures):
        name = folder / "train" / f"class {number % CLASSES}" / f"{number}.jpg"
        name.write_bytes(drawn[number % DISTINCT] + number.to_bytes(4))


@contextlib.contextmanager
def peak_memory():
    """Yields a list whose number is, in the end, by how many MB the process's own memory rose at most."""
    found, done, before = [0.0], threading.Event(), own_memory()

    def watch() -> None:
        while not done.wait(0.02):
            found[0] = max(found[0], own_memory() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


def own_memory() -> float:
    """MB of this process that no file backs."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1000


if __name__ == "__main__":
    main()
