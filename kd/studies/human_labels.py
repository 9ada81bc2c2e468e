"""Doubt compared with people's: how far a network's distribution over the classes is from what people answer.

CIFAR-10H (Peterson et al. 2019, arXiv 1908.07086) counts how about fifty people labelled each of CIFAR-10's test
images. All functions are pure; distributions are float64, (N, K), with rows that sum to 1.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kd.cifar10 import CLASSES, DataError

TEMPERATURES = tuple(round(0.25 * 2 ** (k / 8), 4) for k in range(49))  # .25 to 16, eight to a doubling


def read_people(path: str | Path, labels: Tensor) -> Tensor:
    """Read people's distributions from CIFAR-10H's counts.

    Args:
        path: cifar10h-counts.npy, integers, (N, 10), in the order of the test images.
        labels: the test images' labels, (N,), which the counts have to fit.

    Raises:
        DataError: the file is missing, damaged, or belongs to other images.
    """
    try:
        counts = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): give --cifar10h the file cifar10h-counts.npy") from error
    if counts.shape != (len(labels), len(CLASSES)) or counts.min() < 0 or not counts.sum(axis=1).all():
        raise DataError(f"{path} does not hold counts of ten classes for {len(labels):,} images: is it CIFAR-10H's?")
    people = torch.from_numpy(counts / counts.sum(axis=1, keepdims=True))
    agreeing = (people.argmax(dim=1) == labels).double().mean().item()
    if agreeing < 0.9:  # people have 99 % of CIFAR-10 right
        raise DataError(f"{path} agrees with {agreeing:.0%} of the labels: its images are in another order")
    return people


def entropy(distributions: Tensor) -> Tensor:
    """Entropy of each row in nats, (N,)."""
    return torch.special.entr(distributions).sum(dim=1)


def cross_entropy(people: Tensor, logits: Tensor, temperature: float) -> float:
    """Mean of -sum(people log softmax(logits / T)) over the images, in nats.

    The Kullback-Leibler divergence from people to the network is this less people's mean entropy.
    """
    return -(people * F.log_softmax(logits.double() / temperature, dim=1)).sum(dim=1).mean().item()


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation of two lists of numbers, (N,), equal values sharing their mean rank; -1 to 1."""
    ranks = torch.stack([_ranks(one), _ranks(other)])
    return torch.corrcoef(ranks)[0, 1].item()


def _ranks(values: Tensor) -> Tensor:
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]
