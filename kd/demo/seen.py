"""What the networks see of a photo: which square of it, its 32 x 32 pixels, and a warning where they fit no class."""

import base64
import io

import gradio as gr
from PIL import Image

from kd.inference import CENTRE, Crop

CENTRE_SQUARE, WHOLE_PHOTO, OWN_SQUARE = "Centre square", "Whole photo", "A square of your own"
START = Crop(side=0.6)  # a square that can be moved both ways in any photo

TEMPLATE = """{{#if value}}<figure>
<img src="{{value.picture}}" alt="The photo at 32 x 32 pixels">
<figcaption>What the networks see: 32 x 32 pixels</figcaption>
</figure>
{{#if value.warning}}<p id="out-of-class" role="status">{{value.warning}}</p>{{/if}}{{/if}}"""

WARNING = (
    "This may be none of the ten classes: the teacher finds less of them here than in nearly all photos of CIFAR-10. "
    "The networks know no eleventh answer."
)


def build_seen(value: dict | None) -> tuple[gr.HTML, list[gr.components.Component]]:
    """The picture that the networks see, and below it the controls of the crop.

    Returns:
        The picture's component, whose value `seen_value` makes, and the components whose values `chosen_crop` takes.
    """
    seen = gr.HTML(value, html_template=TEMPLATE, apply_default_css=False, elem_id="seen")
    choice = gr.Radio(
        [CENTRE_SQUARE, WHOLE_PHOTO, OWN_SQUARE], value=CENTRE_SQUARE, label="Part of the photo", elem_id="crop"
    )
    with gr.Column(visible=False) as own:
        across = gr.Slider(0, 1, START.across, step=0.01, label="Across", elem_id="crop-across")
        down = gr.Slider(0, 1, START.down, step=0.01, label="Down", elem_id="crop-down")
        side = gr.Slider(Crop.MIN_SIDE, 1, START.side, step=0.01, label="Size", elem_id="crop-side")
    choice.change(
        lambda chosen: gr.Column(visible=chosen == OWN_SQUARE), choice, own,
        queue=False, show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    return seen, [choice, across, down, side]


def chosen_crop(choice: str, across: float, down: float, side: float) -> Crop | None:
    """The crop that the controls stand for; None is the whole photo."""
    if choice == OWN_SQUARE:
        try:
            return Crop(across, down, side)
        except (TypeError, ValueError) as error:
            raise gr.Error(f"The crop is wrong: {error}.", print_exception=False) from error
    return None if choice == WHOLE_PHOTO else CENTRE


def seen_value(image: Image.Image, fits_no_class: bool) -> dict:
    """What the picture's component shows.

    Args:
        image: RGB, 32 x 32.
        fits_no_class: whether to warn that the photo is unlikely to show any of the ten classes.
    """
    return {"picture": picture_url(image), "warning": WARNING if fits_no_class else None}


def picture_url(image: Image.Image) -> str:
    """An image as a `data:` URL, which puts it into the page without a file on the server."""
    png = io.BytesIO()
    image.save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
