"""CIFAR-10: class names, normalisation constants, reading the data set, the fixed 45k/5k split.

Source of the data: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SIZE = 32  # pixels, both ways

FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILES = ("test_batch",)
IMAGES_PER_FILE = 10_000  # unless the folder's batches.meta says otherwise

# Added to an image's index once for each further copy of it in a training set (see `LabelledImages`).
COPY = 1_000_000

VALIDATION_SHARE = 0.1
SPLIT_SEED = 2015  # of the split alone; runs have seeds of their own
EXAMPLES_SEED = 2015  # of the choice of ten test images to show


class Normalisation(NamedTuple):
    """What images are normalised by: of red, green and blue, with pixels scaled to [0, 1]."""

    mean: Sequence[float]
    std: Sequence[float]


NORMALISATIONS = {
    # What the project started from: ImageNet's values, with .485 mistyped as .486.
    "seed-project": Normalisation((0.486, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # Computed over CIFAR-10's 50,000 training images.
    "cifar10": Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}

# Copies of the data that we can say something about, by the sha256 of their pixels.
KNOWN_COPIES = {
    "d550eaa203f0c17e8ea29b29df8190a82e94c20ebb20d5b6d99da2edd4081484": (
        "labels and order as released; pixels exact but for 81 images, which were decoded from quality-75 JPEG copies"
    ),
    "ed893735ff82c0178f2cd31343a1d5ab993eeae4f3b919d9c1436789336729f1": (
        "labels and order as released; pixels exact but for 23 images, which were decoded from quality-75 JPEG copies"
    ),
}


class DataError(ValueError):
    """The data on disk is missing, damaged, or not CIFAR-10; the message names the file."""


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels.

    Attributes:
        images: uint8, (N, 3, 32, 32), RGB.
        labels: int64, (N,), 0 to 9, positions in `CLASSES`.
        description: which copy of the data this is (name, number of images, sha256 of the pixels);
            stored with every result.
        index: which image of its file each is, int64, (N,); chosen images keep theirs. The n-th further copy of an
            image has n times `COPY` more: augmentation and the teacher's cached logits go by the index.
    """

    images: Tensor
    labels: Tensor
    description: dict
    index: Tensor | None = None

    def __post_init__(self) -> None:
        if self.index is None:
            object.__setattr__(self, "index", torch.arange(len(self.labels), device=self.labels.device))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, positions: Tensor) -> "LabelledImages":
        """The images at `positions` (int64, (M,)), under the same description."""
        return LabelledImages(self.images[positions], self.labels[positions], self.description, self.index[positions])

    def to(self, device: torch.device | str) -> "LabelledImages":
        """The same images on `device`."""
        return LabelledImages(self.images.to(device), self.labels.to(device), self.description, self.index.to(device))


def read_training_set(data_dir: str | Path) -> LabelledImages:
    """Read the 50,000 training images, downloading CIFAR-10 where `data_dir` has none.

    Raises:
        DataError: a file is missing, damaged or foreign, or the download failed.
    """
    return _read(Path(data_dir), TRAIN_FILES, "train")


def read_split(data_dir: str | Path) -> tuple[LabelledImages, LabelledImages]:
    """The training images parted by `split_indices`: 45,000 to train on, 5,000 to validate on.

    Raises:
        DataError: as of `read_training_set`.
    """
    everything = read_training_set(data_dir)
    training, validation = split_indices(everything.labels)
    return everything[training], everything[validation]


def read_test_set(data_dir: str | Path) -> LabelledImages:
    """Read the 10,000 test images, for evaluation and for pictures to show: the test set chooses no network.

    Raises:
        DataError: a file is missing, damaged or foreign, or the download failed.
    """
    return _read(Path(data_dir), TEST_FILES, "test")


