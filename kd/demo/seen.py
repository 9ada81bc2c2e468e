"""What the networks see of a photo: which square of it, its 32 x 32 pixels, and a warning where they fit no class."""

import base64
import io

import gradio as gr
from PIL import Image

from kd.inference import Crop
from kd.results import warning_rates

PREVIEW_SIDE = 576  # pixels; twice what the page gives a photo

WARNING = "This may be none of the ten classes, and the networks know no eleventh answer."


def warning(out_of_class: dict) -> str:
    """The warning, with how often it is right and wrong (`results.json`)."""
    return f"{WARNING} {warning_rates(out_of_class)}"


def chosen_crop(chosen: object) -> Crop | None:
    """The crop that the stage asks for, {"whole", "across", "down", "side"}; None is the whole photo.

    Raises:
        gr.Error: it is none.
    """
    try:
        return None if chosen["whole"] else Crop(chosen["across"], chosen["down"], chosen["side"])
    except (LookupError, TypeError, ValueError) as error:
        raise gr.Error(f"The crop is wrong: {error}.", print_exception=False) from error


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
