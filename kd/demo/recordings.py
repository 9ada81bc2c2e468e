"""What the page shows of the recordings beside the checkpoints (see `kd.recording`): the map of classes, the replay.

The map is drawn from the last moment of any network's recording. The replay wants both students', of the same moments.
Either is left out where its recordings are missing, and the page's log says which command makes them.
"""

import base64
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from kd.cifar10 import CLASSES
from kd.dataset import MAX_EXAMPLES
from kd.demo.examples import RECORDED
from kd.models import ROLE_NAMES, ROLES
from kd.recording import RECORDING, VALIDATION_IMAGES, read_recording

STUDENTS = ("student", "distilled")
LEAST_MOMENTS = 3  # of a replay
# How far the examples' logits may lie from those that were recorded, as a share of their own spread. Half precision and
# the rounding of what is stored move them by hundredths; the shipped networks' lie .15 or more from one another.
ANOTHER = 0.1


class Recorded(NamedTuple):
    """What is shown, and what is not.

    Attributes:
        views: goes to the browser when it is first wanted: {"map": {role: {"logits", "scale"}}, "replay": {"epochs":
            [M], "students": {role: {"logits", "scales": [M], "accuracy": [M], "of_recorded": [M]}}} or None}. `logits`
            are signed bytes, base64: of the map (500, 10), of the replay (M, 10, 10), moments by examples. `accuracy`
            is that on all validation images, None within an epoch; `of_recorded` is that on the recorded ones.
        missing: a sentence for each thing that cannot be shown, with the way out.
        pictures: the address, beside the page's own, of the file with the pictures of the map's images, which a line
            of the map opens; None where other images were recorded.
    """

    views: dict
    missing: list[str]
    pictures: str | None


def read_recorded(checkpoints: Path, examples: list[dict]) -> Recorded:
    """Read the recordings of the three networks.

    Args:
        checkpoints: the folder that holds teacher/, student/ and distilled/.
        examples: what the stage shows of the ten examples (`page.show`), in class order.
    """
    found, missing = {}, []
    classes = examples[0]["classes"]
    if len(classes) > MAX_EXAMPLES:
        missing.append("Map and replay are left out: they are for ten classes at most")
        return Recorded({"map": {}, "replay": None}, missing, None)
    has_map = tuple(classes) == CLASSES  # its sentences are of animals and vehicles
    for role in ROLES if has_map else STUDENTS:
        folder = checkpoints / role
        recording = read_recording(folder / RECORDING)
        if recording is None or not _is_whole(recording, len(classes)):
            if has_map:  # what the replay lacks is said below
                missing.append(
                    f"The map of classes lacks the {ROLE_NAMES[role].lower()}: python -m train.record {folder}"
                )
        elif _apart(recording, [example["models"][role]["logits"] for example in examples]) > ANOTHER:
            missing.append(
                f"{folder / RECORDING} does not fit the network beside it: it was recorded of another one, or on other "
                "images than the page's examples. Delete it" + (f", and python -m train.record {folder}" * has_map)
            )
        else:
            found[role] = recording
    replay = _replay(found)
    if replay is None:
        missing.append(
            f"There is no replay of the training: it wants the same {LEAST_MOMENTS} moments or more of both students, "
            "as python -m train.student --record and python -m train.distill --record store them"
        )
    if not has_map:
        missing.append("The map of classes is left out: it is CIFAR-10's")
        return Recorded({"map": {}, "replay": replay}, missing, None)
    last = {role: _last_moment(recording) for role, recording in found.items()}
    images = {recording["logits"].shape[1] for recording in found.values()}
    pictures = RECORDED.name if images == {len(CLASSES) + VALIDATION_IMAGES} else None
    return Recorded({"map": last, "replay": replay}, missing, pictures)


def _is_whole(recording: dict[str, Tensor], classes: int) -> bool:
    """Whether the tensors are those of a recording: as many moments of each, an example and as many images a class."""
    if recording["logits"].dim() < 2:
        return False
    moments, images, *logits = recording["logits"].shape
    numbers = [recording[name] for name in ("scale", "epoch", "accuracy")]  # no accuracy within an epoch: NaN
    return (
        recording["logits"].dtype == torch.int8 and logits == [classes] and moments > 0
        and images > classes and images % classes == 0
        and all(number.shape == (moments,) and number.dtype in (torch.float32, torch.float64) for number in numbers)
        and not any(number.isinf().any() for number in numbers)
        and not any(recording[name].isnan().any() for name in ("scale", "epoch"))
    )  # fmt: skip


def _apart(recording: dict[str, Tensor], logits: list[list[float]]) -> float:
    """Root mean square of how the last moment's logits of the examples differ from these, by that of these.

    Of each image's logits their mean is taken first: no answer shows it.
    """
    recorded, present = recording["logits"][-1, : len(logits)] * recording["scale"][-1], torch.tensor(logits)
    recorded, present = (each - each.mean(dim=1, keepdim=True) for each in (recorded, present))
    return ((recorded - present).norm() / present.norm().clamp(min=1e-9)).item()


def _last_moment(recording: dict[str, Tensor]) -> dict:
    return {
        "logits": _bytes(recording["logits"][-1, recording["logits"].shape[2] :]),
        "scale": recording["scale"][-1].item(),
    }


def _replay(found: dict[str, dict[str, Tensor]]) -> dict | None:
    """The replay's part of the views; None where the students were not recorded at the same moments."""
    epochs = [found[role]["epoch"].tolist() for role in STUDENTS if role in found]
    if len(epochs) < len(STUDENTS) or epochs[0] != epochs[1] or len(epochs[0]) < LEAST_MOMENTS:
        return None
    return {"epochs": epochs[0], "students": {role: _moments(found[role]) for role in STUDENTS}}


def _moments(recording: dict[str, Tensor]) -> dict:
    _, images, classes = recording["logits"].shape
    examples, rest = recording["logits"].split([classes, images - classes], dim=1)
    labels = torch.arange(classes).repeat_interleave(rest.shape[1] // classes)
    return {
        "logits": _bytes(examples),
        "scales": recording["scale"].tolist(),
        "accuracy": [None if share != share else share for share in recording["accuracy"].tolist()],
        "of_recorded": (rest.argmax(dim=2) == labels).double().mean(dim=1).tolist(),
    }


def _bytes(logits: Tensor) -> str:
    return base64.b64encode(logits.contiguous().numpy().tobytes()).decode()
