"""What every data set is: labelled images with their classes, a fixed split, and the order in which some are shown.

Which there are, `kd.data_dir` says. Images are read when they are asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Added to an image's index once for each further copy of it in a training set (see `LabelledImages`).
COPY = 1_000_000_000

VALIDATION_SHARE = 0.1
SPLIT_SEED = 2015  # of the splits alone; runs have seeds of their own
EXAMPLES_SEED = 2015  # of the choice of test images to show
MAX_EXAMPLES = 10
BLOCKS_TOGETHER = 16
EXAMPLES_FOLDER = "examples"  # beside the checkpoints of networks of other data than CIFAR-10, whose examples ship

OWN = "data"  # the name of a normalisation by mean and spread of the training images


def data_name(description: dict) -> str:
    """What a data set is called, with what its copy here is where it is not as released; of a `description`."""
    return description["name"] + (f" ({description['copy']})" if "copy" in description else "")


def difference_of_classes(known: Sequence[str], here: Sequence[str]) -> str:
    """In words, how the classes that a network knows differ from those of the data that are here."""
    only = {
        "only it knows": [name for name in known if name not in here],
        "only these have": [name for name in here if name not in known],
    }
    told = [f"{who} {', '.join(names[:3])}{' ...' if names[3:] else ''}" for who, names in only.items() if names]
    return ", ".join(told) or "the same ones in another order"


class Normalisation(NamedTuple):
    """What images are normalised by: of red, green and blue, with pixels scaled to [0, 1]."""

    mean: Sequence[float]
    std: Sequence[float]


class DataError(ValueError):
    """The data on disk is missing, damaged, or not what it is taken for; the message names the file."""


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels.

    Attributes:
        images: uint8, (N, 3, H, W), RGB.
        labels: int64, (N,), positions in `classes`.
        description: which copy of the data this is (name, number of images, sha256 of the pixels);
            stored with every result.
        index: which image of its file each is, int64, (N,); chosen images keep theirs. The n-th further copy of an
            image has n times `COPY` more: augmentation and the teacher's cached logits go by the index.
        classes: the names.
        normalisation: mean and spread of the data set's training images.
        block: of images that are mapped from a disk and do not fit into memory, how many beside each other are to be
            read together; they stand in a random order already.
    """

    images: Tensor
    labels: Tensor
    description: dict
    index: Tensor | None = None
    classes: tuple[str, ...] = ()
    normalisation: Normalisation | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        if self.index is None:
            object.__setattr__(self, "index", torch.arange(len(self.labels), device=self.labels.device))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, positions: Tensor | slice) -> "LabelledImages":
        """The images at `positions` (int64, (M,), or a slice), under the same description."""
        return replace(
            self,
            images=self.images[positions],
            labels=self.labels[positions],
            index=self.index[positions],
            block=None,  # these are in memory
        )

    def to(self, device: torch.device | str) -> "LabelledImages":
        """The same images on `device`.

        Raises:
            DataError: they do not fit into its memory.
        """
        try:
            images, labels, index = (each.to(device) for each in (self.images, self.labels, self.index))
        except torch.OutOfMemoryError as error:
            raise DataError(
                f"{len(self):,} images of {self.images.shape[-1]} pixels do not fit into the memory of {device}: "
                "train with a smaller --image-size, or give --device cpu"
            ) from error
        return replace(self, images=images, labels=labels, index=index)


@dataclass(frozen=True)
class DataSet:
    """A data set that is at hand; reading it raises DataError where a file is missing, damaged or foreign.

    Attributes:
        classes: the names, in the order of the labels.
        split: reads the images to train on and those to validate on; the same split for every run.
        test: reads the test images, for evaluation and for pictures to show: they choose no network.
    """

    classes: tuple[str, ...]
    split: Callable[[], tuple[LabelledImages, LabelledImages]]
    test: Callable[[], LabelledImages]


def split_indices(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Split the training set for every choice that has to be made: the same split for every run.

    A tenth of each class is held out; which tenth depends on `SPLIT_SEED` and on nothing else.

    Args:
        labels: int64, (N,).

    Returns:
        Positions of the images to train on and of those to validate on (45,000 and 5,000 of
        CIFAR-10's 50,000), int64, ascending, disjoint.
    """
    return held_out(labels, VALIDATION_SHARE, np.random.default_rng(SPLIT_SEED))


def held_out(labels: Tensor, share: float, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The positions of all images but a share of each class, and those of that share; int64, ascending."""
    apart = np.zeros(len(labels), dtype=bool)
    for label in range(int(labels.max()) + 1):
        of_class = np.flatnonzero(labels.cpu().numpy() == label)
        apart[random.permutation(of_class)[: round(len(of_class) * share)]] = True
    return torch.from_numpy(np.flatnonzero(~apart)), torch.from_numpy(np.flatnonzero(apart))


def example_positions(labels: Tensor) -> Tensor:
    """Test images to show: of each class the first in an order drawn with a fixed seed.

    Of more than `MAX_EXAMPLES` classes, those whose images come first in that order.

    Args:
        labels: of the test images, int64, (N,).

    Returns:
        Positions, int64, at most `MAX_EXAMPLES`, in class order.
    """
    order = np.random.default_rng(EXAMPLES_SEED).permutation(len(labels))
    _, first = np.unique(labels.cpu().numpy()[order], return_index=True)  # where in it each class comes first
    earliest = np.sort(np.argsort(first)[:MAX_EXAMPLES])
    return torch.from_numpy(order[first[earliest]])


def drawn_order(labels: Tensor, label: int) -> Tensor:
    """The positions of the test images of a class in an order drawn with a fixed seed, int64, (images of the class,).

    Args:
        labels: of the test images, int64, (N,).
    """
    order = torch.from_numpy(np.random.default_rng(EXAMPLES_SEED).permutation(len(labels)))
    return order[labels.cpu()[order] == label]


def shuffled(images: LabelledImages, random: np.random.Generator) -> np.ndarray:
    """The order in which an epoch takes images: any, or of what does not fit into memory one of blocks.

    Blocks come in random order; the images of `BLOCKS_TOGETHER` of them that follow each other are mixed.

    Returns:
        Positions, int64, (N,).
    """
    if images.block is None:
        return random.permutation(len(images))
    starts = random.permutation(np.arange(0, len(images), images.block))
    blocks = [np.arange(start, min(start + images.block, len(images))) for start in starts]
    together = [blocks[first : first + BLOCKS_TOGETHER] for first in range(0, len(blocks), BLOCKS_TOGETHER)]
    return np.concatenate([random.permutation(np.concatenate(some)) for some in together])


def normalise(images: Tensor, normalisation: Normalisation) -> Tensor:
    """Subtract the mean and divide by the standard deviation of each channel.

    Args:
        images: float, (N, 3, H, W), values in [0, 1].
        normalisation: the data set's, or a checkpoint's own.
    """
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in normalisation)
    return (images - mean) / std


def mean_and_spread(images: Tensor) -> Normalisation:
    """Of uint8 images, (N, 3, H, W), on the CPU: mean and standard deviation of each channel, rounded to 4 places.

    Counted value by value, so that no copy of the images is made and no sum is rounded.
    """
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(3):
        counts = sum(torch.bincount(part[:, channel].flatten().int(), minlength=256) for part in images.split(1000))
        shares = counts.numpy() / counts.sum().item()
        mean = shares @ values
        means.append(round(float(mean), 4))
        # Pictures of one colour have no spread; they are not to be divided by nothing.
        stds.append(max(round(float((shares @ (values - mean) ** 2) ** 0.5), 4), 0.01))
    return Normalisation(tuple(means), tuple(stds))
