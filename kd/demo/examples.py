"""Images chosen by `python -m train.choose_examples`: the ten examples, the game's six, the map's 500.

Those of CIFAR-10 ship; networks of other data have theirs beside them, in the folder `examples` of the checkpoints, but
no map.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from kd.checkpoint import CheckpointError
from kd.dataset import EXAMPLES_FOLDER
from kd.files import parsed
from kd.losses import soft_targets
from kd.photo import PhotoError, read_photo
from kd.recording import RECORDED_PICTURES

FOLDER = Path(__file__).parent / "examples"
RECORDED = FOLDER / RECORDED_PICTURES
CERTAIN = 0.95  # what the teacher gives its prediction for the first example, at T = 1, at least


def folder_of(checkpoints: Path) -> Path:
    """Where the examples for the networks in a folder lie: beside them, or those that ship."""
    return checkpoints / EXAMPLES_FOLDER if (checkpoints / EXAMPLES_FOLDER / "examples.json").is_file() else FOLDER


def read_examples(checkpoints: Path, classes: Sequence[str]) -> list[tuple[str, Image.Image]]:
    """The true class and the picture of each example, in class order.

    Raises:
        CheckpointError: there are none of these classes, or a picture is missing or damaged.
    """
    folder = folder_of(checkpoints)
    try:
        listed = parsed((folder / "examples.json").read_text("utf-8"))["examples"]
        found = {example["label"]: _picture(folder, example) for example in listed}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        listing = folder / "examples.json"
        raise CheckpointError(f"{listing} cannot be read ({error}): {_way_out(checkpoints)}") from error
    if not found or not found.keys() <= set(classes):
        raise CheckpointError(f"{checkpoints} has no examples of its classes: {_way_out(checkpoints)}")
    return [(name, found[name]) for name in classes if name in found]


def first_example(teacher_logits: list[list[float]], temperature: float, labels: Sequence[int]) -> int:
    """Which example the page opens with: a certainty behind which a resemblance comes to light.

    Of the examples whose true class the teacher gives at least `CERTAIN`, the one whose soft targets have the largest
    share of another class; where there is none, the one of whose true class the teacher is surest.

    Args:
        teacher_logits: of each example, in class order.
        temperature: at which the student was taught.
        labels: the positions of their classes.
    """
    logits = torch.tensor(teacher_logits)
    true = torch.arange(len(logits)), torch.tensor(labels)
    sure, others = logits.softmax(dim=1)[true], soft_targets(logits, temperature)
    others[true] = 0
    resembles = others.amax(dim=1)
    return int((resembles.where(sure >= CERTAIN, -1) if (sure >= CERTAIN).any() else sure).argmax())


def game_pictures(name: str, checkpoints: Path) -> tuple[str, list[Image.Image]]:
    """By which rule the pictures of the game were chosen, and these.

    Args:
        name: the omitted class.
        checkpoints: the networks' folder (see `folder_of`).

    Raises:
        CheckpointError: there are no pictures of that class, or one is missing or damaged.
    """
    folder = folder_of(checkpoints)
    try:
        game = parsed((folder / "examples.json").read_text("utf-8")).get("game") or {"label": "none"}
        if game["label"] != name:
            raise ValueError(
                f"the student's omitted class is {name}, but the game's pictures are of the class {game['label']}"
            )
        pictures = [_picture(folder, picture) for picture in game["pictures"]]
        if not pictures:
            raise ValueError("there are none")
        return game["chosen"], pictures
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"the game's pictures in {folder} cannot be used ({error}): {_way_out(checkpoints)}"
        ) from error


def _way_out(checkpoints: Path) -> str:
    return (
        f"choose them with python -m train.choose_examples --checkpoints {checkpoints} --data-dir DIR, where DIR is "
        "what the networks were trained on"
    )


def _picture(folder: Path, listed: dict) -> Image.Image:
    path = folder / Path(listed["file"]).name
    try:
        return read_photo(path)
    except PhotoError as error:
        raise ValueError(f"{path.name}: {error}") from error
