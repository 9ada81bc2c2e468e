"""The live view: the part of the page that answers while the hand moves, joined from the files in live/.

All of it runs in the browser. Its value is what the endpoint `/classify` says of an image, and what the page
adds to it (`page.show`).
"""

from pathlib import Path

import gradio as gr

from kd.cifar10 import CLASSES
from kd.demo.figures import MAX_TEMPERATURE, MIN_TEMPERATURE
from kd.recipe import Recipe

LIVE = Path(__file__).parent / "live"
# In this order they are one function: a later one may use what an earlier one defines, and live.js starts it all.
SCRIPTS = ("elements", "mathematics", "temperature", "chart", "loss", "address", "saving", "connection", "live")


def live_view(value: dict) -> gr.HTML:
    """The component; it triggers `example` (with a `position`) and `curves` when it wants them.

    Args:
        value: what it shows at first: an example.
    """
    return gr.HTML(
        value,
        html_template=(LIVE / "live.html").read_text("utf-8"),
        css_template=(LIVE / "live.css").read_text("utf-8"),
        js_on_load="\n".join((LIVE / f"{name}.js").read_text("utf-8") for name in SCRIPTS),
        apply_default_css=False,
        elem_id="live",
        min_temperature=MIN_TEMPERATURE,
        max_temperature=MAX_TEMPERATURE,
        start_temperature=Recipe.temperature,
        examples=CLASSES,  # a link names an example by its true class
        first_example=value["example"],
    )
