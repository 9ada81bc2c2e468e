"""The warning that an image may show none of the ten classes: two scores, their thresholds, and how well they do.

Either score may warn. The cosine asks whether the logits are like those of any class: the largest of the cosines
between them and each class's mean logits. The first layer asks whether the image looks like a photo at all, which the
logits cannot tell: a network is often as sure of stripes as of a ship. For that the variances of the first
convolution's responses are compared with those of validation images by the Mahalanobis distance (Lee 2018, arXiv
1807.03888, use it at every layer; the first is enough for this, and costs nothing). It catches far more patterns and
noise than the cosine does, and both together hardly more (`compared`); but photos of other things look like any photo
to a first layer. Each score may warn of half of the `SHARE` of validation images that are warned of for nothing.

Both come from what the networks give away in any case, so that a browser can compute them as well as a server. Where
the features may be looked at too, their cosine catches a little more, and warns of more photos that are merely noisy.
"""

import base64
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd import models
from kd.dataset import Normalisation, normalise
from kd.evaluation import energy_score

SHARE = 0.05  # of validation images that are warned of for nothing
FLOOR = 0.01  # added to a variance, which is about 1 in a photo, so that a flat colour has a logarithm
SHRINKAGE = 1e-3  # added to each variance of the covariance, as a share of it, so that it can be inverted


class Responses(NamedTuple):
    """What a network makes of N images: logits (N, K), features (N, D), and of its stem `contrasts` (N, C)."""

    logits: Tensor
    features: Tensor
    contrasts: Tensor

    def part(self, chosen: Tensor) -> "Responses":
        """Of some of the images."""
        return Responses(*(each[chosen] for each in self))

    def without(self, label: int) -> "Responses":
        """As of a network that has no logit for a class."""
        others = [other for other in range(self.logits.shape[1]) if other != label]
        return self._replace(logits=self.logits[:, others])


@torch.inference_mode()
def responses(network: nn.Module, images: Tensor, normalisation: Normalisation, batch_size: int = 500) -> Responses:
    """Let a network, in evaluation mode, look at images: uint8, (N, 3, H, W), on its device.

    The network is one of `kd.models.build`; what is returned is on the CPU.
    """
    parts = []
    for batch in images.split(batch_size):
        pixels = normalise(batch.float() / 255, normalisation).contiguous(memory_format=torch.channels_last)
        found = models.features(network, pixels)
        parts.append((models.logits_of_features(network, found).cpu(), found.cpu(), contrasts(network, pixels).cpu()))
    return Responses(*map(torch.cat, zip(*parts, strict=True)))


def contrasts(network: nn.Module, pixels: Tensor) -> Tensor:
    """The logarithm of each first-layer filter's variance over an image, (N, C); pixels are normalised."""
    return (models.stem_responses(network, pixels).var(dim=(2, 3), unbiased=False) + FLOOR).log()


@dataclass(frozen=True)
class Warner:
    """The thresholds, and what logits and contrasts are compared with.

    Attributes:
        cosine: below this largest cosine with a class's mean logits an image is warned of.
        distance: and beyond this squared Mahalanobis distance of its contrasts.
        means: each class's mean logits on the validation images, scaled to length 1, (K, K), float64.
        centre, inverse_covariance: of the validation images' contrasts, (C,) and (C, C), float64; the second is what
            results.json calls "precision".
    """

    cosine: float
    distance: float
    means: Tensor
    centre: Tensor
    inverse_covariance: Tensor

    @classmethod
    def fit(cls, validation: Responses, labels: Tensor, share: float = SHARE) -> "Warner":
        """Set both thresholds by images of the classes that were not trained on.

        Args:
            labels: of these images, int64, (N,).
            share: of them that may be warned of.
        """
        means = class_means(validation.logits, labels)
        centre, inverse_covariance = fit_distance(validation.contrasts)
        cosines = largest_cosine(validation.logits, means)
        distances = distance(validation.contrasts, centre, inverse_covariance)
        return cls(
            cosines.quantile(share / 2).item(), distances.quantile(1 - share / 2).item(),
            means, centre, inverse_covariance,
        )  # fmt: skip

    def warns(self, logits: Tensor, contrasts: Tensor) -> Tensor:
        """Of which images to warn: bool, (N,); logits are (N, K) and contrasts (N, C)."""
        far = distance(contrasts, self.centre, self.inverse_covariance) > self.distance
        return far | (largest_cosine(logits, self.means) < self.cosine)

    def share(self, looked: Responses) -> float:
        """The share of images that are warned of, 0 to 1."""
        return self.warns(looked.logits, looked.contrasts).double().mean().item()

    def to_json(self) -> dict:
        """As results.json has it; the arrays are float32, little-endian, base64."""
        arrays = {"means": self.means, "centre": self.centre, "precision": self.inverse_covariance}
        thresholds = {"cosine_below": self.cosine, "distance_above": self.distance}
        return thresholds | {name: floats_as_text(array) for name, array in arrays.items()}

    @classmethod
    def from_json(cls, stored: Mapping) -> "Warner":
        """The inverse of `to_json`.

        Raises:
            LookupError, TypeError, ValueError: it is damaged.
        """
        means, centre, precision = (_floats_of_text(stored[name]) for name in ("means", "centre", "precision"))
        if len(precision) != len(centre) ** 2:
            raise ValueError(f"a precision of {len(precision)} values does not go with a centre of {len(centre)}")
        classes = math.isqrt(len(means))
        if len(means) != classes**2:
            raise ValueError(f"means of {len(means)} values are not as many as of logits for each class")
        return cls(
            float(stored["cosine_below"]),
            float(stored["distance_above"]),
            means.reshape(classes, classes),
            centre,
            precision.reshape(len(centre), len(centre)),
        )


