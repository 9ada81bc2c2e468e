"""From an image file of nearly any kind to the 32 x 32 pixels that a network is shown: reading, limits, the crop."""

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kd.cifar10 import IMAGE_SIZE

MAX_FILE_BYTES = 25_000_000
# Width times height, judged from the header before anything is decoded: of a JPEG, which beyond the second is decoded
# at a reduced scale and so in a fraction of the time and memory, and of all else, which is decoded whole.
MAX_REDUCED_PIXELS, MAX_PIXELS = 120_000_000, 16_000_000
# What phones make beyond that, bounded by the memory that one photo takes (measured with Pillow 12.3 and libheif 1.21).
# A JPEG in several scans, as a progressive one, is decoded at a reduced scale too, but its coefficients are all kept:
# 8160 x 6144 pixels took 162 MB and .4 s with halved colours (4:2:0), 316 MB and .6 s with whole ones (4:4:4), and in
# CMYK 422 MB, which is therefore not read. A HEIC of 8064 x 6048 pixels took 353 MB and 1.1 s.
MAX_SCANNED_PIXELS, MAX_HEIC_PIXELS = 52_000_000, 50_000_000
MAX_SCANS = 64  # of a JPEG of `MAX_PIXELS`, each a pass over the whole image; the usual progressive one has ten
MAX_SEGMENTS = 1000  # of a JPEG before its first scan; photos have some dozens
SCAN, END = 0xDA, 0xD9  # the markers of a scan and of the image's end (ITU-T T.81, table B.1)
MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # those that stand in a scan's own data not counted (B.1.1.5)
BARE_MARKERS = {0x00, 0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE), 0xFF}  # after which Pillow reads no length
# Steps in which a file is read, to open it and then in all: what has many small parts is read part by part, in Python.
# Photos take some dozens and, of a PNG, four for each 8 kB.
MAX_OPENING_STEPS, MAX_STEPS = 5000, 100_000
MAX_TAGS = 200  # in a directory of EXIF; cameras write some dozens. All may name the same bytes, which Pillow copies
ENOUGH = 4_000_000  # pixels; a larger image is shrunk as soon as it is decoded, so that all else costs little
REDUCED_GAIN = 8  # as many times more pixels of a JPEG are decoded in the same time at a reduced scale
try:
    import pi_heif  # pillow-heif without its encoder, which is GPL
except ImportError:  # a photo from an iPhone is told that it cannot be read
    pass
