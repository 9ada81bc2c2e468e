"""Put the pictures that the page shows into their folder: ten examples, six of its game, 500 of its map.

    python -m train.choose_examples

Examples and game are images of CIFAR-10's test set: of each class the first in an order drawn with a fixed seed
(`kd.cifar10.example_positions`), so that no network is asked and none is flattered; the game shows a class that one
student never saw, the next six of that class.

The map of classes opens validation images, those of which recordings hold the networks' logits (`kd.recording`): they
become one file, a row a class, of which a browser is sent nothing before it is wanted.
"""

import argparse
import sys
from pathlib import Path

from PIL import Image
from torch import Tensor

from kd import checkpoint
from kd.cifar10 import (
    CLASSES,
    EXAMPLES_SEED,
    IMAGE_SIZE,
    DataError,
    LabelledImages,
    drawn_order,
    example_positions,
    read_split,
    read_test_set,
)
from kd.recording import PICTURES, recorded_images
from train.options import add_data_dir, add_output_dir

SOURCE = {
    "source": "CIFAR-10, test set: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, "
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    "licence": "Its authors state no licence; the photos came from the web and belong to those who took them. "
    "Shown here for teaching and research, as the data set is used everywhere.",
    "chosen": f"of each class the first test image in an order drawn with seed {EXAMPLES_SEED}; no network was asked",
}
IN_GAME = 6
RECORDED_CHOSEN = "the first validation images of each class, in the order of CIFAR-10's training files, a row a class"
GAME_CHOSEN = (
    f"the {IN_GAME} test images of the class that come after its example in the order drawn with seed {EXAMPLES_SEED}"
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.choose_examples", description=__doc__.splitlines()[0])
    add_data_dir(parser)
    add_output_dir(parser, "kd/demo/examples", "where the images and examples.json go")
    parser.add_argument("--omitted-class", choices=CLASSES, default="frog", metavar="CLASS",
                        help="class of the game, no image of which one student was shown (frog)")  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        test, (_, validation) = read_test_set(options.data_dir), read_split(options.data_dir)
        positions = example_positions(test.labels).tolist()
        label = CLASSES.index(options.omitted_class)
        in_game = drawn_order(test.labels, label)[1 : 1 + IN_GAME].tolist()
        recorded = recorded_images(test[example_positions(test.labels)], validation)[len(CLASSES) :]
        write(positions, options.omitted_class, in_game, test, options.output_dir)
        sprite(recorded).save(options.output_dir / PICTURES, optimize=True)
    except (DataError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    for name, position in zip(CLASSES, positions, strict=True):
        print(f"{name:10}  test image {position:4}")


def write(positions: list[int], omitted: str, in_game: list[int], test: LabelledImages, folder: Path) -> None:
    """The images as PNG, named by class, those of the game with a number too, and examples.json beside them.

    Args:
        positions: of the ten examples in the test set, in class order.
        omitted: the class of the game.
        in_game: the positions of the game's pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def written(file: str, label: str, position: int) -> dict:
        Image.fromarray(test.images[position].permute(1, 2, 0).numpy()).save(folder / file, optimize=True)
        return {"file": file, "label": label, "test_index": position}

    examples = [written(f"{name}.png", name, position) for name, position in zip(CLASSES, positions, strict=True)]
    pictures = [written(f"{omitted}-{number}.png", omitted, position) for number, position in enumerate(in_game, 1)]
    game = {"label": omitted, "chosen": GAME_CHOSEN, "pictures": pictures}
    content = {**SOURCE, "data": test.description, "examples": examples, "game": game}
    content["recorded"] = {"file": PICTURES, "chosen": RECORDED_CHOSEN}
    checkpoint.write_json(folder / "examples.json", content)


def sprite(images: Tensor) -> Image.Image:
    """Images in one picture, a row a class.

    Args:
        images: uint8, (N, 3, 32, 32), class by class, as many of each.
    """
    rows = images.view(len(CLASSES), -1, 3, IMAGE_SIZE, IMAGE_SIZE).permute(0, 3, 1, 4, 2)
    return Image.fromarray(rows.reshape(len(CLASSES) * IMAGE_SIZE, -1, 3).numpy())


if __name__ == "__main__":
    main()
