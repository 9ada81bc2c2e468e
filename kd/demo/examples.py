"""Images of CIFAR-10, chosen by `python -m train.choose_examples`: the ten examples, the game's six, the map's 500."""

import json
from pathlib import Path

import torch

from kd.checkpoint import CheckpointError
from kd.cifar10 import CLASSES
from kd.losses import soft_targets
from kd.recording import PICTURES

FOLDER = Path(__file__).parent / "examples"
RECORDED = FOLDER / PICTURES
EXAMPLES = [FOLDER / f"{name}.png" for name in CLASSES]  # one of each class
CERTAIN = 0.95  # what the teacher gives its answer to the first example, at T = 1, at least


def first_example(teacher_logits: list[list[float]], temperature: float) -> int:
    """Which example the page opens with: a certainty that has much to show when it is warmed up.

    Of the examples whose true class the teacher gives at least `CERTAIN`, the one whose soft targets have the largest
    entropy; where there is none, the one of whose true class the teacher is surest.

    Args:
        teacher_logits: of each example, in class order.
        temperature: at which the student was taught.
    """
    logits = torch.tensor(teacher_logits)
    sure = logits.softmax(dim=1).diagonal()
    targets = soft_targets(logits, temperature)
    entropy = -(targets * targets.log()).sum(dim=1)
    return int((entropy.where(sure >= CERTAIN, -1) if (sure >= CERTAIN).any() else sure).argmax())


def game_pictures(name: str) -> tuple[str, list[Path]]:
    """By which rule the pictures of the game were chosen, and where they lie.

    Args:
        name: the class that one student never saw.

    Raises:
        CheckpointError: the pictures that ship are of another class.
    """
    game = json.loads((FOLDER / "examples.json").read_text("utf-8"))["game"]
    if game["label"] != name:
        raise CheckpointError(
            f"the student without a class was never shown the class {name}, but the game's pictures are of the class "
            f"{game['label']}: choose others with python -m train.choose_examples --omitted-class {name}"
        )
    return game["chosen"], [FOLDER / picture["file"] for picture in game["pictures"]]
