"""From a photo to the logits of the three networks: reading any image, one input, three answers."""

import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from kd import checkpoint
from kd.cifar10 import CLASSES, IMAGE_SIZE, normalise
from kd.models import count_parameters
from kd.recipe import ROLES

MAX_FILE_BYTES = 25_000_000
MAX_PIXELS = 40_000_000  # width times height, judged from the header before anything is decoded
Image.init()
FORMATS = tuple(
    name for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "ICO") if name in Image.OPEN
)
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 1000.0
GROUND = (255, 255, 255)  # what transparent pixels show


class PhotoError(ValueError):
    """A file cannot be used as a photo; the message is a sentence for the person who sent it."""


def read_photo(path: str | Path) -> Image.Image:
    """Read an image file of nearly any kind as upright RGB.

    The camera's orientation (EXIF) is applied, transparency is laid on white, 16- and 32-bit
    greys are scaled to 8 bits instead of clipped, of an animation the first frame is taken, and a
    large JPEG is decoded at reduced size.

    Returns:
        A Pillow image, mode RGB, at most `MAX_PIXELS` pixels.

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
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            image.draft("RGB", (16 * IMAGE_SIZE, 16 * IMAGE_SIZE))
            return _as_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise PhotoError(
            f"The image has more than {MAX_PIXELS // 1_000_000} million pixels. Please scale it down first."
        ) from error
    except Image.UnidentifiedImageError as error:
        raise PhotoError(
            "This file is not an image that can be read. Please use JPEG, PNG, WebP, GIF, BMP or TIFF."
        ) from error
    except Exception as error:  # a damaged file can raise nearly anything in a decoder
        raise PhotoError("The image is damaged or cut off. Please choose another file.") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):  # converting these would clip them to white
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    opaque = Image.new("RGB", image.size, GROUND)
    opaque.paste(image, mask=image.getchannel("A"))
    return opaque


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    """Scale greys of 16 bits, 32 bits or any float range to 0 to 255."""
    grey = np.nan_to_num(grey.astype(np.float64), posinf=0, neginf=0)
    low = min(grey.min(), 0)
    # What fits into 16 bits most likely uses that scale; anything else is stretched to its maximum.
    high = 65535 if 255 < grey.max() <= 65535 else max(grey.max(), 255 if grey.max() > 1 else 1)
    return ((grey - low) / (high - low) * 255).round().astype(np.uint8)


def to_network_size(photo: Image.Image) -> Image.Image:
    """The middle square of a photo, scaled to 32 x 32 with antialiasing: what the networks see."""
    return ImageOps.fit(photo, (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Answer:
    """What one network says of one image: ten logits, and the milliseconds it took."""

    logits: list[float]
    milliseconds: float


class Trio:
    """Teacher, baseline student and distilled student, loaded and ready to answer.

    Attributes:
        folder: where the checkpoints came from.
        configs: each role's config.json.
        parameters: each role's number of trainable parameters.
    """

    def __init__(self, folder: str | Path) -> None:
        """Load and verify the three checkpoints.

        Raises:
            CheckpointError: one is missing, damaged, or not of its role.
        """
        self.folder = Path(folder)
        self.configs: dict[str, dict] = {}
        self.parameters: dict[str, int] = {}
        self._networks: dict[str, nn.Module] = {}
        for role in ROLES:
            network, config = checkpoint.load(self.folder / role)
            if config["role"] != role or tuple(config["classes"]) != CLASSES:
                raise checkpoint.CheckpointError(
                    f"{self.folder / role} holds a {config['role']} of {len(config['classes'])} classes, "
                    f"not a {role} of CIFAR-10's ten: put the right checkpoint there"
                )
            self._networks[role] = network.to(memory_format=torch.channels_last)
            self.configs[role] = config
            self.parameters[role] = count_parameters(network)
        self.answer(Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE)))  # the first pass is the slowest: have it behind us

    @torch.inference_mode()
    def answer(self, image: Image.Image) -> dict[str, Answer]:
        """Let the three networks classify one image, each by its own checkpoint's normalisation.

        Args:
            image: RGB, 32 x 32 (see `to_network_size`).
        """
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        answers = {}
        for role, network in self._networks.items():
            started = time.perf_counter()
            images = normalise(pixels, checkpoint.normalisation_of(self.configs[role]))
            logits = network(images.contiguous(memory_format=torch.channels_last))[0]
            answers[role] = Answer(logits.tolist(), (time.perf_counter() - started) * 1000)
        return answers

    def classify(self, photo: Image.Image, temperature: float) -> dict:
        """Classify a photo: the answer of the endpoint `/classify`.

        Args:
            photo: RGB, any size.
            temperature: T, `MIN_TEMPERATURE` to `MAX_TEMPERATURE`.

        Returns:
            {"classes": [10 names], "temperature": T, "models": {role: {"logits": [10],
            "probabilities": [10] at T = 1, "softened": [10] at T, "label": str,
            "confidence": float, "milliseconds": float}}}

        Raises:
            ValueError: a temperature out of range.
        """
        if not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:  # false for NaN as well
            raise ValueError(f"temperature {temperature} is not between {MIN_TEMPERATURE} and {MAX_TEMPERATURE:g}")
        models = {}
        for role, answer in self.answer(to_network_size(photo)).items():
            logits = torch.tensor(answer.logits, dtype=torch.float64)
            probabilities = logits.softmax(0).tolist()
            best = max(range(len(CLASSES)), key=probabilities.__getitem__)
            models[role] = {
                "logits": answer.logits,
                "probabilities": probabilities,
                "softened": (logits / temperature).softmax(0).tolist(),
                "label": CLASSES[best],
                "confidence": probabilities[best],
                "milliseconds": round(answer.milliseconds, 3),
            }
        return {"classes": list(CLASSES), "temperature": temperature, "models": models}
