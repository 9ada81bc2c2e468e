"""What is kept from a network in training: most of the labels, or all images of a class."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from kd.dataset import COPY, LabelledImages
from kd.losses import UNLABELLED

SUBSET_SEED = 2015  # of the choice of images alone; runs have seeds of their own


def labelled_positions(labels: Tensor, fraction: float) -> Tensor:
    """Choose the images whose labels are known: the same share of each class, the same images for every run.

    A smaller share's images are all among a larger one's.

    Args:
        labels: int64, (N,).
        fraction: share of each class, over 0 up to 1.

    Returns:
        Positions, int64, ascending; at least one of each class.
    """
    random = np.random.default_rng(SUBSET_SEED)
    chosen = []
    for label in range(int(labels.max()) + 1):
        of_class = random.permutation(np.flatnonzero(labels.cpu().numpy() == label))
        chosen.append(of_class[: max(1, round(len(of_class) * fraction))])
    return torch.from_numpy(np.sort(np.concatenate(chosen)))


def keep_labels(training: LabelledImages, fraction: float, keep_unlabelled: bool = False) -> LabelledImages:
    """Keep the labels of a share of the images, and take the others' away; an epoch stays as long as it was.

    Args:
        training: all images.
        fraction: share of the images whose labels are known, over 0 up to 1.
        keep_unlabelled: keep the other images, labelled `UNLABELLED`, for a teacher to speak of. Otherwise they are
            dropped, and the remaining ones stand in the set several times, so that all runs take as many steps.
    """
    known = labelled_positions(training.labels, fraction)
    if keep_unlabelled:
        labels = torch.full_like(training.labels, UNLABELLED)
        labels[known] = training.labels[known]
        return replace(training, labels=labels)
    copies = math.ceil(len(training) / len(known))
    repeated = training[known.repeat(copies)[: len(training)]]
    # Each copy gets a view of its own, as the same image would in another epoch.
    return replace(repeated, index=repeated.index + COPY * (torch.arange(len(training)) // len(known)))


def omit_class(images: LabelledImages, class_name: str) -> LabelledImages:
    """All images but those of one class."""
    return images[torch.nonzero(images.labels != images.classes.index(class_name))[:, 0]]