def split_indices(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Split the training set for every choice that has to be made: the same split for every run.

    A tenth of each class is held out; which tenth depends on `SPLIT_SEED` and on nothing else.

    Args:
        labels: int64, (N,).

    Returns:
        Positions of the images to train on and of those to validate on (45,000 and 5,000 of
        CIFAR-10's 50,000), int64, ascending, disjoint.
    """
    random = np.random.default_rng(SPLIT_SEED)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in range(len(CLASSES)):
        of_class = np.flatnonzero(labels.cpu().numpy() == label)
        held_out[random.permutation(of_class)[: round(len(of_class) * VALIDATION_SHARE)]] = True
    return torch.from_numpy(np.flatnonzero(~held_out)), torch.from_numpy(np.flatnonzero(held_out))


def example_positions(labels: Tensor) -> Tensor:
    """Ten test images to show: of each class the first in an order drawn with a fixed seed.

    Args:
        labels: of the test images, int64, (N,).

    Returns:
        Positions, int64, (10,), in class order.
    """
    return torch.stack([drawn_order(labels, label)[0] for label in range(len(CLASSES))])


def drawn_order(labels: Tensor, label: int) -> Tensor:
    """The positions of the test images of a class in an order drawn with a fixed seed, int64, (images of the class,).

    Args:
        labels: of the test images, int64, (N,).
    """
    order = torch.from_numpy(np.random.default_rng(EXAMPLES_SEED).permutation(len(labels)))
    return order[labels.cpu()[order] == label]


def normalise(images: Tensor, normalisation: Normalisation) -> Tensor:
    """Subtract the mean and divide by the standard deviation of each channel.

    Args:
        images: float, (N, 3, H, W), values in [0, 1].
        normalisation: one of `NORMALISATIONS`, or a checkpoint's own.
    """
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in normalisation)
    return (images - mean) / std


def _read(data_dir: Path, files: tuple[str, ...], part: str) -> LabelledImages:
    folder = data_dir / FOLDER
    if not folder.is_dir():
        _download(data_dir)
    images_per_file = _images_per_file(folder / "batches.meta")
    batches = [_read_batch(folder / name, images_per_file) for name in files]
    pixels = np.concatenate([pixels for pixels, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])

    counts = np.bincount(labels, minlength=len(CLASSES))
    if len(set(counts.tolist())) != 1:
        raise DataError(
            f"{folder}: the {part} files ({', '.join(files)}) hold {counts.tolist()} images of the ten classes; "
            "CIFAR-10 holds the same number of each. One of them is not CIFAR-10's: fetch the data again."
        )
    digest = hashlib.sha256(pixels).hexdigest()
    description = {"name": "CIFAR-10", "part": part, "images": len(labels), "sha256": digest}
    if digest in KNOWN_COPIES:
        description["copy"] = KNOWN_COPIES[digest]
    images = torch.from_numpy(pixels).view(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
    return LabelledImages(images, torch.from_numpy(labels), description)


def _download(data_dir: Path) -> None:
    from torchvision.datasets import CIFAR10  # only here: it is slow to import, and rarely needed

    try:
        CIFAR10(data_dir, download=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong md5 a RuntimeError
        raise DataError(
            f"{data_dir / FOLDER} does not exist, and downloading CIFAR-10 failed ({error}). "
            f"Put the folder {FOLDER} of cifar-10-python.tar.gz into {data_dir}, "
            "or name the folder that contains it with --data-dir."
        ) from error


def _images_per_file(meta: Path) -> int:
    """How many images each file must hold, which a subset of CIFAR-10 declares in its batches.meta."""
    if not meta.exists():
        return IMAGES_PER_FILE
    content = _unpickle(meta)
    names = content.get(b"label_names")
    count = content.get(b"num_cases_per_batch", IMAGES_PER_FILE)
    if names != [name.encode() for name in CLASSES] or not isinstance(count, int) or count < 1:
        raise DataError(f"{meta} is not CIFAR-10's: it names the classes {names!r} and {count!r} images a file.")
    return count


def _read_batch(path: Path, expected: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8 (N, 3072), and labels, int64 (N,), of one file."""
    batch = _unpickle(path)
    pixels, labels = batch.get(b"data"), batch.get(b"labels")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(f"{path} is not a CIFAR-10 batch: its data is {found} instead of uint8 (images, 3072).")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < len(CLASSES) for label in labels):
        raise DataError(f"{path} is not a CIFAR-10 batch: its labels are not a list of integers from 0 to 9.")
    if len(pixels) != expected or len(labels) != expected:
        raise DataError(
            f"{path} holds {len(pixels)} images and {len(labels)} labels instead of {expected:,} each: "
            "it is cut short or foreign. Fetch the data again (a subset states its size in batches.meta)."
        )
    return np.ascontiguousarray(pixels), np.array(labels, dtype=np.int64)


class _PlainUnpickler(pickle.Unpickler):
    """Builds numpy arrays, lists, numbers and bytes; refuses whatever else a pickle asks for."""

    def find_class(self, module: str, name: str) -> object:
        """What the pickle's name stands for; raises UnpicklingError for all but plain data."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 writes bytes
            return _encode_latin1
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


def _unpickle(path: Path) -> dict:
    try:
        with open(path, "rb") as file:
            content = _PlainUnpickler(file, encoding="bytes").load()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: fetch CIFAR-10 again, or name its parent with --data-dir.") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(f"{path} cannot be read as a CIFAR-10 file ({error}): fetch the data again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a CIFAR-10 file: it holds a {type(content).__name__} instead of a dict.")
    return content
