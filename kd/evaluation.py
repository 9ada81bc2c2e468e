"""What is measured of a network: accuracy, likelihood, calibration, agreement with the teacher, energy, latency.

Logits come from a network or a checkpoint; all metrics but the latency are pure functions of logits and labels.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd import checkpoint
from kd.checkpoint import CheckpointError
from kd.dataset import LabelledImages, Normalisation, difference_of_classes, normalise
from kd.device import autocast

CALIBRATION_BINS = 15
LATENCY_WARM_UP, LATENCY_RUNS = 10, 100


@torch.inference_mode()
def predict(
    network: nn.Module,
    images: Tensor,
    normalisation: Normalisation,
    batch_size: int = 1000,
    precision: str = "float32",
) -> Tensor:
    """Logits of many images, without augmentation, in float32.

    Args:
        network: put into evaluation mode for the purpose, and back into its former mode.
        images: uint8, (N, 3, H, W), on the network's device.
        normalisation: that of the network's training.
        batch_size: images at once where they are 32 x 32; of larger ones as many as have as many pixels.
        precision: what it computes in, float32 or bfloat16.

    Returns:
        float32, (N, K), on the CPU.
    """
    batch_size = max(1, batch_size * 32**2 // images[0, 0].numel())
    was_training = network.training
    network.eval()
    try:
        with autocast(precision, images.device):
            logits = [
                network(normalise(batch.float() / 255, normalisation).contiguous(memory_format=torch.channels_last))
                .float()
                .cpu()
                for batch in images.split(batch_size)
            ]
    finally:
        network.train(was_training)
    return torch.cat(logits)


def checkpoint_logits(folder: str | Path, images: LabelledImages, device: torch.device | str = "cpu") -> Tensor:
    """A checkpoint's logits of images, as `predict` returns them.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, or was trained on other data.
        DataError: the images do not fit into the device's memory.
    """
    network, config = checkpoint.load(folder)
    check_data(folder, config, images)
    network.to(device, memory_format=torch.channels_last)
    return predict(network, images.to(device).images, checkpoint.normalisation_of(config))


def check_data(folder: str | Path, config: dict, images: LabelledImages) -> None:
    """Raise CheckpointError unless a network knows the classes of these images, and takes images of their size.

    Args:
        folder: of the checkpoint, to be named.
        config: its config.json.
    """
    check_classes(folder, config, images.classes)
    if (taken := checkpoint.image_size_of(config)) != (size := images.images.shape[-1]):
        raise CheckpointError(
            f"{folder} takes images of {taken} pixels, the networks beside it of {size}: they are measured and shown "
            "together at one size alone; train one of them anew with the others' --image-size"
        )


def check_classes(folder: str | Path, config: dict, classes: Sequence[str]) -> None:
    """Raise CheckpointError unless a network knows these classes: to be asked before any image is read."""
    if config["classes"] != list(classes):
        raise CheckpointError(
            f"{folder} was trained on {len(config['classes'])} classes, the data hold {len(classes)} "
            f"({difference_of_classes(config['classes'], classes)}): name its data with --data-dir"
        )


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of the images whose largest logit is the label's; 0 to 1."""
    return (logits.argmax(dim=1) == labels).double().mean().item()


def per_class_accuracy(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """Accuracy among the images of each class, 0 to 1, by the class's name; NaN for a class without images."""
    right = logits.argmax(dim=1) == labels
    return {name: right[labels == label].double().mean().item() for label, name in enumerate(classes)}


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> float:
    """Mean of -log(probability of the label), in nats."""
    return F.cross_entropy(logits.double(), labels).item()


def reliability(logits: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> dict[str, list]:
    """What a reliability diagram shows (Guo 2017, arXiv 1706.04599, section 2).

    Images are sorted into `bins` equal intervals of confidence (the largest probability), open
    below and closed above: (0, 1/bins], ..., ((bins - 1)/bins, 1].

    Returns:
        Lists with an entry an interval: images, and the sums over them of confidence and of right predictions.
    """
    confidence, predicted = F.softmax(logits.double(), dim=1).max(dim=1)
    interval = (confidence * bins).ceil().long().clamp(1, bins) - 1
    zeros = torch.zeros(bins, dtype=torch.double)
    return {
        "images": torch.bincount(interval, minlength=bins).tolist(),
        "confidence": zeros.index_add(0, interval, confidence).tolist(),
        "right": zeros.index_add(0, interval, (predicted == labels).double()).tolist(),
    }


def calibration_error(logits: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error (Guo 2017, arXiv 1706.04599, eq. 3), 0 to 1.

    |accuracy - mean confidence| of each interval of `reliability`, weighted by its share of the images.
    """
    intervals = reliability(logits, labels, bins)
    gaps = (abs(right - sure) for right, sure in zip(intervals["right"], intervals["confidence"], strict=True))
    return sum(gaps) / len(labels)


def agreement(logits: Tensor, others: Tensor) -> float:
    """Share of the images of which two networks predict the same class; 0 to 1."""
    return (logits.argmax(dim=1) == others.argmax(dim=1)).double().mean().item()


def largest_logit(logits: Tensor) -> float:
    """The largest distance of any logit from its image's mean, of all images.

    In the hundreds no temperature that is of use would soften that image's answer.
    """
    return (logits - logits.mean(dim=1, keepdim=True)).abs().max().item()


def energy_score(logits: Tensor) -> Tensor:
    """Negative free energy, log sum exp z, at T = 1 (Liu 2020, arXiv 2010.03759, eq. 4), in nats.

    The lower it is, the less an image looks like any of the classes to the network.

    Returns:
        float64, (N,).
    """
    return logits.double().logsumexp(dim=1)


@torch.inference_mode()
def latencies(networks: Mapping[str, Callable[[Tensor], Tensor]], image: Tensor) -> dict[str, float]:
    """Median milliseconds that each network takes for an image on one core, taken in turns, after a warm-up.

    Args:
        networks: by name, in any form that can be called, on the CPU.
        image: float32, (1, 3, H, W), in the memory format that they are used with.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    try:
        for _ in range(LATENCY_WARM_UP + LATENCY_RUNS):
            for name, network in networks.items():
                started = time.perf_counter()
                network(image)
                seconds[name].append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return {name: round(statistics.median(times[LATENCY_WARM_UP:]) * 1000, 3) for name, times in seconds.items()}


def measure(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """The metrics that need one network alone, under the names that results.json and the studies use."""
    return {
        "accuracy": accuracy(logits, labels),
        "nll": negative_log_likelihood(logits, labels),
        "ece": calibration_error(logits, labels),
    }
