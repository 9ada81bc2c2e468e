"""The examples beside the photo: ten images of CIFAR-10's test set, chosen by `python -m train.choose_examples`."""

from pathlib import Path

import torch

from kd.cifar10 import CLASSES
from kd.losses import soft_targets

EXAMPLES = [Path(__file__).parent / "examples" / f"{name}.png" for name in CLASSES]  # one of each class
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
