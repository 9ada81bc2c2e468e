"""Put the pictures that the page shows into their folder: examples, those of its game, and CIFAR-10's of its map.

    python -m train.choose_examples                                              of CIFAR-10, for the page that ships
    python -m train.choose_examples --checkpoints runs/mine --data-dir pictures  for networks of other data

Examples and game are test images: of each class the first in an order drawn with a fixed seed
(`kd.dataset.example_positions`), so that no network is asked and none is flattered; the game shows one student's
omitted class, the next six of that class.

The map of classes, which is CIFAR-10's, opens validation images, those of which recordings hold the networks' logits
(`kd.recording`): they become one file, a row a class, of which a browser is sent nothing before it is wanted.
"""

import argparse
import sys
from pathlib import Path

from PIL import Image
from torch import Tensor

from kd import checkpoint, cifar10
from kd.checkpoint import CheckpointError
from kd.cifar10 import IMAGE_SIZE
from kd.data_dir import open_data
from kd.dataset import (
    EXAMPLES_FOLDER,
    EXAMPLES_SEED,
    MAX_EXAMPLES,
    DataError,
    LabelledImages,
    drawn_order,
    example_positions,
)
from kd.evaluation import check_classes
from kd.files import write_json
from kd.recording import RECORDED_PICTURES, recorded_images
from kd.studies.omitted_class import omitted_class_of
from train.options import add_data_dir, add_output_dir

FIRST = f"the first test image in an order drawn with seed {EXAMPLES_SEED}; no network was asked"
CHOSEN, CHOSEN_OF_MANY = f"of each class {FIRST}", f"of {MAX_EXAMPLES} classes {FIRST}"
SOURCE = {
    "source": "CIFAR-10, test set: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, "
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    "licence": "Its authors state no licence; the photos came from the web and belong to those who took them. "
    "Shown here for teaching and research, as the data set is used everywhere.",
    "chosen": CHOSEN,
}
IN_GAME = 6
PAGES = "kd/demo/examples"  # where the page has those of CIFAR-10
RECORDED_CHOSEN = "the first validation images of each class, in the order of CIFAR-10's training files, a row a class"
GAME_CHOSEN = (
    f"the {IN_GAME} test images of the class that come after its example in the order drawn with seed {EXAMPLES_SEED}"
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.choose_examples", description=__doc__.splitlines()[0])
    add_data_dir(parser)
    parser.add_argument("--checkpoints", type=Path, metavar="DIR",
                        help=f"choose for these networks, into {EXAMPLES_FOLDER}/ beside them")  # fmt: skip
    add_output_dir(parser, PAGES, "where the images and examples.json go, without --checkpoints")
    parser.add_argument("--omitted-class", metavar="CLASS",
                        help="class of the game, no image of which one student was shown (that of the checkpoints' "
                        "omitted-class/; frog without --checkpoints)")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.checkpoints and options.output_dir != Path(PAGES):
        parser.error("--checkpoints says where the images go, and --output-dir another place: leave one of them out")
    try:
        folder, size, omitted = options.output_dir, IMAGE_SIZE, options.omitted_class or "frog"
        if options.checkpoints:
            folder = options.checkpoints / EXAMPLES_FOLDER
            teacher = checkpoint.load_config(options.checkpoints / "teacher")
            size = checkpoint.image_size_of(teacher)
            omitted = options.omitted_class or omitted_class_of(options.checkpoints)
        data = open_data(options.data_dir, size)
        if options.checkpoints:
            check_classes(options.checkpoints / "teacher", teacher, data.classes)
        test = data.test()
        if not options.checkpoints and not of_cifar10(test):
            parser.error(
                "name the networks that these data are for with --checkpoints: without it, CIFAR-10's are chosen"
            )
        if omitted not in (None, *test.classes):
            parser.error(f"--omitted-class {omitted} is not one of {', '.join(test.classes)}")
        positions = example_positions(test.labels)
        recorded = None
        if of_cifar10(test) and not options.checkpoints:  # its map has the pictures that ship, whatever the networks
            _, validation = data.split()
            recorded = recorded_images(test[positions], validation)[len(positions) :]
        positions = positions.tolist()
        write(positions, omitted, test, recorded, folder)
    except (CheckpointError, DataError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    for position in positions:
        print(f"{test.classes[test.labels[position]]:10}  test image {position:4}")


def of_cifar10(test: LabelledImages) -> bool:
    """Whether these are CIFAR-10's, whose source is told and whose map there is."""
    return test.description["name"] == cifar10.NAME


def write(
    positions: list[int], omitted: str | None, test: LabelledImages, recorded: Tensor | None, folder: Path
) -> None:
    """The images as PNG, named by class, those of the game with a number too, and examples.json beside them.

    Args:
        positions: of the ten examples in the test set, in class order.
        omitted: the class of the game; None without one.
        recorded: the map's images, as `sprite` takes them; None without a map.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def written(file: str, label: str, position: int) -> dict:
        Image.fromarray(test.images[position].permute(1, 2, 0).numpy()).save(folder / file, optimize=True)
        return {"file": file, "label": label, "test_index": position}

    def file_name(label: int, number: int | None = None) -> str:
        # A folder's classes may be called what no file can be called everywhere.
        name = test.classes[label] if test.classes[label].isalnum() else f"class-{label}"
        return f"{name}.png" if number is None else f"{name}-{number}.png"

    labels = test.labels[positions].tolist()
    examples = [
        written(file_name(label), test.classes[label], position)
        for label, position in zip(labels, positions, strict=True)
    ]
    chosen = {"chosen": CHOSEN if len(test.classes) <= MAX_EXAMPLES else CHOSEN_OF_MANY}
    content = {**(SOURCE if of_cifar10(test) else chosen), "data": test.description, "examples": examples}
    if omitted:
        label = test.classes.index(omitted)
        in_game = drawn_order(test.labels, label)[1 : 1 + IN_GAME].tolist()
        pictures = [written(file_name(label, number), omitted, position) for number, position in enumerate(in_game, 1)]
        content["game"] = {"label": omitted, "chosen": GAME_CHOSEN, "pictures": pictures}
    if recorded is not None:
        sprite(recorded, len(test.classes)).save(folder / RECORDED_PICTURES, optimize=True)
        content["recorded"] = {"file": RECORDED_PICTURES, "chosen": RECORDED_CHOSEN}
    write_json(folder / "examples.json", content)


def sprite(images: Tensor, classes: int) -> Image.Image:
    """Images in one picture, a row a class.

    Args:
        images: uint8, (N, 3, H, W), class by class, as many of each.
        classes: how many there are.
    """
    _, _, height, width = images.shape
    rows = images.view(classes, -1, 3, height, width).permute(0, 3, 1, 4, 2)
    return Image.fromarray(rows.reshape(classes * height, -1, 3).numpy())


if __name__ == "__main__":
    main()
