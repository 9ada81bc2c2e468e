"""What `--data-dir` names: CIFAR-10, a folder of pictures, or the handwritten digits that scikit-learn carries."""

from pathlib import Path

from kd.cifar10 import ARCHIVE, FOLDER, open_cifar10
from kd.dataset import OWN, DataError, DataSet
from kd.digits import open_digits
from kd.folder import open_folder

PICTURE_SUFFIXES = (".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
DIGITS = "digits"  # what it says for scikit-learn's
DEFAULT = Path("data")  # where CIFAR-10 is looked for, or downloaded to, if nothing is said


def is_folder_of_pictures(data_dir: str | Path) -> bool:
    """Whether `--data-dir` names pictures sorted into classes (see `kd.folder`)."""
    return (Path(data_dir) / "train").is_dir()


def picture_in_a_folder(data_dir: Path) -> Path | None:
    """A picture in a folder of `data_dir`, by its name; None where there is none."""
    inside = (path for folder in sorted(data_dir.glob("*/")) for path in folder.iterdir())
    return next((path for path in inside if path.suffix.lower() in PICTURE_SUFFIXES), None)


def recipe_defaults(data_dir: str | Path) -> dict[str, object]:
    """The fields of a recipe whose default goes by the data: all but CIFAR-10 is normalised by its own constants."""
    return {"normalisation": OWN} if is_folder_of_pictures(data_dir) or str(data_dir) == DIGITS else {}


def open_data(data_dir: str | Path, image_size: int, strict: bool = False) -> DataSet:
    """Open what `--data-dir` names.

    Args:
        data_dir: a folder with `train/` inside, the word `digits`, or a folder for CIFAR-10.
        image_size: the side of the images, pixels, as networks that have been trained or are to be trained see them.
        strict: of a folder of pictures, whether one that cannot be read is an error.

    Raises:
        DataError: a file is missing, damaged or foreign, or there are no images of that size.
    """
    if is_folder_of_pictures(data_dir):
        return open_folder(Path(data_dir), image_size, strict)
    if str(data_dir) == DIGITS:
        return open_digits(image_size)
    if not (Path(data_dir) / FOLDER).is_dir() and (unsorted := picture_in_a_folder(Path(data_dir))):
        folder = Path(data_dir).resolve()
        way_out = f"put the folders of the classes into {Path(data_dir) / 'train'}"
        if folder.name == "train":
            way_out = f"name the folder that holds it, {folder.parent}"
        raise DataError(
            f"{unsorted} looks like a picture of a class, but {data_dir} has no train/: {way_out}, or name the place "
            "for CIFAR-10 with --data-dir"
        )
    if not (Path(data_dir) / FOLDER).is_dir() and not _is_for_download(Path(data_dir)):
        raise DataError(
            f"there is neither train/ nor {FOLDER} in {data_dir}: name a folder of pictures, the one that holds "
            f"{FOLDER}, or an empty one to download CIFAR-10 to"
        )
    return open_cifar10(data_dir, image_size)


def _is_for_download(data_dir: Path) -> bool:
    """Whether CIFAR-10 may be downloaded there: a name that is mistyped must not become ten other classes."""
    if data_dir == DEFAULT:
        return True
    return data_dir.is_dir() and {path.name for path in data_dir.iterdir()} <= {ARCHIVE}