def class_means(values: Tensor, labels: Tensor) -> Tensor:
    """The mean of each class's values, scaled to length 1: values are (N, D), the means (classes, D), float64."""
    return F.normalize(torch.stack([values[labels == label].double().mean(dim=0) for label in labels.unique()]))


def largest_cosine(values: Tensor, means: Tensor) -> Tensor:
    """Of values, (N, D), the largest cosine with any of `class_means`: float64, (N,)."""
    return (F.normalize(values.double()) @ means.T).amax(dim=1)


def fit_distance(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, (C,), and inverse covariance, (C, C), of values, (N, C), in float64."""
    values = values.double()
    covariance = torch.cov(values.T)
    shrunk = covariance + SHRINKAGE * torch.diag(covariance.diagonal())
    return values.mean(dim=0), torch.linalg.inv(shrunk)


def distance(values: Tensor, centre: Tensor, inverse_covariance: Tensor) -> Tensor:
    """Squared Mahalanobis distance of values, (N, C), from a centre: float64, (N,)."""
    apart = values.double() - centre
    return (apart @ inverse_covariance * apart).sum(dim=1)


def rates(warner: Warner, test: Responses, strange: Mapping[str, Responses]) -> dict:
    """How often it warns: of test images for nothing, and of images that show no class, by their kind."""
    detected = {kind: warner.share(looked) for kind, looked in strange.items()}
    return {
        "false_alarms": warner.share(test),
        "detected": detected,
        "mean_detected": statistics.fmean(detected.values()),
    }


def compared(
    validation: Responses,
    labels: Tensor,
    strange: Mapping[str, Responses],
    corrupted: Mapping[str, Responses],
) -> dict[str, dict[str, float]]:
    """How the warning and others like it would do, at the same share of validation images that are warned of.

    Args:
        validation: what the thresholds are set by; labels: of these images, int64, (N,).
        strange: images that show no class, by kind.
        corrupted: images of the classes as bad photos show them, by corruption.

    Returns:
        By the scores that may warn, each of an equal part of `SHARE`: "detected", the mean over the kinds of strange
        images, and "corrupted", over the corruptions, of the share that is warned of. Besides those of the warning
        these are the energy (`kd.evaluation.energy_score`), also as a share of the features' norm, the largest
        probability (Hendrycks & Gimpel 2017, arXiv 1610.02136), and the cosine with a class's mean features.
    """
    centre, inverse_covariance = fit_distance(validation.contrasts)
    means_of_logits, means_of_features = (
        class_means(values, labels) for values in (validation.logits, validation.features)
    )
    scores = {
        "cosine of logits": lambda looked: largest_cosine(looked.logits, means_of_logits),
        "first layer": lambda looked: -distance(looked.contrasts, centre, inverse_covariance),
        "energy": lambda looked: energy_score(looked.logits),
        "maximum softmax": lambda looked: looked.logits.double().softmax(dim=1).amax(dim=1),
        "energy / norm of features": lambda looked: energy_score(looked.logits) / looked.features.norm(dim=1).double(),
        "cosine of features": lambda looked: largest_cosine(looked.features, means_of_features),
    }
    beside = [name for name in scores if name != "first layer"]
    found = {}
    for names in [*((name, "first layer") for name in beside), *((name,) for name in scores)]:
        thresholds = {name: scores[name](validation).quantile(SHARE / len(names)) for name in names}

        def warned_of(looked: Responses, thresholds: Mapping[str, Tensor] = thresholds) -> float:
            below = [scores[name](looked) < threshold for name, threshold in thresholds.items()]
            return torch.stack(below).any(dim=0).double().mean().item()

        found[" or ".join(names)] = {
            "detected": statistics.fmean(map(warned_of, strange.values())),
            "corrupted": statistics.fmean(map(warned_of, corrupted.values())),
        }
    return found


def floats_as_text(array: Tensor) -> str:
    """Its values in float32, little-endian, base64."""
    return base64.b64encode(array.numpy().astype("<f4").tobytes()).decode()


def _floats_of_text(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64))
