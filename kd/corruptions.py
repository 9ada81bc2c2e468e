"""The validation images as bad photos show them: a fixed, seeded set to judge augmentation by.

Four corruptions at one strength each, after Hendrycks & Dietterich 2019 (arXiv 1903.12261), who corrupt the test set;
here it is the validation images, so that a choice can be made by them.
"""

import io
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kd.augment import adjust_contrast, blur

CORRUPTION_SEED = 2015  # of the noise
NOISE = 0.06  # standard deviation, pixels scaled to [0, 1]
BLUR = 1.0  # sigma, pixels
JPEG_QUALITY = 25  # 1 to 95
CONTRAST = 0.4  # factor


def corrupted(images: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Each corruption with all images under it.

    Args:
        images: uint8, (N, 3, H, W), RGB.

    Yields:
        The name (noise, blur, contrast, jpeg) and the corrupted images, uint8, shaped like the argument.
    """
    pixels = images.cpu().float() / 255
    noise = np.random.default_rng(CORRUPTION_SEED).normal(0, NOISE, pixels.shape).astype(np.float32)
    found = {
        "noise": pixels + torch.from_numpy(noise),
        "blur": blur(pixels, torch.full((len(pixels),), BLUR), radius=3),
        "contrast": adjust_contrast(pixels, torch.full((len(pixels),), CONTRAST)),
    }
    for name, changed in found.items():
        yield name, (changed.clamp(0, 1) * 255).round().to(torch.uint8).to(images.device)
    yield "jpeg", torch.stack([_through_jpeg(image) for image in images.cpu()]).to(images.device)


def _through_jpeg(image: Tensor) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=JPEG_QUALITY)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
