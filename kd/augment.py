"""Batched augmentation: every image its own random draw, on whatever device the images live.

The draw and its application are two steps. `draw` makes one `Draw` for a whole epoch from a seeded
generator; `augment` applies a batch's rows of it. So processes can share a batch out after the draw,
the training loop never waits for random numbers, and every transform can be held against
torchvision's, image by image, with given parameters.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kd.cifar10 import IMAGE_SIZE, NORMALISATIONS, normalise
from kd.recipe import Recipe

# ITU-R 601-2 luma: the weights with which torchvision and Pillow turn RGB into grey.
_LUMA = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class Draw:
    """Random parameters of N images; each tensor has shape (N,).

    Attributes:
        offset_y, offset_x: where the crop begins in the padded image, int64, pixels.
        flip: whether left and right change places, bool.
        angle: rotation, float32, degrees, counter-clockwise.
        brightness, contrast: factors, float32; 1 leaves the image as it is.
        cutout_y, cutout_x: the centre of the square that is cut out, int64, pixels.
        share: what mixup leaves of the image itself, float32, 0 to 1.
    """

    offset_y: Tensor
    offset_x: Tensor
    flip: Tensor
    angle: Tensor
    brightness: Tensor
    contrast: Tensor
    cutout_y: Tensor
    cutout_x: Tensor
    share: Tensor

    def __getitem__(self, rows: slice | Tensor) -> "Draw":
        """The parameters of some of the images."""
        return Draw(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def to(self, device: torch.device | str) -> "Draw":
        """The same parameters on `device`."""
        return Draw(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def draw(count: int, recipe: Recipe, random: np.random.Generator) -> Draw:
    """Draw the parameters for `count` images of CIFAR-10's size.

    What the recipe switches off is drawn all the same, so that two recipes that differ in the
    strength of one transform agree in all others.
    """

    def integers(end: int) -> Tensor:
        return torch.from_numpy((random.random(count) * end).astype(np.int64))

    def uniform(low: float, high: float) -> Tensor:
        return torch.from_numpy((low + (high - low) * random.random(count)).astype(np.float32))

    return Draw(
        offset_y=integers(2 * recipe.crop_padding + 1),
        offset_x=integers(2 * recipe.crop_padding + 1),
        flip=uniform(0, 1) < recipe.flip,
        angle=uniform(-recipe.rotation, recipe.rotation),
        brightness=uniform(1 - recipe.brightness, 1 + recipe.brightness),
        contrast=uniform(1 - recipe.contrast, 1 + recipe.contrast),
        cutout_y=integers(IMAGE_SIZE),
        cutout_x=integers(IMAGE_SIZE),
        share=torch.from_numpy(random.beta(recipe.mixup, recipe.mixup, count).astype(np.float32))
        if recipe.mixup
        else torch.ones(count),
    )


def augment(images: Tensor, drawn: Draw, recipe: Recipe) -> Tensor:
    """Turn a batch of raw images into the networks' input.

    Args:
        images: uint8, (N, 3, H, W).
        drawn: parameters for these N images.
        recipe: says how strong each transform is; one of strength 0 is skipped.

    Returns:
        float32, (N, 3, H, W), normalised, in channels_last memory format.
    """
    if recipe.crop_padding or recipe.flip:
        images = crop_and_flip(images, recipe.crop_padding, drawn.offset_y, drawn.offset_x, drawn.flip)
    images = images.float() / 255
    if recipe.rotation:
        images = rotate(images, drawn.angle)
    if recipe.brightness:
        images = adjust_brightness(images, drawn.brightness)
    if recipe.contrast:
        images = adjust_contrast(images, drawn.contrast)
    images = normalise(images, NORMALISATIONS[recipe.normalisation])
    if recipe.cutout:
        images = cutout(images, recipe.cutout, drawn.cutout_y, drawn.cutout_x)
    return images.contiguous(memory_format=torch.channels_last)


def crop_and_flip(images: Tensor, padding: int, offset_y: Tensor, offset_x: Tensor, flip: Tensor) -> Tensor:
    """Pad with black, cut out a window of the original size, and mirror it where `flip` says so.

    Args:
        images: any dtype, (N, C, H, W).
        padding: pixels added on each side.
        offset_y, offset_x: the window's upper left corner in the padded image, int64, (N,), 0 to 2 * padding.
        flip: bool, (N,).
    """
    count, _, height, width = images.shape
    device = images.device
    rows = offset_y[:, None] + torch.arange(height, device=device)
    columns = torch.arange(width, device=device).expand(count, width)
    columns = offset_x[:, None] + torch.where(flip[:, None], width - 1 - columns, columns)
    padded = F.pad(images, (padding,) * 4)
    which = torch.arange(count, device=device)[:, None, None]
    # Indexing puts the channels last, which is how the networks like them in memory anyway.
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def rotate(images: Tensor, angle: Tensor) -> Tensor:
    """Rotate each image about its centre, bilinearly, with black corners.

    Args:
        images: float, (N, C, H, W).
        angle: degrees, counter-clockwise, (N,).
    """
    radians = angle * (math.pi / 180)
    cosine, sine, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    # The grid's coordinates run from -1 to 1 both ways, so sides of unequal length stretch the angle.
    height, width = images.shape[-2:]
    to_x = torch.stack([cosine, -sine * height / width, zero], dim=1)
    to_y = torch.stack([sine * width / height, cosine, zero], dim=1)
    grid = F.affine_grid(torch.stack([to_x, to_y], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply each image (float, (N, C, H, W), values in [0, 1]) by its factor, (N,)."""
    return (images * factor.view(-1, 1, 1, 1)).clamp(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Stretch each RGB image (float, (N, 3, H, W), values in [0, 1]) about its mean grey by its factor, (N,)."""
    luma = torch.tensor(_LUMA, device=images.device).view(3, 1, 1)
    grey = (images * luma).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)
    factor = factor.view(-1, 1, 1, 1)
    return (factor * images + (1 - factor) * grey).clamp(0, 1)


def cutout(images: Tensor, side: int, centre_y: Tensor, centre_x: Tensor) -> Tensor:
    """Set a square to 0, the mean of normalised images (DeVries & Taylor 2017, arXiv 1708.04552).

    Args:
        images: float, (N, C, H, W), normalised.
        side: of the square, pixels; the part that lies outside the image is lost.
        centre_y, centre_x: int64, (N,); of an even side, the pixel to the lower right of the centre.
    """

    def inside(centre: Tensor, length: int) -> Tensor:
        distance = torch.arange(length, device=images.device) - (centre[:, None] - side // 2)
        return (distance >= 0) & (distance < side)

    height, width = images.shape[-2:]
    square = inside(centre_y, height)[:, :, None] & inside(centre_x, width)[:, None, :]
    return images.masked_fill(square[:, None], 0)


def mixup(images: Tensor, targets: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Mix each image and its target with those half a batch away (Zhang 2018, arXiv 1710.09412).

    Processes that share out a batch row by row mix the same pairs as one process, if their shares
    are of even size.

    Args:
        images: float, (N, C, H, W).
        targets: float, (N, K), the probability of each class.
        share: what remains of the image itself, (N,), 0 to 1; the rest comes from its partner.

    Returns:
        The mixed images and targets, shaped like the arguments.
    """
    half = len(images) // 2
    share = share[:, None]
    targets = share * targets + (1 - share) * targets.roll(half, 0)
    share = share[:, :, None, None]
    return share * images + (1 - share) * images.roll(half, 0), targets
