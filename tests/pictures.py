"""Pictures drawn for the tests: folders of small ones, each class mostly of one colour; photos of every shape."""

import itertools
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

TILE = 256  # side of the noise that pictures repeat, pixels
COLOURS = {"red": 0, "green": 1, "blue": 2}  # with the channel that is brightest
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
FORMATS = ("png", "jpg", "webp", "bmp")

SIZES = {
    "photo": (640, 480), "odd": (333, 251), "tall": (40, 700), "wide": (1201, 64), "line": (500, 1), "dot": (1, 1),
    "tiny": (5, 9), "exact": (32, 32), "as wide": (32, 90), "as high": (77, 32), "slightly larger": (33, 35),
    "half way": (64, 33), "large": (2400, 1700),
}  # fmt: skip


KINDS = [
    ("RGB", ".png"), ("RGB", ".jpg"), ("RGB", ".webp"), ("RGB", ".gif"), ("RGB", ".bmp"), ("RGBA", ".png"),
    ("LA", ".png"), ("L", ".jpg"), ("I;16", ".png"), ("P", ".png"),
]  # fmt: skip


def draw_pictures(folder: Path, parts: dict[str, int], side: int = 24) -> Path:
    """Write as many pictures of each class to each part, of several sizes and formats; no two are alike."""
    draw = np.random.default_rng(1)
    for part, count in parts.items():
        for name, channel in COLOURS.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                height, width = side + draw.integers(0, 20, 2)
                pixels = draw.integers(0, 90, (height, width, 3), dtype=np.uint8)
                pixels[..., channel] += 120
                form = FORMATS[number % len(FORMATS)]
                Image.fromarray(pixels).save(folder / part / name / f"{number}.{form}")
    return folder


def picture(size, mode="RGB", seed=0):
    """Blobs of colour with noise, sharp edges and, where the mode has it, transparency of every degree.

    Args:
        mode: Pillow's; a palette (P) is one with transparency.
    """
    if mode == "I;16":
        grey = np.asarray(picture(size, "L", seed)).astype(np.uint16)
        return Image.fromarray(grey * 256 + grey[::-1])
    if mode == "CMYK":
        return picture(size, "RGB", seed).convert("CMYK")
    if mode == "P":
        return picture(size, "RGBA", seed).quantize()
    draw = np.random.default_rng(seed)
    width, height = size
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    blobs = Image.fromarray(draw.integers(0, 256, (6, 8, 4), dtype=np.uint8), "RGBA").resize(size)
    noise = draw.normal(0, 30, (TILE, TILE, 4)).astype(np.int16)  # repeated: to draw it for each pixel takes seconds
    pixels = np.asarray(blobs) + np.tile(noise, (-(-height // TILE), -(-width // TILE), 1))[:height, :width]
    pixels[height // 3 : height // 2, width // 4 : width // 2, :3] = 255
    pixels = pixels.clip(0, 255).astype(np.uint8)[..., 4 - channels :]
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def fifty_pictures(folder):
    """Fifty image files of all kinds that a browser reads, in any size: first a large photo as phones make them."""
    sizes = [*SIZES.values(), (3000, 2200)]
    drawn = list(itertools.product(KINDS, sizes))
    random.Random(0).shuffle(drawn)
    for number, ((mode, suffix), size) in enumerate([(("RGB", ".jpg"), (4000, 3000)), *drawn[:49]]):
        path = folder / f"{number}{suffix}"
        picture(size, mode, seed=number).save(path)
        yield path


def stripes(width, height, colours=(RED, GREEN, BLUE)):
    """A photo of equal stripes along its longer side."""
    photo = Image.new("RGB", (width, height))
    for position, colour in enumerate(colours):
        part = max(width, height) // len(colours)
        corner = (position * part, 0) if width > height else (0, position * part)
        photo.paste(colour, (*corner, *((part + corner[0], height) if width > height else (width, part + corner[1]))))
    return photo


def gradient(width=60, height=40, mode="RGB"):
    """An image whose every pixel differs."""
    red, green = np.linspace(0, 255, width), np.linspace(0, 255, height)
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = red, green[:, None], 255 - red
    return Image.fromarray(pixels).convert(mode)


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_that_claims(width, height):
    """A PNG whose header promises any number of pixels, and which holds none."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(b"")), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
