"""A trained network at work: one checkpoint's, and the page's three, with what they say of an image."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from kd import checkpoint
from kd.dataset import normalise
from kd.losses import check_temperature
from kd.models import ROLES, count_parameters, first_layer, fuse_norms
from kd.out_of_class import Warner, contrasts
from kd.photo import CENTRE, Crop, read_photo, to_network_size
from kd.results import RESULTS, network_results, read_results, warning_rates

_log = logging.getLogger(__name__)
BATCH = 16  # images that go through a network at once: more are hardly faster, and memory stays bounded


@dataclass(frozen=True)
class TimedLogits:
    """One network's logits of one image, and the milliseconds they took."""

    logits: list[float]
    milliseconds: float


def pixels_of(images: Sequence[Image.Image]) -> Tensor:
    """Images, RGB and of one size, as a network takes them: float32, (N, 3, H, W), 0 to 1, channels last in memory."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).float() / 255


class TrainedNetwork(nn.Module):
    """A checkpoint's network in evaluation mode: images in, logits out.

    It takes images as they are, RGB between 0 and 1, of its checkpoint's size, and normalises them by its constants.

    Attributes:
        network: the network itself, for normalised images.
        config: its config.json; describes the training that the weights came from.
        image_size: the side of the images that it takes, pixels.
    """

    def __init__(self, network: nn.Module, config: dict) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.image_size: int = checkpoint.image_size_of(config)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """The logits, (N, K), in the order of config["classes"].

        Args:
            images: float, (N, 3, S, S), RGB, values in [0, 1]; S is `image_size`.

        Raises:
            ValueError: images of another shape.
        """
        size = self.image_size
        if images.shape[1:] != (3, size, size):
            raise ValueError(
                f"images are {tuple(images.shape)} instead of (N, 3, {size}, {size}): "
                "scale them, as kd.photo.to_network_size does with a photo"
            )
        return self.network(normalise(images, checkpoint.normalisation_of(self.config)))

    @torch.inference_mode()
    def timed_logits(self, images: Sequence[Image.Image]) -> list[TimedLogits]:
        """The logits of many images, in their order, `BATCH` computed at once; their time is shared out evenly.

        Args:
            images: RGB, of `image_size` (see `to_network_size`).
        """
        found = []
        for first in range(0, len(images), BATCH):
            pixels = pixels_of(images[first : first + BATCH])
            started = time.perf_counter()
            logits = self(pixels).tolist()
            milliseconds = (time.perf_counter() - started) * 1000 / len(pixels)
            found += [TimedLogits(row, milliseconds) for row in logits]
        return found

    def classify(self, photo: str | Path) -> dict[str, float]:
        """The probabilities (T = 1) of what an image file's middle square shows, by class, the greatest first.

        Raises:
            PhotoError: the file cannot be read as an image.
        """
        (timed,) = self.timed_logits([to_network_size(read_photo(photo), image_size=self.image_size)])
        probabilities = dict(zip(self.config["classes"], torch.tensor(timed.logits).softmax(0).tolist(), strict=True))
        return dict(sorted(probabilities.items(), key=lambda entry: -entry[1]))


class Trio:
    """Teacher, student alone and distilled student, loaded and in evaluation mode.

    Attributes:
        folder: where the checkpoints came from.
        networks: by role; their batch norms are fused into the convolutions.
        configs: each role's config.json.
        another_teacher: whether another teacher than the one among them taught the distilled student.
        classes, image_size: the names, in the order of the logits, and the side of the images, pixels; the same of all
            three.
        parameters: each role's number of trainable parameters.
        out_of_class: of results.json, what was measured of the warning that an image is unlikely to show any of the
            classes; empty where `train.evaluate` has not measured it with this teacher.
        warner: what warns; None where it was not measured.
    """

    def __init__(self, folder: str | Path) -> None:
        """Load and verify the three checkpoints.

        Raises:
            CheckpointError: one is missing, damaged, or not of its role.
        """
        self.folder = Path(folder)
        self.networks = {role: TrainedNetwork(*checkpoint.load_as(role, self.folder / role)) for role in ROLES}
        self.configs = {role: network.config for role, network in self.networks.items()}
        teacher = self.configs["teacher"]
        self.another_teacher = not checkpoint.is_taught_by(self.configs["distilled"], teacher)
        self.classes: list[str] = teacher["classes"]
        self.image_size: int = checkpoint.image_size_of(teacher)
        for role, config in self.configs.items():
            if (config["classes"], checkpoint.image_size_of(config)) != (self.classes, self.image_size):
                raise checkpoint.CheckpointError(
                    f"{self.folder / role} knows other classes or takes another size than {self.folder / 'teacher'}: "
                    "put networks there that were trained on the same data"
                )
        self.parameters = {role: count_parameters(network) for role, network in self.networks.items()}
        for network in self.networks.values():
            fuse_norms(network.network, network.config["architecture"])
            network.to(memory_format=torch.channels_last)
        self.out_of_class = _out_of_class(self.folder, self.configs["teacher"])
        self.warner = _warner(self.folder, self.out_of_class, self.networks["teacher"]) if self.out_of_class else None
        # The first pass is the slowest: have it behind us.
        self.timed_logits([Image.new("RGB", (self.image_size, self.image_size))])

    def timed_logits(self, images: Sequence[Image.Image]) -> list[dict[str, TimedLogits]]:
        """The three networks' logits of many images, as of `TrainedNetwork.timed_logits`.

        Returns:
            For each image, in their order, what each role has.
        """
        by_role = [network.timed_logits(images) for network in self.networks.values()]
        return [dict(zip(self.networks, row, strict=True)) for row in zip(*by_role, strict=True)]

    @torch.inference_mode()
    def fits_no_class(self, teacher_logits: list[float], image: Image.Image) -> bool:
        """Whether an image is unlikely to show any of the classes; False without a `warner`.

        Args:
            teacher_logits: of what was shown, margins included.
            image: RGB, of `image_size`, without margins, which no photo has: by its contrasts, too, it is judged.
        """
        if self.warner is None:
            return False
        teacher = self.networks["teacher"]
        pixels = normalise(pixels_of([image]), checkpoint.normalisation_of(teacher.config))
        return bool(self.warner.warns(torch.tensor([teacher_logits]), contrasts(teacher.network, pixels)))

    def network_input(self, photo: Image.Image, crop: Crop | None = CENTRE) -> Image.Image:
        """A crop of a photo, shrunk to the networks' size (see `to_network_size`)."""
        return to_network_size(photo, crop, self.image_size)

    def classify_all(self, images: Sequence[Image.Image], temperature: float) -> list[dict]:
        """Classify many images: for each what the endpoint `/classify` returns, in their order.

        Args:
            images: RGB, of `image_size` (see `network_input`).
            temperature: T, in the range of `kd.losses.check_temperature`.

        Returns:
            {"classes": [K names], "temperature": T, "models": {role: {"logits": [K],
            "probabilities": [K] at T = 1, "softened": [K] at T, "label": str,
            "confidence": float, "milliseconds": float}}}

        Raises:
            ValueError: a temperature out of range.
        """
        check_temperature(temperature)
        return [
            {
                "classes": list(self.classes),
                "temperature": temperature,
                "models": {role: _described(timed, temperature, self.classes) for role, timed in by_role.items()},
            }
            for by_role in self.timed_logits(images)
        ]