else:
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
Image.init()  # which fills Image.OPEN
Image.MAX_IMAGE_PIXELS = MAX_REDUCED_PIXELS  # Pillow warns from there on, and refuses twice as many
# What strangers may send. An ICO may hold an image far larger than its header says, a TIFF such tiles; a TIFF and the
# EXIF of an AVIF have directories that Pillow reads whatever they cost; a PPM may be read number by number.
FORMATS = tuple(name for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "HEIF") if name in Image.OPEN)
# Where such a file says what it is: brands of ISO/IEC 23008-12 (HEIF) with HEVC inside.
HEIC = {b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")}
GROUND = (255, 255, 255)  # what transparent pixels show
TURNS_OF_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
MARGIN = (0, 0, 0)  # around a photo that is shown whole; training pads with black too


class PhotoError(ValueError):
    """A file cannot be used as a photo; the message is for the person who sent it.

    Attributes:
        reason: what is wrong with the file, without what its sender can do.
    """

    def __init__(self, reason: str, way_out: str = "") -> None:
        super().__init__(f"{reason}. {way_out}" if way_out else reason)
        self.reason = reason


def read_photo(path: str | Path, trusted: bool = False) -> Image.Image:
    """Read an image file of nearly any kind as upright RGB.

    The camera's orientation (EXIF) is applied, transparency is laid on white, 16- and 32-bit
    greys are scaled to 8 bits instead of clipped, of an animation the first frame is taken, a very large JPEG is
    decoded at a reduced scale, and whatever else is large is shrunk.

    Args:
        trusted: whether it is one's own: then it may be of any format that Pillow reads, up to 240 megapixels.

    Returns:
        A Pillow image, mode RGB, at most `ENOUGH` pixels.

    Raises:
        PhotoError: the file is empty, no image, cut off, or larger than the limits.
    """
    try:
        content = Path(path).read_bytes() if trusted or Path(path).stat().st_size <= MAX_FILE_BYTES else None
    except OSError as error:
        reason = f" ({error.strerror})" if trusted else ""
        raise PhotoError(f"The file could not be read{reason}", "Please upload it again.") from error
    if content is None:
        raise PhotoError(f"The file is larger than {MAX_FILE_BYTES // 1_000_000} MB", "Please choose a smaller one.")
    if not content:
        raise PhotoError("The file is empty", "Please choose another one.")
    if content[4:12] in HEIC and "HEIF" not in FORMATS:
        raise PhotoError("The image is in the format HEIC, which cannot be read here", "Please save it as JPEG.")
    try:
        if trusted:
            with Image.open(io.BytesIO(content)) as image:
                _reduce(image)
                ImageOps.exif_transpose(image, in_place=True)
                return _as_rgb(image)
        with _opened(content) as image:
            _check_size(image, content)
            _reduce(image)
            turn = TURNS_OF_ORIENTATION.get(_orientation(image.info.get("exif") or b""))
            return _as_rgb(image.transpose(turn) if turn is not None else image)
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(2 * MAX_REDUCED_PIXELS if trusted else MAX_PIXELS) from error  # that suits any format
    except Image.UnidentifiedImageError as error:
        raise PhotoError(
            "This file is not an image that can be read", "Please use JPEG, PNG, WebP, GIF or BMP."
        ) from error
    except Exception as error:  # a damaged file can raise nearly anything in a decoder
        raise PhotoError("The image is damaged or cut off", "Please choose another file.") from error


class _Steps(io.BytesIO):
    """The content of a file, for Pillow to read in so many steps and no more."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.left = MAX_OPENING_STEPS

    def read(self, size: int | None = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise _in_too_many_parts()
        return super().read(size)


def _opened(content: bytes) -> Image.Image:
    """A stranger's image whose header has been read, in bounded time."""
    _check_segments(content)
    steps = _Steps(content)
    image = Image.open(steps, formats=FORMATS)
    steps.left = MAX_STEPS
    return image


def _segments(content: bytes) -> Iterator[tuple[int, bytes | None]]:
    """The markers of a JPEG up to its first scan's, each with what it heads: None for one without a length.

    They are those that Pillow finds (`JpegImageFile._open`), in damaged files too, lest something is read that was not
    looked at here: it skips what is no marker, and takes the extensions' for markers without a length. A byte that
    fills counts as one.
    """
    place = 2
    while 0 <= (place := content.find(b"\xff", place)) < len(content) - 1:
        marker = content[place + 1]
        if marker in BARE_MARKERS:
            yield marker, None
            place += 1 if marker == 0xFF else 2
            continue
        length = max(2, int.from_bytes(content[place + 2 : place + 4]))  # it counts itself
        yield marker, content[place + 4 : place + 2 + length]
        if marker == SCAN:
            return
        place += 2 + length


def _check_segments(content: bytes) -> None:
    """Refuse a JPEG of so many segments, or with so long a directory, that opening it would take long."""
    notes = 0
    for number, (marker, segment) in enumerate(_segments(content) if content[:2] == b"\xff\xd8" else ()):
        if marker == SCAN:  # all is there that is read before the scans
            return
        segment = segment or b""
        if segment[:6] == b"Exif\0\0":
            notes += 1
            _check_tags(segment[6:])
        if segment[:4] == b"MPF\0":
            _check_tags(segment[4:])
        if notes > 1 or number >= MAX_SEGMENTS:
            raise _in_too_many_parts()


def _in_too_many_parts() -> PhotoError:
    return PhotoError("The image is stored in too many parts", "Please save it anew.")


def _check_tags(directory: bytes) -> None:
    order = {b"II": "little", b"MM": "big"}.get(directory[:2], "big")
    start = int.from_bytes(directory[4:8], order)
    if int.from_bytes(directory[start : start + 2], order) > MAX_TAGS:
        raise PhotoError("The image's camera data are damaged", "Please save it anew.")


def _orientation(exif: bytes) -> int:
    """How the camera was held, 1 to 8 (EXIF 2.3, tag 0x0112), read without all that the directory names besides."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "little", b"MM": "big"}.get(exif[:2], "big")
    start = int.from_bytes(exif[4:8], order)
    for number in range(min(MAX_TAGS, int.from_bytes(exif[start : start + 2], order))):
        entry = exif[start + 2 + 12 * number :][:12]
        if int.from_bytes(entry[:2], order) == 0x0112:
            return int.from_bytes(entry[8:10], order)
    return 1


def _reduce(image: Image.Image) -> None:
    """Have a JPEG of more than `MAX_PIXELS` decoded at a scale of 1/2, 1/4 or 1/8; browsers would decode it whole."""
    pixels, factor = image.width * image.height, 2
    while factor < 8 and pixels > factor**2 * ENOUGH:
        factor *= 2
    if pixels > MAX_PIXELS:
        image.draft("RGB", (image.width // factor, image.height // factor))


def _check_size(image: Image.Image, content: bytes) -> None:
    """Refuse what would take too much time or memory, by its header and by the number of its scans."""
    pixels, limit = image.width * image.height, _max_pixels(image, content)
    if pixels > limit:
        raise _too_large(limit)
    if image.format in ("JPEG", "MPO"):
        scans = _scans(content)
        if scans > MAX_SCANS or scans * pixels > MAX_SCANS * MAX_PIXELS and _keeps_coefficients(image, content):
            raise PhotoError("The image is stored in too many scans", "Please save it anew.")


def _scans(content: bytes) -> int:
    """The scans of a JPEG up to the end of its image: phones append a film to it, or further pictures.

    Of one with a great many segments it is more than `MAX_SCANS`, whatever they are.
    """
    place = scans = 0
    for _ in range(2 * MAX_SEGMENTS):
        found = MARKER.search(content, place)
        if not found or content[found.start() + 1] == END:
            return scans
        place, marker = found.end(), content[found.start() + 1]
        scans += marker == SCAN
        if marker not in BARE_MARKERS:
            place += max(2, int.from_bytes(content[place : place + 2]))
    return MAX_SCANS + 1


def _max_pixels(image: Image.Image, content: bytes) -> int:
    # Some cameras' JPEGs hold several pictures, which Pillow calls MPO: the first one is a JPEG like any other.
    if image.format in ("JPEG", "MPO"):
        if not _keeps_coefficients(image, content):
            return MAX_REDUCED_PIXELS
        return MAX_SCANNED_PIXELS if image.layers <= 3 else MAX_PIXELS
    if image.format == "HEIF":  # with more bits, whole colours or transparency it takes up to twice the memory
        usual = image.mode == "RGB" and image.info.get("bit_depth") == 8 and image.info.get("chroma") == 420
        return MAX_HEIC_PIXELS if usual else MAX_HEIC_PIXELS // 2
    return MAX_PIXELS


def _keeps_coefficients(image: Image.Image, content: bytes) -> bool:
    """Whether the decoder of a JPEG keeps all coefficients in memory: there are several scans, as in a progressive one.

    They are several where the first one lacks a component (ITU-T T.81, B.2.3). True for what cannot be told.
    """
    if "progressive" in image.info:
        return True
    for marker, segment in islice(_segments(content), MAX_SEGMENTS):
        if segment is None:
            return True
        if marker == SCAN:
            return segment[:1] != bytes([image.layers])
    return True


def takes_long(path: str | Path) -> bool:
    """Whether a photo takes much longer to read than an ordinary one, judged by its header; False for what is none."""
    try:
        content = Path(path).read_bytes() if Path(path).stat().st_size <= MAX_FILE_BYTES else b""
        with _opened(content) as image:
            reduced = image.format in ("JPEG", "MPO") and not _keeps_coefficients(image, content)
            return image.width * image.height > (REDUCED_GAIN if reduced else 1) * ENOUGH
    except Exception:  # `read_photo` will say what is wrong
        return False


def _too_large(limit: int) -> PhotoError:
    return PhotoError(f"The image has more than {limit // 1_000_000} million pixels", "Please scale it down first.")


def _as_rgb(image: Image.Image) -> Image.Image:
    """Eight bits and no transparency first, then smaller, as the page without a server does it (kd/site/photo.js)."""
    factor = math.ceil(math.sqrt(image.width * image.height / ENOUGH))
    if image.mode in ("F", "I"):  # converting these would clip them to white; no browser reads them
        grey = image.convert("F").reduce(factor) if factor > 1 else image
        return Image.fromarray(_to_8_bits(np.asarray(grey))).convert("RGB")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))  # the high byte, which browsers take
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        opaque = Image.new("RGB", image.size, GROUND)
        opaque.paste(image, mask=image.getchannel("A"))
        image = opaque
    elif image.mode in ("P", "1"):
        image = image.convert("RGB")
    return (image.reduce(factor) if factor > 1 else image).convert("RGB")


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    """Scale greys of 32 bits or any float range to 0 to 255."""
    grey = np.nan_to_num(grey.astype(np.float64), posinf=0, neginf=0)
    low = min(grey.min(), 0)
    # The first usual scale that holds them (0 to 1, 8 bits, 16 bits); beyond those, up to their own maximum.
    high = next((scale for scale in (1, 255, 65535) if grey.max() <= scale), grey.max())
    return ((grey - low) / (high - low) * 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Crop:
    """A square of a photo.

    Attributes:
        across, down: where it lies, from 0 (at the left, at the top) to 1 (at the right, at the bottom).
        side: its side as a share of the photo's shorter side, `MIN_SIDE` to 1.

    Raises:
        ValueError: a value is out of its range.
    """

    across: float = 0.5
    down: float = 0.5
    side: float = 1.0

    MIN_SIDE = 0.1

    def __post_init__(self) -> None:
        for name, low in (("across", 0), ("down", 0), ("side", self.MIN_SIDE)):
            if not low <= getattr(self, name) <= 1:  # false for NaN as well
                raise ValueError(f"{name} {getattr(self, name)} of the crop is not between {low} and 1")

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The square's left, top, right and bottom edge in a photo of this size, pixels."""
        side = self.side * min(width, height)
        left, top = (width - side) * self.across, (height - side) * self.down
        return left, top, min(left + side, width), min(top + side, height)


CENTRE = Crop()


def to_network_size(photo: Image.Image, crop: Crop | None = CENTRE, image_size: int = IMAGE_SIZE) -> Image.Image:
    """What the networks see: a square of a photo, scaled to 32 x 32 with antialiasing.

    Args:
        photo: RGB, any size.
        crop: the square; None for the whole photo, with black margins on its longer sides.
        image_size: what their checkpoints say instead of 32.
    """
    size = (image_size, image_size)
    if crop:
        return photo.resize(size, Image.Resampling.LANCZOS, box=crop.box(*photo.size))
    scale = image_size / max(photo.size)
    width, height = (max(1, round(side * scale)) for side in photo.size)
    padded = Image.new("RGB", size, MARGIN)
    whole = photo.resize((width, height), Image.Resampling.LANCZOS)
    padded.paste(whole, ((image_size - width) // 2, (image_size - height) // 2))
    return padded
