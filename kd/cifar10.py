"""CIFAR-10: class names, normalisation constants, reading the data set.

Source of the data: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import hashlib
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import torch

from kd.dataset import DataError, DataSet, LabelledImages, Normalisation, split_indices

NAME = "CIFAR-10"  # of the data, in descriptions of it
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SIZE = 32  # pixels, both ways

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"  # of which it is unpacked
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILES = ("test_batch",)
IMAGES_PER_FILE = 10_000  # unless the folder's batches.meta says otherwise

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


def open_cifar10(data_dir: str | Path, image_size: int = IMAGE_SIZE) -> DataSet:
    """CIFAR-10 in `data_dir`, or to be downloaded to it.

    Raises:
        DataError: images of another size are asked for.
    """
    if image_size != IMAGE_SIZE:
        raise DataError(
            f"CIFAR-10's images are {IMAGE_SIZE} x {IMAGE_SIZE}, not {image_size}: name other data with --data-dir, "
            "or, to train on these, leave out --image-size"
        )
    return DataSet(CLASSES, partial(read_split, data_dir), partial(read_test_set, data_dir))


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
    description = {"name": NAME, "part": part, "images": len(labels), "sha256": digest}
    if digest in KNOWN_COPIES:
        description["copy"] = KNOWN_COPIES[digest]
    images = torch.from_numpy(pixels).view(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
    return LabelledImages(
        images, torch.from_numpy(labels), description, classes=CLASSES, normalisation=NORMALISATIONS["cifar10"]
    )


def _download(data_dir: Path) -> None:
    from torchvision.datasets import CIFAR10  # only here: it is slow to import, and rarely needed

    try:
        CIFAR10(data_dir, download=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong md5 a RuntimeError
        raise DataError(
            f"{data_dir / FOLDER} does not exist, and downloading CIFAR-10 failed ({error}). "
            f"Put the folder {FOLDER} of {ARCHIVE} into {data_dir}, "
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
