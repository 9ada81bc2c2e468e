"""From a photo to the logits of the three networks: reading any image, one input, three answers."""

import io
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from kd import checkpoint
from kd.cifar10 import IMAGE_SIZE
from kd.dataset import normalise
from kd.losses import check_temperature
from kd.models import ARCHITECTURES, ROLES, count_parameters, first_layer, fuse_norms
from kd.out_of_class import Warner, contrasts
from kd.results import RESULTS, read_results, results_of, training_sentences, warning_rates

_log = logging.getLogger(__name__)

MAX_FILE_BYTES = 25_000_000
# Width times height, judged from the header before anything is decoded: of a JPEG, which is decoded at a reduced scale
# and so in a fraction of the time and memory, and of all else, which is decoded whole.
MAX_REDUCED_PIXELS, MAX_PIXELS = 120_000_000, 16_000_000
MAX_HEIC_PIXELS = 25_000_000  # decoded whole as well, but an iPhone's camera makes 24 million unless it is told not to
MAX_SCANS = 64  # of a JPEG; the usual progressive one has ten, and each costs a pass over the whole image
MAX_PLAIN_BYTES = 1_000_000  # of a PPM that spells its pixels out as text: Pillow reads it number by number
ENOUGH = 4_000_000  # pixels; a larger image is shrunk as soon as it is decoded, so that all else costs little
DRAFT = 512  # pixels a side that are left of a JPEG at least, more than twice what any network sees
REDUCED_GAIN = 8  # as many times more pixels of a JPEG are decoded in the same time at a reduced scale
try:
    import pi_heif  # pillow-heif without its encoder, which is GPL
except ImportError:  # a photo from an iPhone is told that it cannot be read
    pass
