"""Put the page's ten examples and the six pictures of its game into their folder: images of CIFAR-10's test set.

    python -m train.choose_examples

Of each class the first in an order drawn with a fixed seed (`kd.cifar10.example_positions`): no network is asked, so
that the ten flatter none of them. The game shows a class that one student never saw: the next six of that class.
"""

import argparse
import sys
from pathlib import Path

from PIL import Image

from kd import checkpoint
from kd.cifar10 import CLASSES, EXAMPLES_SEED, DataError, LabelledImages, drawn_order, example_positions, read_test_set
from train.options import add_data_dir, add_output_dir

SOURCE = {
    "source": "CIFAR-10, test set: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, "
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    "licence": "Its authors state no licence; the photos came from the web and belong to those who took them. "
    "Shown here for teaching and research, as the data set is used everywhere.",
    "chosen": f"of each class the first test image in an order drawn with seed {EXAMPLES_SEED}; no network was asked",
}
IN_GAME = 6
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
        test = read_test_set(options.data_dir)
        positions = example_positions(test.labels).tolist()
        label = CLASSES.index(options.omitted_class)
        in_game = drawn_order(test.labels, label)[1 : 1 + IN_GAME].tolist()
        write(positions, options.omitted_class, in_game, test, options.output_dir)
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
    checkpoint.write_json(folder / "examples.json", content)


if __name__ == "__main__":
    main()
