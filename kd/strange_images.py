"""Images that show none of the ten classes, drawn from a seed: what the page's warning has to catch.

They are drawn four times as large as the networks see them and shrunk, as a photo is, so that their edges are as soft
as a photo's. They stand for patterns, writing and noise, not for photos of other things: whatever tells these images
from photos need not tell a chair from a ship.
"""

import math
import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from kd.cifar10 import IMAGE_SIZE

SIDE = 4 * IMAGE_SIZE  # pixels that an image is drawn with
DEVELOPMENT_SEED, TEST_SEED = 2020, 2022  # what a score is chosen by, and what the chosen one is measured by
EACH = 100  # images of a kind


def strange_images(seed: int, each: int = EACH) -> dict[str, Tensor]:
    """Images of every kind in `KINDS`, by its name.

    Args:
        seed: the same one draws the same images, whatever the other kinds are.
        each: how many of a kind.

    Returns:
        uint8, (each, 3, 32, 32), RGB.
    """
    images = {}
    for name, draw in KINDS.items():
        random = np.random.default_rng([seed, *name.encode()])
        images[name] = torch.stack([_shrunk(draw(random)) for _ in range(each)])
    return images


def _shrunk(drawn: np.ndarray) -> Tensor:
    """Colours between 0 and 1, (height, width, 3), as the networks see them: uint8, (3, 32, 32)."""
    image = Image.fromarray((drawn.clip(0, 1) * 255).round().astype(np.uint8))
    small = image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)


def noise(random: np.random.Generator) -> np.ndarray:
    """Every pixel, or every square of 2 or 4 pixels of the final image, has a colour of its own, or a grey."""
    grain, channels = random.choice([1, 2, 4]), random.choice([1, 3])
    grains = random.random((IMAGE_SIZE // grain, IMAGE_SIZE // grain, channels))
    return np.broadcast_to(_enlarged(grains, grain * SIDE // IMAGE_SIZE), (SIDE, SIDE, 3))


def flat(random: np.random.Generator) -> np.ndarray:
    """One colour."""
    return np.broadcast_to(random.random(3), (SIDE, SIDE, 3))


def gradient(random: np.random.Generator) -> np.ndarray:
    """From one colour to another, along a line or from a point outwards."""
    across, down = _places()
    if random.random() < 0.5:
        way = _along(random)
    else:
        way = np.hypot(across - random.random(), down - random.random())
    return _between(random, (way - way.min()) / (way.max() - way.min()))


def stripes(random: np.random.Generator) -> np.ndarray:
    """Stripes of two colours, 2 to 16 of each, at any angle."""
    return _between(random, _along(random) * random.uniform(2, 16) % 1 < random.uniform(0.3, 0.7))


def checkers(random: np.random.Generator) -> np.ndarray:
    """A chequered board of two colours, 3 to 12 fields across and as many or others down."""
    across, down = (np.floor(place * random.integers(3, 13)) for place in _places())
    return _between(random, (across + down) % 2)


def cells(random: np.random.Generator) -> np.ndarray:
    """A Voronoi diagram of 5 to 60 points: each place has the colour of the nearest."""
    points = random.random((random.integers(5, 61), 2))
    across, down = _places()
    nearest = np.hypot(across[..., None] - points[:, 0], down[..., None] - points[:, 1]).argmin(axis=-1)
    return random.random((len(points), 3))[nearest]


def clouds(random: np.random.Generator) -> np.ndarray:
    """Random values on grids of 2, 4, 8 and 16 a side, smoothly enlarged and added, the finer the fainter (Perlin)."""
    total = np.zeros((SIDE, SIDE))
    fade = random.uniform(0.3, 0.9)  # of each finer grid against the one before
    for power in range(1, 5):
        grid = Image.fromarray(random.random((2**power, 2**power)).astype(np.float32))
        total += fade**power * np.asarray(grid.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return _between(random, (total - total.min()) / (total.max() - total.min()))


def text(random: np.random.Generator) -> np.ndarray:
    """Lines of random letters on a plain ground, as on a page or a sign; 1 to 8 lines."""
    size = SIDE / random.uniform(1, 8)
    image, letters = Image.new("L", (SIDE, SIDE)), list(string.ascii_letters + string.digits + "   ")
    font = ImageFont.load_default(size * 0.8)
    for line in range(math.ceil(SIDE / size)):
        words = "".join(random.choice(letters, 40))
        ImageDraw.Draw(image).text((random.uniform(-size, 0), line * size), words, 255, font)
    return _between(random, np.asarray(image) / 255)


KINDS = {
    "noise": noise,
    "flat colours": flat,
    "gradients": gradient,
    "stripes": stripes,
    "checkers": checkers,
    "cells": cells,
    "clouds": clouds,
    "text": text,
}


def _places() -> tuple[np.ndarray, np.ndarray]:
    """How far across and down each pixel lies, 0 to 1."""
    down, across = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    return across, down


def _along(random: np.random.Generator) -> np.ndarray:
    """How far each pixel lies in a random direction, in image sides."""
    across, down = _places()
    angle = random.uniform(0, math.pi)
    return across * math.cos(angle) + down * math.sin(angle)


def _between(random: np.random.Generator, share: np.ndarray) -> np.ndarray:
    """Two random colours, mixed by a share of the second, (height, width), 0 to 1."""
    first, second = random.random((2, 3))
    return first + (second - first) * np.asarray(share, dtype=float)[..., None]


def _enlarged(grains: np.ndarray, factor: int) -> np.ndarray:
    return grains.repeat(factor, axis=0).repeat(factor, axis=1)