def _out_of_class(folder: Path, teacher: dict) -> dict:
    """What the results in `folder` say of the warning by the teacher of this config.json; older ones say nothing."""
    results = read_results(folder)
    measured = network_results(results, teacher) if results else None
    found = (measured or {}).get("out_of_class")
    return found if isinstance(found, dict) and "means" in found else {}


def _warner(folder: Path, measured: dict, teacher: TrainedNetwork) -> Warner | None:
    """What warns, as it was measured; without it nobody is warned, and the page goes on."""
    try:
        warning_rates(measured)  # which the page tells with the warning
        warner = Warner.from_json(measured)
        if len(warner.centre) != (filters := first_layer(teacher.network)[0].out_channels):
            raise ValueError(f"a centre of {len(warner.centre)} values does not go with {filters} filters")
        if len(warner.means) != (classes := len(teacher.config["classes"])):
            raise ValueError(f"means of {len(warner.means)} classes do not go with {classes}")
        return warner
    except Exception as error:  # what a damaged file may lead to has no end; nothing of it stops the page
        _log.warning(
            "%s has a damaged out_of_class (%s: %s): write it anew with python -m train.evaluate --checkpoints %s",
            folder / RESULTS, type(error).__name__, error, folder,
        )  # fmt: skip
        return None


def _described(timed: TimedLogits, temperature: float, classes: Sequence[str]) -> dict:
    """One network's part of what `Trio.classify_all` returns."""
    logits = torch.tensor(timed.logits, dtype=torch.float64)
    probabilities = logits.softmax(0).tolist()
    best = max(range(len(classes)), key=probabilities.__getitem__)
    return {
        "logits": timed.logits,
        "probabilities": probabilities,
        "softened": (logits / temperature).softmax(0).tolist(),
        "label": classes[best],
        "confidence": probabilities[best],
        "milliseconds": round(timed.milliseconds, 3),
    }
