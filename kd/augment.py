"""Batched augmentation: every image its own random draw, on whatever device the images live.

The draw and its application are two steps. `draw` makes one `Draw` for a whole epoch; `augment` applies
a batch's rows of it. What is drawn for an image follows from (augmentation seed, epoch, image index) and
from nothing else: so every run that shares the augmentation seed sees an image the same way in the same
epoch, whatever its order, its loss or its subset of the images, and the teacher needs to look only once.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kd.cifar10 import IMAGE_SIZE
from kd.dataset import COPY, Normalisation, normalise
from kd.recipe import Recipe

# ITU-R 601-2 luma, the weights that turn RGB into grey, as torchvision rounds them for tensors (Pillow has .299).
_LUMA = (0.2989, 0.587, 0.114)

BLUR_SIGMAS = (0.3, 1.0)  # pixels
_NUMBERS_AN_IMAGE = 16  # drawn for each image: those below, and room for more without changing what is drawn today


@dataclass(frozen=True)
class Draw:
    """Random parameters of N images; each tensor has shape (N,).

    Attributes:
        offset_y, offset_x: where the crop begins in the padded image, int64, pixels.
        flip: whether left and right change places, bool.
        angle: rotation, float32, degrees, counter-clockwise.
        brightness, contrast, saturation: factors, float32; 1 leaves the image as it is.
        cutout_y, cutout_x: the centre of the square that is cut out, int64, pixels.
        scale: side of the resized crop, float32, a share of the image's.
        shift_y, shift_x: where the resized crop lies, float32, -1 (top, left) to 1 (bottom, right).
        sigma: of the Gaussian blur, float32, pixels; 0 where there is none.
    """

    offset_y: Tensor
    offset_x: Tensor
    flip: Tensor
    angle: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    cutout_y: Tensor
    cutout_x: Tensor
    scale: Tensor
    shift_y: Tensor
    shift_x: Tensor
    sigma: Tensor

    def __getitem__(self, rows: slice | Tensor) -> "Draw":
        """The parameters of some of the images."""
        return Draw(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def to(self, device: torch.device | str) -> "Draw":
        """The same parameters on `device`."""
        return Draw(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def draw(index: Tensor, epoch: int, recipe: Recipe, size: int = IMAGE_SIZE) -> Draw:
    """Draw the parameters of images for an epoch.

    What the recipe switches off is drawn all the same, so that two recipes that differ in the
    strength of one transform agree in all others.

    Args:
        index: of each image, as in `LabelledImages`, int64, (N,), on any device.
        epoch: from 0.
        size: the images' side, pixels.
    """
    numbers = _uniform_numbers(index.cpu().numpy(), recipe.augmentation_seed, epoch)
    columns = iter(numbers.T)  # each call below takes the next: a new one goes last, or the views of all others change

    def integers(end: int) -> Tensor:
        return torch.from_numpy((next(columns) * end).astype(np.int64))

    def uniform(low: float, high: float) -> Tensor:
        return torch.from_numpy((low + (high - low) * next(columns)).astype(np.float32))

    return Draw(
        offset_y=integers(2 * recipe.crop_padding + 1),
        offset_x=integers(2 * recipe.crop_padding + 1),
        flip=uniform(0, 1) < recipe.flip,
        angle=uniform(-recipe.rotation, recipe.rotation),
        brightness=uniform(1 - recipe.brightness, 1 + recipe.brightness),
        contrast=uniform(1 - recipe.contrast, 1 + recipe.contrast),
        saturation=uniform(1 - recipe.saturation, 1 + recipe.saturation),
        cutout_y=integers(size),
        cutout_x=integers(size),
        scale=uniform(recipe.crop_scale, 1).sqrt(),  # uniform in area
        shift_y=uniform(-1, 1),
        shift_x=uniform(-1, 1),
        sigma=torch.where(uniform(0, 1) < recipe.blur, uniform(*BLUR_SIGMAS), 0.0),
    )


def _uniform_numbers(index: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Numbers in [0, 1), float64, (N, _NUMBERS_AN_IMAGE), each row by its image's index alone."""
    numbers = np.empty((len(index), _NUMBERS_AN_IMAGE))
    copies, rows = np.divmod(index, COPY)
    for copy in np.unique(copies):
        here = copies == copy
        # Drawn row by row, so an image's row does not depend on how many come after it.
        table = np.random.default_rng([seed, epoch, copy]).random((rows[here].max() + 1, _NUMBERS_AN_IMAGE))
        numbers[here] = table[rows[here]]
    return numbers


