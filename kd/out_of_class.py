"""The warning that an image may show none of the ten classes: two scores, their thresholds, and how well they do.

Either score may warn. The energy of the logits asks whether the network knows the image as any class. The first layer
asks whether the image looks like a photo at all, which the logits cannot tell: a network is often as sure of stripes as
of a ship. For that the variances of the first convolution's responses are compared with those of validation images by
the Mahalanobis distance (Lee 2018, arXiv 1807.03888, use it at every layer; the first is enough for this, and costs
nothing). Of patterns and noise the first layer alone catches most (`compared`); the energy stays beside it for photos
of other things, which look like any photo to a first layer. Each score may warn of half of the `SHARE` of validation
images that are warned of for nothing.
"""

import base64
from collections.abc import Iterable, Mapping
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
    """The thresholds, and what contrasts are compared with.

    Attributes:
        energy: below this energy (`kd.evaluation.energy_score`, nats) an image is warned of.
        distance: and beyond this squared Mahalanobis distance of its contrasts.
        centre, inverse_covariance: of the validation images' contrasts, (C,) and (C, C), float64; the second is what
            results.json calls "precision".
    """

    energy: float
    distance: float
    centre: Tensor
    inverse_covariance: Tensor

    @classmethod
    def fit(cls, validation: Responses, share: float = SHARE) -> "Warner":
        """Set both thresholds by images of the classes that were not trained on; `share` may be warned of."""
        centre, inverse_covariance = fit_distance(validation.contrasts)
        energies = energy_score(validation.logits)
        distances = distance(validation.contrasts, centre, inverse_covariance)
        return cls(
            energies.quantile(share / 2).item(), distances.quantile(1 - share / 2).item(), centre, inverse_covariance
        )

    def warns(self, logits: Tensor, contrasts: Tensor) -> Tensor:
        """Of which images to warn: bool, (N,); logits are (N, K) and contrasts (N, C)."""
        far = distance(contrasts, self.centre, self.inverse_covariance) > self.distance
        return far | (energy_score(logits) < self.energy)

    def share(self, looked: Responses) -> float:
        """The share of images that are warned of, 0 to 1."""
        return self.warns(looked.logits, looked.contrasts).double().mean().item()

    def to_json(self) -> dict:
        """As results.json has it; the arrays are float32, little-endian, base64."""
        arrays = {"centre": packed(self.centre), "precision": packed(self.inverse_covariance)}
        return {"energy_below": self.energy, "distance_above": self.distance, **arrays}

    @classmethod
    def from_json(cls, stored: Mapping) -> "Warner":
        """The inverse of `to_json`.

        Raises:
            LookupError, TypeError, ValueError: it is damaged.
        """
        centre, matrix = _unpacked(stored["centre"]), _unpacked(stored["precision"])
        if len(matrix) != len(centre) ** 2:
            raise ValueError(f"a precision of {len(matrix)} values does not go with a centre of {len(centre)}")
        matrix = matrix.reshape(len(centre), len(centre))
        return cls(float(stored["energy_below"]), float(stored["distance_above"]), centre, matrix)


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
    return {"false_alarms": warner.share(test), "detected": detected, "mean_detected": _mean(detected.values())}


def compared(
    validation: Responses, labels: Tensor, strange: Mapping[str, Responses], share: float = SHARE
) -> dict[str, float]:
    """What other scores would have detected of the same images, at the same share of false alarms.

    Args:
        validation: what the thresholds are set by; labels: of these images, int64, (N,).
        strange: images that show no class, by kind.

    Returns:
        By score, the mean over the kinds of the share that is detected: the warning's own, each of its two scores
        alone, the largest probability (Hendrycks & Gimpel 2017, arXiv 1610.02136), the energy as a share of the
        features' norm, and the largest cosine with a class's mean features.
    """
    centre, inverse_covariance = fit_distance(validation.contrasts)
    means = F.normalize(torch.stack([validation.features[labels == label].mean(dim=0) for label in labels.unique()]))
    scores = {
        "energy": lambda looked: energy_score(looked.logits),
        "first layer": lambda looked: -distance(looked.contrasts, centre, inverse_covariance),
        "maximum softmax": lambda looked: looked.logits.double().softmax(dim=1).amax(dim=1),
        "energy / norm of features": lambda looked: energy_score(looked.logits) / looked.features.norm(dim=1).double(),
        "cosine with class means": lambda looked: (F.normalize(looked.features) @ means.T).amax(dim=1).double(),
    }
    warner = Warner.fit(validation, share)
    found = {"energy or first layer": _mean(warner.share(looked) for looked in strange.values())}
    for name, score in scores.items():
        threshold = score(validation).quantile(share)
        found[name] = _mean((score(looked) < threshold).double().mean().item() for looked in strange.values())
    return found


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def packed(array: Tensor) -> str:
    """Its values in float32, little-endian, base64."""
    return base64.b64encode(array.numpy().astype("<f4").tobytes()).decode()


def _unpacked(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64))
