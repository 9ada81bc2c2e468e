"""What `--data-dir` names: CIFAR-10, a folder of pictures, or the handwritten digits that scikit-learn carries."""

from pathlib import Path

from kd.cifar10 import open_cifar10
from kd.dataset import OWN, DataSet
from kd.digits import open_digits
from kd.folder import open_folder

DIGITS = "digits"  # what it says for scikit-learn's


def is_folder_of_pictures(data_dir: str | Path) -> bool:
    """Whether `--data-dir` names pictures sorted into classes (see `kd.folder`)."""
    return (Path(data_dir) / "train").is_dir()


def is_cifar10(data_dir: str | Path) -> bool:
    """Whether `--data-dir` names CIFAR-10, or an empty place to download it to."""
    return str(data_dir) != DIGITS and not is_folder_of_pictures(data_dir)


def recipe_defaults(data_dir: str | Path) -> dict[str, object]:
    """The fields of a recipe whose default goes by the data: all but CIFAR-10 is normalised by its own constants."""
    return {} if is_cifar10(data_dir) else {"normalisation": OWN}


def open_data(data_dir: str | Path, image_size: int, strict: bool = False) -> DataSet:
    """Open what `--data-dir` names.

    Args:
        data_dir: a folder with `train/` inside, the word `digits`, or a folder for CIFAR-10.
        image_size: the side of the images, pixels, as networks that have been trained or are to be trained see them.
        strict: of a folder of pictures, whether one that cannot be read is an error.

    Raises:
        DataError: a file is missing, damaged or foreign, or there are no images of that size.
    """
    if str(data_dir) == DIGITS:
        return open_digits(image_size)
    if is_folder_of_pictures(data_dir):
        return open_folder(Path(data_dir), image_size, strict)
    return open_cifar10(data_dir, image_size)
