"""What the networks see of a photo: which square of it, its 32 x 32 pixels, and a warning where they fit no class."""

import base64
import io
from typing import NamedTuple

import gradio as gr
from PIL import Image

from kd.inference import Crop
from kd.results import warning_rates

PREVIEW_SIDE = 576  # pixels; twice what the page gives a photo

MAX_NUMBER = 2**53  # what a browser can count exactly

WARNING = "This may be none of the ten classes, and the networks know no eleventh answer."


def warning(out_of_class: dict) -> str:
    """The warning, with how often it is right and wrong (`results.json`)."""
    return f"{WARNING} {warning_rates(out_of_class)}"


class Question(NamedTuple):
    """What the stage asks: another part of a photo.

    Attributes:
        file: where the upload lies.
        crop: the square; None is the whole photo.
        number: by which the stage knows its question again.
    """

    file: str
    crop: Crop | None
    number: int | None


def question(asked: object) -> Question:
    """Read what came as the data of the stage's event `crop`; whoever speaks HTTP can send anything in its place.

    Raises:
        gr.Error: it is none; the message is a sentence.
    """
    try:
        if not isinstance(asked, dict):
            raise ValueError("nothing was asked")
        file, whole, number = asked.get("file"), asked.get("whole"), asked.get("number")
        if not isinstance(file, str):
            raise ValueError("the photo has no name")
        if not isinstance(whole, bool):
            raise ValueError("it is neither the whole photo nor a square of it")
        if type(number) not in (int, type(None)) or abs(number or 0) > MAX_NUMBER:
            raise ValueError("its number is none")
        return Question(file, None if whole else _square(asked), number)
    except ValueError as error:
        raise gr.Error(f"The crop is wrong: {error}.", print_exception=False) from error


def _square(asked: dict) -> Crop:
    values = {name: asked.get(name) for name in ("across", "down", "side")}
    for name, value in values.items():
        if type(value) not in (int, float) or abs(value) > 1:
            raise ValueError(f"{name} is no number between 0 and 1")
    return Crop(**values)


def crop_value(crop: Crop | None) -> dict | None:
    """The crop as the stage takes it."""
    return {"across": crop.across, "down": crop.down, "side": crop.side} if crop else None


def picture_url(image: Image.Image) -> str:
    """An image as a `data:` URL, which puts it into the page without a file on the server."""
    return _data_url(image, "PNG")


def preview_url(photo: Image.Image) -> str:
    """A photo as a `data:` URL of a JPEG of at most `PREVIEW_SIDE` pixels a side: browsers do not show every format."""
    preview = photo.copy()
    preview.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return _data_url(preview, "JPEG", quality=85)


def _data_url(image: Image.Image, form: str, **options: object) -> str:
    content = io.BytesIO()
    image.save(content, form, **options)
    return f"data:image/{form.lower()};base64," + base64.b64encode(content.getvalue()).decode()
