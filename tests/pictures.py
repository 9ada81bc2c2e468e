"""Small pictures of three classes, drawn for the tests: each class mostly of one colour."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": 0, "green": 1, "blue": 2}  # with the channel that is brightest
FORMATS = ("png", "jpg", "webp", "bmp")


def draw_pictures(folder: Path, parts: dict[str, int], side: int = 24) -> Path:
    """Write as many pictures of each class to each part, of several sizes and formats; no two are alike."""
    random = np.random.default_rng(1)
    for part, count in parts.items():
        for name, channel in COLOURS.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                height, width = side + random.integers(0, 20, 2)
                pixels = random.integers(0, 90, (height, width, 3), dtype=np.uint8)
                pixels[..., channel] += 120
                form = FORMATS[number % len(FORMATS)]
                Image.fromarray(pixels).save(folder / part / name / f"{number}.{form}")
    return folder
