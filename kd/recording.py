"""How a network came to its predictions: its logits of a few images, at many moments of its training.

A recording is `recording.safetensors` in the checkpoint's folder:

    logits      int8, (moments, images, classes): each row's logits less their mean, divided by the moment's scale
    scale       float32, (moments,): logits = scale x the stored number, exact to half a scale
    epoch       float32, (moments,): passes over the data so far; 0 is the network before its first step
    accuracy    float32, (moments,): of the validation images after a whole epoch, NaN within one

The images are ten of the test set, one of each class, drawn with a fixed seed (`example_positions`), and then 500
of the validation images, the first 50 of each class in the order of the file, class by class. Probabilities at any T
follow: a softmax does not mind what its row's mean was.

A moment in an epoch with the early stride (`Recipe.early_downsampling`) is of the network with that stride.

A network that was trained without one is recorded as it is, in one moment, by `python -m train.record`; where the
end of a training was not recorded, that moment is added.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from kd import checkpoint, evaluation
from kd.dataset import LabelledImages, Normalisation
from kd.files import write_atomically

RECORDING = "recording.safetensors"
RECORDED_PICTURES = "recorded.png"  # its validation images, a row a class; written by train.choose_examples
VALIDATION_IMAGES = 500
FIRST_EPOCH_MOMENTS = (0, 1 / 16, 1 / 8, 1 / 4, 1 / 2)  # shares of it, besides its end


class RecordingError(ValueError):
    """A recording cannot be made; the message says why, and the way out."""


def recorded_images(examples: LabelledImages, validation: LabelledImages) -> Tensor:
    """The images of a recording, uint8, (510, 3, 32, 32) of CIFAR-10's; of other data as many of each class as fit.

    Args:
        examples: one image of each class, in class order; of many classes those of `example_positions`.
        validation: the validation images.
    """
    of_class = validation.labels.bincount()
    a_class = min(max(1, VALIDATION_IMAGES // len(of_class)), int(of_class.min()))
    chosen = [torch.nonzero(validation.labels == label)[:a_class, 0] for label in range(len(of_class))]
    return torch.cat([examples.images, validation.images[torch.cat(chosen)]])


class Recorder:
    """Writes a recording while a network trains; a resumed run goes on with what its last epoch left."""

    def __init__(self, images: Tensor, normalisation: Normalisation, folder: Path) -> None:
        """Record `images`, uint8, (N, 3, H, W), into `folder`."""
        self.images, self.normalisation = images, normalisation
        self.path = folder / RECORDING
        self.moments: list[dict[str, Tensor]] = []

    def begin(self, network: nn.Module, epochs_done: int, precision: str) -> None:
        """Begin a run, taking up what was recorded of the epochs that are done.

        Args:
            network: the plain module: not the one that processes share, which would wait for the others.
        """
        self.network, self.precision = network, precision
        self.images = self.images.to(next(network.parameters()).device)
        found = read_recording(self.path) if epochs_done else None
        self.moments = moments_until(found, epochs_done)
        if epochs_done and not (self.moments and self.moments[-1]["epoch"] == epochs_done):
            print(f"{self.path} lacks the epochs that were trained without --record", flush=True)

    def due(self, epoch: int, step: int, steps: int) -> bool:
        """Whether to record before this step (from 0) of an epoch (from 0) of that many steps."""
        return epoch == 0 and step in {int(share * steps) for share in FIRST_EPOCH_MOMENTS}

    def record(self, epoch: float, accuracy: float = torch.nan) -> None:
        """Add a moment; after a whole epoch, write the file.

        Raises:
            OSError: the disk is full or not writable.
        """
        logits = evaluation.predict(self.network, self.images, self.normalisation, precision=self.precision)
        self.moments.append(moment(logits, epoch, accuracy))
        if float(epoch).is_integer() and epoch > 0:
            write_recording(self.moments, self.path)


def record_finished(folder: Path, examples: LabelledImages, validation: LabelledImages) -> float:
    """Record a finished checkpoint as it is, at full size: a recording of one moment.

    Args:
        folder: the checkpoint's. What was recorded of its training stays before that moment, a single moment does not.
        examples, validation: as of `recorded_images`.

    Returns:
        Its accuracy on the validation images, 0 to 1.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        RecordingError: it is recorded already.
        OSError: the disk is full or not writable.
    """
    path = folder / RECORDING
    network, config = checkpoint.load(folder)
    found = read_recording(path)
    if found and len(found["epoch"]) > 1 and found["epoch"][-1] >= config["epochs_done"]:
        raise RecordingError(
            f"{path} holds {len(found['epoch'])} moments of a training, the finished network among them: nothing is "
            "missing. If it is another network's, delete it first"
        )
    normalisation = checkpoint.normalisation_of(config)
    accuracy = evaluation.accuracy(evaluation.predict(network, validation.images, normalisation), validation.labels)
    logits = evaluation.predict(network, recorded_images(examples, validation), normalisation)
    before = moments_until(found, config["epochs_done"] - 1)
    if len(before) < 2 or before[0]["logits"].shape != logits.shape:  # as it was once, or of other images
        before = []
    write_recording([*before, moment(logits, config["epochs_done"], accuracy)], path)
    return accuracy


def moments_until(found: dict[str, Tensor] | None, epoch: float) -> list[dict[str, Tensor]]:
    """The moments of a recording, as `moment` makes them, up to an epoch; none of None."""
    rows = torch.nonzero(found["epoch"] <= epoch)[:, 0] if found else ()
    return [{name: tensor[row] for name, tensor in found.items()} for row in rows]


def moment(logits: Tensor, epoch: float, accuracy: float) -> dict[str, Tensor]:
    """What a recording keeps of a moment; `logits` are float32, (images, classes)."""
    logits = logits - logits.mean(dim=1, keepdim=True)
    scale = (logits.abs().max() / 127).clamp(min=1e-6)
    return {
        "logits": (logits / scale).round().to(torch.int8),
        "scale": scale,
        "epoch": torch.tensor(float(epoch)),
        "accuracy": torch.tensor(accuracy),
    }


def write_recording(moments: list[dict[str, Tensor]], path: Path) -> None:
    """Write moments, in their order, as a recording.

    Raises:
        OSError: the disk is full or not writable.
    """
    content = save({name: torch.stack([each[name] for each in moments]) for name in moments[0]})
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def read_recording(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a recording (see above); None where there is none that can be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in ("logits", "scale", "epoch", "accuracy")}
    except (SafetensorError, OSError):
        return None