def augment(images: Tensor, drawn: Draw, recipe: Recipe, normalisation: Normalisation) -> Tensor:
    """Turn a batch of raw images into the networks' input.

    Args:
        images: uint8, (N, 3, H, W).
        drawn: parameters for these N images.
        recipe: says how strong each transform is; one of strength 0 is skipped.
        normalisation: what the recipe names, of these data (`Recipe.constants`).

    Returns:
        float32, (N, 3, H, W), normalised, in channels_last memory format.
    """
    if recipe.crop_padding or recipe.flip:
        images = crop_and_flip(
            images, recipe.crop_padding, drawn.offset_y, drawn.offset_x, drawn.flip, recipe.padding_mode
        )
    images = images.float() / 255
    if recipe.crop_scale < 1:
        images = resized_crop(images, drawn.scale, drawn.shift_y, drawn.shift_x)
    if recipe.rotation:
        images = rotate(images, drawn.angle)
    if recipe.brightness:
        images = adjust_brightness(images, drawn.brightness)
    if recipe.contrast:
        images = adjust_contrast(images, drawn.contrast)
    if recipe.saturation:
        images = adjust_saturation(images, drawn.saturation)
    if recipe.blur:
        images = blur(images, drawn.sigma)
    images = normalise(images, normalisation)
    if recipe.cutout:
        images = cutout(images, recipe.cutout, drawn.cutout_y, drawn.cutout_x)
    return images.contiguous(memory_format=torch.channels_last)


def crop_and_flip(
    images: Tensor, padding: int, offset_y: Tensor, offset_x: Tensor, flip: Tensor, mode: str = "constant"
) -> Tensor:
    """Pad, cut out a window of the original size, and mirror it where `flip` says so.

    Args:
        images: any dtype, (N, C, H, W).
        padding: pixels added on each side.
        offset_y, offset_x: the window's upper left corner in the padded image, int64, (N,), 0 to 2 * padding.
        flip: bool, (N,).
        mode: "constant" pads with black, "reflect" with the image mirrored at its outermost pixels.
    """
    count, _, height, width = images.shape
    device = images.device
    rows = offset_y[:, None] + torch.arange(height, device=device)
    columns = torch.arange(width, device=device).expand(count, width)
    columns = offset_x[:, None] + torch.where(flip[:, None], width - 1 - columns, columns)
    if mode == "reflect":
        rows, columns = _reflected(rows - padding, height), _reflected(columns - padding, width)
    else:
        images = F.pad(images, (padding,) * 4)
    which = torch.arange(count, device=device)[:, None, None]
    # Indexing puts the channels last, which is how the networks like them in memory anyway.
    return images[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflected(position: Tensor, length: int) -> Tensor:
    """Positions from -length to 2 length - 2, those outside mirrored back into 0 to length - 1."""
    return (length - 1) - ((length - 1) - position.abs()).abs()


def resized_crop(images: Tensor, scale: Tensor, shift_y: Tensor, shift_x: Tensor) -> Tensor:
    """Cut out a square window and enlarge it, bilinearly, to the whole.

    Args:
        images: float, (N, C, H, W).
        scale: the window's side, a share of the image's, (N,), over 0 to 1.
        shift_y, shift_x: where the window lies, (N,), -1 (top, left) to 1 (bottom, right).
    """
    zero, room = torch.zeros_like(scale), 1 - scale
    to_x = torch.stack([scale, zero, room * shift_x], dim=1)
    to_y = torch.stack([zero, scale, room * shift_y], dim=1)
    grid = F.affine_grid(torch.stack([to_x, to_y], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


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


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Stretch each RGB image (float, (N, 3, H, W), values in [0, 1]) about its own greys by its factor, (N,)."""
    luma = torch.tensor(_LUMA, device=images.device).view(3, 1, 1)
    grey = (images * luma).sum(dim=1, keepdim=True)
    factor = factor.view(-1, 1, 1, 1)
    return (factor * images + (1 - factor) * grey).clamp(0, 1)


def blur(images: Tensor, sigma: Tensor, radius: int = 2) -> Tensor:
    """Blur each image with a Gaussian of its own width; the edges are mirrored.

    Args:
        images: float, (N, C, H, W).
        sigma: pixels, (N,); 0 leaves an image as it is.
        radius: how far the Gaussian reaches, pixels.
    """
    distance = torch.arange(-radius, radius + 1, device=images.device)
    weights = torch.exp(-0.5 * (distance / sigma.clamp(min=1e-3)[:, None]) ** 2)
    weights = (weights / weights.sum(dim=1, keepdim=True)).T.reshape(-1, len(images), 1, 1, 1)
    height, width = images.shape[-2:]
    padded = F.pad(images, (0, 0, radius, radius), mode="reflect")
    images = sum(weight * padded[:, :, start : start + height] for start, weight in enumerate(weights))
    padded = F.pad(images, (radius, radius, 0, 0), mode="reflect")
    return sum(weight * padded[..., start : start + width] for start, weight in enumerate(weights))


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
