"""How fast a folder of pictures is packed and trained on, and what memory it takes, at two sizes.

    python -m tests.benchmark_data --folder /tmp/pictures --pictures 20000
    python -m tests.benchmark_data --folder /tmp/more-pictures --pictures 200000

Pictures are JPEGs of 40 x 40 noise in ten classes; they are trained on at 32 x 32 by `convnet-4`, for one epoch, in the
order of blocks that a pack larger than the memory has. Memory is the process's own (RssAnon): the pack's pages belong
to the system, which takes them back when it needs them.
"""

import argparse
import contextlib
import io
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import kd.folder
from kd import models
from kd.data_dir import open_data
from kd.recipe import RECIPES
from kd.training import train

CLASSES, DISTINCT = 10, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the pictures go, or are")
    parser.add_argument("--pictures", type=int, required=True, metavar="N", help="how many")
    options = parser.parse_args()
    if not options.folder.exists():
        generate(options.folder, options.pictures)
    kd.folder.IN_MEMORY = 0  # as if the memory were small
    with peak_memory() as packing:
        started = time.perf_counter()
        training, validation = open_data(options.folder, 32).split()
        packed = time.perf_counter() - started
    recipe = RECIPES["digits"]["student"].changed(epochs=1, batch_size=256, crop_padding=4, flip=0.5, rotation=0.0)
    network = models.build("convnet-4", "imagenet", CLASSES)
    with peak_memory() as learning, tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        (epoch,) = train(network, training, validation[torch.arange(1000)], recipe, Path(place))
    print(
        f"{options.pictures:,} pictures, {training.images.nbytes / 1e6:,.0f} MB of training pixels: opened in "
        f"{packed:.1f} s ({options.pictures / packed:,.0f} pictures/s), {packing[0]:.0f} MB of memory more at most; "
        f"trained on at {epoch['images_per_second']:,.0f} images/s, {learning[0]:.0f} MB more at most"
    )


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