else:
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
Image.init()
Image.MAX_IMAGE_PIXELS = MAX_REDUCED_PIXELS  # Pillow warns from there on, and refuses twice as many
# No ICO: an image within one can be far larger than its header says.
FORMATS = tuple(
    name for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "HEIF") if name in Image.OPEN
)
# Where such a file says what it is: brands of ISO/IEC 23008-12 (HEIF) with HEVC inside.
HEIC = {b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")}
GROUND = (255, 255, 255)  # what transparent pixels show
MARGIN = (0, 0, 0)  # around a photo that is shown whole; training pads with black too
BATCH = 16  # images that go through a network at once: more are hardly faster, and memory stays bounded


class PhotoError(ValueError):
    """A file cannot be used as a photo; the message is a sentence for the person who sent it."""


def read_photo(path: str | Path) -> Image.Image:
    """Read an image file of nearly any kind as upright RGB.

    The camera's orientation (EXIF) is applied, transparency is laid on white, 16- and 32-bit
    greys are scaled to 8 bits instead of clipped, of an animation the first frame is taken, a JPEG is
    decoded at a reduced scale where that is enough, and whatever else is large is shrunk.

    Returns:
        A Pillow image, mode RGB, at most `ENOUGH` pixels.

    Raises:
        PhotoError: the file is empty, no image, cut off, or larger than the limits.
    """
    try:
        content = Path(path).read_bytes() if Path(path).stat().st_size <= MAX_FILE_BYTES else None
    except OSError as error:
        raise PhotoError("The file could not be read. Please upload it again.") from error
    if content is None:
        raise PhotoError(f"The file is larger than {MAX_FILE_BYTES // 1_000_000} MB. Please choose a smaller one.")
    if not content:
        raise PhotoError("The file is empty. Please choose another one.")
    if content[:2] in (b"P1", b"P2", b"P3") and len(content) > MAX_PLAIN_BYTES:
        raise PhotoError("The image spells its pixels out as text and is too long for that. Please save it as PNG.")
    if content[4:12] in HEIC and "HEIF" not in FORMATS:
        raise PhotoError("The image is in the format HEIC, which cannot be read here. Please save it as JPEG.")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(image, content)
            image.draft("RGB", (DRAFT, DRAFT))
            ImageOps.exif_transpose(image, in_place=True)
            return _as_rgb(image)
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(MAX_REDUCED_PIXELS) from error
    except Image.UnidentifiedImageError as error:
        raise PhotoError(
            "This file is not an image that can be read. Please use JPEG, PNG, WebP, GIF, BMP or TIFF."
        ) from error
    except Exception as error:  # a damaged file can raise nearly anything in a decoder
        raise PhotoError("The image is damaged or cut off. Please choose another file.") from error


def _check_size(image: Image.Image, content: bytes) -> None:
    """Refuse what would take too long, by its header and by the number of its scans.

    A baseline JPEG alone can be decoded at a reduced scale: of a progressive one, all coefficients are kept in memory.
    """
    limit = MAX_HEIC_PIXELS if image.format == "HEIF" else MAX_REDUCED_PIXELS if _is_reduced(image) else MAX_PIXELS
    if image.width * image.height > limit:
        raise _too_large(limit)
    if image.format in ("JPEG", "MPO") and content.count(b"\xff\xda") > MAX_SCANS:
        raise PhotoError("The image is stored in too many scans. Please save it anew.")


def _is_reduced(image: Image.Image) -> bool:
    # Some cameras' JPEGs hold several pictures, which Pillow calls MPO: the first one is a JPEG like any other.
    return image.format in ("JPEG", "MPO") and "progressive" not in image.info


def takes_long(path: str | Path) -> bool:
    """Whether a photo takes much longer to read than an ordinary one, judged by its header; False for what is none."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            pixels = image.width * image.height
            return pixels > (REDUCED_GAIN if _is_reduced(image) else 1) * ENOUGH
    except Exception:  # `read_photo` will say what is wrong
        return False


def _too_large(limit: int) -> PhotoError:
    return PhotoError(f"The image has more than {limit // 1_000_000} million pixels. Please scale it down first.")


def _as_rgb(image: Image.Image) -> Image.Image:
    factor = math.ceil(math.sqrt(image.width * image.height / ENOUGH))
    if image.mode == "F" or image.mode.startswith("I"):  # converting these would clip them to white
        # Pillow reduces floats, but not 16-bit greys.
        image = image.convert("F").reduce(factor) if factor > 1 else image
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        if factor > 1:  # as "RGBa", so that hidden colours do not count
            image = image.convert("RGBa").reduce(factor).convert("RGBA")
        opaque = Image.new("RGB", image.size, GROUND)
        opaque.paste(image, mask=image.getchannel("A"))
        return opaque
    elif factor > 1:
        image = (image.convert("RGB") if image.mode in ("P", "1") else image).reduce(factor)
    return image.convert("RGB")


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    """Scale greys of 16 bits, 32 bits or any float range to 0 to 255."""
    grey = np.nan_to_num(grey.astype(np.float64), posinf=0, neginf=0)
    low = min(grey.min(), 0)
    # What fits into 16 bits most likely uses that scale; anything else is stretched to its maximum.
    high = 65535 if 255 < grey.max() <= 65535 else max(grey.max(), 255 if grey.max() > 1 else 1)
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
    seen = Image.new("RGB", size, MARGIN)
    whole = photo.resize((width, height), Image.Resampling.LANCZOS)
    seen.paste(whole, ((image_size - width) // 2, (image_size - height) // 2))
    return seen


@dataclass(frozen=True)
class Answer:
    """What one network says of one image: ten logits, and the milliseconds it took."""

    logits: list[float]
    milliseconds: float


class TrainedNetwork(nn.Module):
    """A checkpoint's network as it answers: images in, logits out, in evaluation mode.

    It takes images as they are, RGB between 0 and 1, of its checkpoint's size, and normalises them by its constants.

    Attributes:
        network: the network itself, for normalised images.
        config: its config.json; describes the training that the weights came from.
        image_size: the side of the images that it sees, pixels.
    """

    def __init__(self, network: nn.Module, config: dict) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.image_size: int = checkpoint.image_size_of(config)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """The logits, (N, 10), in the order of config["classes"].

        Args:
            images: float, (N, 3, 32, 32), RGB, values in [0, 1].

        Raises:
            ValueError: images of another shape.
        """
        size = self.image_size
        if images.shape[1:] != (3, size, size):
            raise ValueError(
                f"images are {tuple(images.shape)} instead of (N, 3, {size}, {size}): "
                "scale them, as kd.inference.to_network_size does with a photo"
            )
        return self.network(normalise(images, checkpoint.normalisation_of(self.config)))

    @torch.inference_mode()
    def answer(self, images: Sequence[Image.Image]) -> list[Answer]:
        """Its answers to many images, in their order, `BATCH` computed at once; their time is shared out evenly.

        Args:
            images: RGB, 32 x 32 (see `to_network_size`).
        """
        answers = []
        for first in range(0, len(images), BATCH):
            batch = np.stack([np.asarray(image) for image in images[first : first + BATCH]])
            pixels = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255  # in memory channels last, as it was
            started = time.perf_counter()
            logits = self(pixels).tolist()
            milliseconds = (time.perf_counter() - started) * 1000 / len(batch)
            answers += [Answer(row, milliseconds) for row in logits]
        return answers

    def classify(self, photo: str | Path) -> dict[str, float]:
        """The probabilities (T = 1) of what an image file's middle square shows, by class, the greatest first.

        Raises:
            PhotoError: the file cannot be read as an image.
        """
        (answer,) = self.answer([to_network_size(read_photo(photo), image_size=self.image_size)])
        probabilities = dict(zip(self.config["classes"], torch.tensor(answer.logits).softmax(0).tolist(), strict=True))
        return dict(sorted(probabilities.items(), key=lambda entry: -entry[1]))


class Trio:
    """Teacher, baseline student and distilled student, loaded and ready to answer.

    Attributes:
        folder: where the checkpoints came from.
        networks: by role; their batch norms are fused into the convolutions.
        configs: each role's config.json.
        classes, image_size: the names, in the order of the logits, and the side of what they see, pixels; the same of
            all three.
        parameters: each role's number of trainable parameters.
        out_of_class: of results.json, what was measured of the warning that an image is unlikely to show any of the
            classes; empty where `train.evaluate` has not measured it with this teacher.
        warner: what warns; None where it was not measured.
    """

    def __init__(self, folder: str | Path) -> None:
        """Load and verify the three checkpoints.

        Raises:
            CheckpointError: one is missing, damaged, or not of its role.
        """
        self.folder = Path(folder)
        self.networks = {role: _of_role(self.folder / role, role) for role in ROLES}
        self.configs = {role: network.config for role, network in self.networks.items()}
        teacher = self.configs["teacher"]
        self.classes: list[str] = teacher["classes"]
        self.image_size: int = checkpoint.image_size_of(teacher)
        for role, config in self.configs.items():
            if (config["classes"], checkpoint.image_size_of(config)) != (self.classes, self.image_size):
                raise checkpoint.CheckpointError(
                    f"{self.folder / role} knows other classes or sees another size than {self.folder / 'teacher'}: "
                    "put networks there that were trained on the same data"
                )
        self.parameters = {role: count_parameters(network) for role, network in self.networks.items()}
        for network in self.networks.values():
            if network.config["architecture"] in ARCHITECTURES:  # of others nobody knows what follows on what
                fuse_norms(network.network)
            network.to(memory_format=torch.channels_last)
        self.out_of_class = _out_of_class(self.folder, self.configs["teacher"])
        self.warner = _warner(self.folder, self.out_of_class, self.networks["teacher"]) if self.out_of_class else None
        self.answer(
            Image.new("RGB", (self.image_size, self.image_size))
        )  # the first pass is the slowest: have it behind us

    def answer(self, image: Image.Image) -> dict[str, Answer]:
        """Let the three networks classify one image, each by its own checkpoint's normalisation.

        Args:
            image: RGB, 32 x 32 (see `to_network_size`).
        """
        return self.answer_all([image])[0]

    def answer_all(self, images: Sequence[Image.Image]) -> list[dict[str, Answer]]:
        """Let the three networks classify many images, as `TrainedNetwork.answer` does.

        Returns:
            Each image's answers by role, in the order of the images.
        """
        by_role = [network.answer(images) for network in self.networks.values()]
        return [dict(zip(self.networks, answers, strict=True)) for answers in zip(*by_role, strict=True)]

    @torch.inference_mode()
    def fits_no_class(self, teacher_logits: list[float], seen: Image.Image) -> bool:
        """Whether an image is unlikely to show any of the ten classes; False without a `warner`.

        Args:
            teacher_logits: of the image.
            seen: the image, RGB, 32 x 32, without margins.
        """
        if self.warner is None:
            return False
        pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1)[None].float() / 255
        teacher = self.networks["teacher"]
        pixels = normalise(pixels, checkpoint.normalisation_of(teacher.config))
        return bool(self.warner.warns(torch.tensor([teacher_logits]), contrasts(teacher.network, pixels)))

    def seen(self, photo: Image.Image, crop: Crop | None = CENTRE) -> Image.Image:
        """What the networks see of a photo (see `to_network_size`)."""
        return to_network_size(photo, crop, self.image_size)

    def classify(self, photo: Image.Image, temperature: float, crop: Crop | None = CENTRE) -> dict:
        """Classify a photo: the answer of the endpoint `/classify`.

        Args:
            photo: RGB, any size.
            temperature: T, in the range of `kd.losses.check_temperature`.
            crop: the part of the photo that the networks see (see `to_network_size`).

        Returns:
            {"classes": [10 names], "temperature": T, "models": {role: {"logits": [10],
            "probabilities": [10] at T = 1, "softened": [10] at T, "label": str,
            "confidence": float, "milliseconds": float}}}

        Raises:
            ValueError: a temperature out of range.
        """
        return self.classify_all([self.seen(photo, crop)], temperature)[0]

    def classify_all(self, images: Sequence[Image.Image], temperature: float) -> list[dict]:
        """Classify many images: for each the dict that `classify` returns, in their order.

        Args:
            images: RGB, 32 x 32.
            temperature: as of `classify`.

        Raises:
            ValueError: a temperature out of range.
        """
        check_temperature(temperature)
        return [
            {
                "classes": list(self.classes),
                "temperature": temperature,
                "models": {role: _described(answer, temperature, self.classes) for role, answer in answers.items()},
            }
            for answers in self.answer_all(images)
        ]


def _of_role(folder: Path, role: str) -> TrainedNetwork:
    """The network in a folder, which has to be of that role; raises CheckpointError where it is not."""
    network, config = checkpoint.load(folder)
    if config["role"] != role:
        raise checkpoint.CheckpointError(
            f"{folder} holds a {config['role']}, not a {role}: put the right checkpoint there"
        )
    try:  # what the page tells of it
        training_sentences({role: config})
        float(config["recipe"]["soft_weight"])
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(
            f"{folder / checkpoint.CONFIG} does not tell how the network was trained "
            f"({type(error).__name__}: {error}): put the file back as it was published, or train anew"
        ) from error
    return TrainedNetwork(network, config)


def _out_of_class(folder: Path, teacher: dict) -> dict:
    """What the results in `folder` say of the warning by the teacher of this config.json; older ones say nothing."""
    results = read_results(folder)
    measured = results_of(results, teacher) if results else None
    found = (measured or {}).get("out_of_class")
    return found if isinstance(found, dict) and "precision" in found else {}


def _warner(folder: Path, measured: dict, teacher: TrainedNetwork) -> Warner | None:
    """What warns, as it was measured; without it nobody is warned, and the page goes on."""
    try:
        warning_rates(measured)  # which the page tells with the warning
        warner = Warner.from_json(measured)
        if len(warner.centre) != (filters := first_layer(teacher.network)[0].out_channels):
            raise ValueError(f"a centre of {len(warner.centre)} values does not go with {filters} filters")
        return warner
    except (LookupError, TypeError, ValueError) as error:
        _log.warning(
            "%s has a damaged out_of_class (%s: %s): write it anew with python -m train.evaluate --checkpoints %s "
            "--warning", folder / RESULTS, type(error).__name__, error, folder,
        )  # fmt: skip
        return None


def _described(answer: Answer, temperature: float, classes: Sequence[str]) -> dict:
    """One network's part of what `Trio.classify` returns."""
    logits = torch.tensor(answer.logits, dtype=torch.float64)
    probabilities = logits.softmax(0).tolist()
    best = max(range(len(classes)), key=probabilities.__getitem__)
    return {
        "logits": answer.logits,
        "probabilities": probabilities,
        "softened": (logits / temperature).softmax(0).tolist(),
        "label": classes[best],
        "confidence": probabilities[best],
        "milliseconds": round(answer.milliseconds, 3),
    }
