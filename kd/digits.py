"""The handwritten digits that scikit-learn carries in its package: 1,797 of 8 x 8 greys, nothing to download.

Source of the data: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998; scikit-learn has its test part. Needs the extra `digits`.
"""

import functools
import hashlib

import numpy as np
import torch
from PIL import Image

from kd.dataset import SPLIT_SEED, DataError, DataSet, LabelledImages, held_out, mean_and_spread, split_indices

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEST_SHARE = 0.3
MOST_INK = 16  # a pixel's greatest value


def open_digits(image_size: int) -> DataSet:
    """The digits, enlarged to `image_size` pixels both ways, light on black, grey in all three channels.

    A fixed share of each class is for testing, and of the others a tenth for validation.

    Raises:
        DataError: scikit-learn is not installed.
    """
    training, validation, test = _parts(image_size)
    return DataSet(CLASSES, lambda: (training, validation), lambda: test)


@functools.lru_cache(maxsize=1)
def _parts(image_size: int) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("the digits come with scikit-learn: pip install '.[digits]'") from error
    digits = load_digits()
    greys = (digits.images * (255 / MOST_INK)).round().astype(np.uint8)
    size = (image_size, image_size)
    enlarged = np.stack([np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)) for grey in greys])
    images = torch.from_numpy(enlarged)[:, None].repeat(1, 3, 1, 1)
    labels = torch.from_numpy(digits.target.astype(np.int64))

    rest, tested = held_out(labels, TEST_SHARE, np.random.default_rng(SPLIT_SEED))
    trained, validated = (rest[positions] for positions in split_indices(labels[rest]))
    normalisation = mean_and_spread(images[trained])

    def part(name: str, positions: torch.Tensor, chosen: torch.Tensor) -> LabelledImages:
        digest = hashlib.sha256(images[positions].numpy()).hexdigest()
        description = {"name": "scikit-learn's digits", "part": name, "images": len(positions), "sha256": digest}
        index = torch.searchsorted(positions, chosen)
        return LabelledImages(images[chosen], labels[chosen], description, index, CLASSES, normalisation)

    return part("train", rest, trained), part("train", rest, validated), part("test", tested, tested)
