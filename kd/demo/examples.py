"""The examples beside the photo: ten images of CIFAR-10's test set, chosen by `python -m train.choose_examples`."""

from pathlib import Path

import gradio as gr

from kd.cifar10 import CLASSES
from kd.demo.seen import picture_url
from kd.inference import read_photo

EXAMPLES = [Path(__file__).parent / "examples" / f"{name}.png" for name in CLASSES]  # one of each class
FIRST_EXAMPLE = CLASSES.index("cat")

TEMPLATE = """<h2>Examples</h2>
{{#each value}}<button type="button" data-position="{{@index}}" title="{{name}}">
<img src="{{source}}" alt="{{name}}" width="44" height="44"></button>{{/each}}
<p>From CIFAR-10's test set (Krizhevsky, 2009), chosen because the networks see them differently.</p>"""

SCRIPT = """element.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button) trigger("example", { position: Number(button.dataset.position) });
});"""


def example_buttons() -> gr.HTML:
    """A button with the image for each example; it triggers `example` with a `position`.

    gr.Dataset would do the same, but its buttons have no names for screen readers.
    """
    value = [
        {"name": name, "source": picture_url(read_photo(path))} for name, path in zip(CLASSES, EXAMPLES, strict=True)
    ]
    return gr.HTML(value, html_template=TEMPLATE, js_on_load=SCRIPT, apply_default_css=False, elem_id="examples")
