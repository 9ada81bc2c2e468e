"""Put the page's ten examples into its folder: ten images of CIFAR-10's test set.

    python -m train.choose_examples

Of each class the first in an order drawn with a fixed seed (`kd.cifar10.example_positions`): no network is asked, so
that the ten flatter none of them.
"""

import argparse
import sys
from pathlib import Path

from PIL import Image

from kd import checkpoint
from kd.cifar10 import CLASSES, EXAMPLES_SEED, DataError, LabelledImages, example_positions, read_test_set
from train.options import add_data_dir, add_output_dir

SOURCE = {
    "source": "CIFAR-10, test set: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, "
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    "licence": "Its authors state no licence; the photos came from the web and belong to those who took them. "
    "Shown here for teaching and research, as the data set is used everywhere.",
    "chosen": f"of each class the first test image in an order drawn with seed {EXAMPLES_SEED}; no network was asked",
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.choose_examples", description=__doc__.splitlines()[0])
    add_data_dir(parser)
    add_output_dir(parser, "kd/demo/examples", "where the ten images and examples.json go")
    options = parser.parse_args(arguments)
    try:
        test = read_test_set(options.data_dir)
        positions = example_positions(test.labels).tolist()
        write(positions, test, options.output_dir)
    except (DataError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    for name, position in zip(CLASSES, positions, strict=True):
        print(f"{name:10}  test image {position:4}")


def write(positions: list[int], test: LabelledImages, folder: Path) -> None:
    """The ten images as PNG, named by class, and examples.json beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    examples = []
    for name, position in zip(CLASSES, positions, strict=True):
        pixels = test.images[position].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{name}.png", optimize=True)
        examples.append({"file": f"{name}.png", "label": name, "test_index": position})
    checkpoint.write_json(folder / "examples.json", {**SOURCE, "data": test.description, "examples": examples})


if __name__ == "__main__":
    main()
