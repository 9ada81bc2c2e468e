"""The page: layout and events. The live view is in live_view.py and live/."""

import io
import os
from functools import partial
from pathlib import Path

import gradio as gr
import torch
from PIL import Image

from kd import checkpoint
from kd.cifar10 import CLASSES
from kd.demo import figures
from kd.demo.examples import EXAMPLES, FIRST_EXAMPLE, example_buttons, png_url
from kd.demo.live_view import live_view
from kd.inference import MAX_FILE_BYTES, PhotoError, Trio, read_photo, to_network_size
from kd.models import ARCHITECTURES
from kd.recipe import ROLES
from kd.results import ROLE_NAMES, read_results, results_table, training_sentences

HERE = Path(__file__).parent
CACHE_SECONDS = 3600  # how long Gradio keeps an upload
QUEUE = 100  # visitors who may wait; one more is told to come back later

INTRODUCTION = """# Dark Knowledge
**Drag the temperature** to see what a large network's wrong answers say (a cat is a little like a dog and not at all
like a truck), then choose another example or upload a photo. A ResNet-50 (**teacher**) taught a MobileNetV2
(**distilled student**) through its softened outputs, softmax(z / T); a second one learnt **alone** from the labels."""

SEEN = """{{#if value}}<figure>
<img src="{{value}}" alt="The photo at 32 x 32 pixels">
<figcaption>What the networks see: 32 x 32 pixels</figcaption>
</figure>{{/if}}"""

NO_RESULTS = "No results have been measured for these checkpoints yet: `python -m train.evaluate` writes them."


def build_page(checkpoints: str | Path) -> gr.Blocks:
    """Load the three networks and build the page around them.

    Raises:
        CheckpointError: a checkpoint or the results beside them are missing or damaged.
    """
    # One image is too little work to share out: on a busy machine the threads wait for each other
    # longer than they compute. Visitors share the cores instead, one each.
    torch.set_num_threads(1)
    trio = Trio(checkpoints)
    first_photo = read_photo(EXAMPLES[FIRST_EXAMPLE])
    first_seen, first_live = show(trio, first_photo, CLASSES[FIRST_EXAMPLE])

    with gr.Blocks(
        title="Dark Knowledge", analytics_enabled=False, delete_cache=(CACHE_SECONDS, CACHE_SECONDS)
    ) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Three networks, one photo"):
            with gr.Row():
                with gr.Column(scale=1, min_width=280):
                    image = gr.Image(
                        str(EXAMPLES[FIRST_EXAMPLE]),
                        type="filepath",
                        sources=["upload", "clipboard", "webcam"],
                        height=260,
                        label="Photo",
                        elem_id="image",
                    )
                    examples = example_buttons()
                    seen = gr.HTML(first_seen, html_template=SEEN, apply_default_css=False, elem_id="seen")
                with gr.Column(scale=3, min_width=320):
                    live = live_view(first_live)
            gr.Markdown("## The teacher's ten probabilities over the temperature")
            # Empty until somebody comes to see it: Plotly is three times as large as all the rest.
            curves = gr.Plot(show_label=False, elem_id="curves")
        with gr.Tab("Results"):
            build_results(Path(checkpoints))
        gr.Markdown("How these networks were trained. " + training_sentences(trio.configs), elem_id="trained")

        connect(trio, image, examples, seen, live, curves)
        gr.api(endpoint(trio), api_name="classify")
    return page.queue(max_size=QUEUE, default_concurrency_limit=os.cpu_count())


def connect(trio: Trio, image: gr.Image, examples: gr.HTML, seen: gr.HTML, live: gr.HTML, curves: gr.Plot) -> None:
    """Let an upload or an example be answered in the live view. The temperature needs no event."""
    shown = gr.on(
        [image.input], partial(show_upload, trio), image, [seen, live],
        preprocess=False, show_progress="hidden", trigger_mode="always_last", api_visibility="private",
    )  # fmt: skip
    clicked, linked = (
        source.example(
            example_shower(trio), None, [image, seen, live],
            show_progress="hidden", trigger_mode="always_last", api_visibility="private",
        )
        for source in (examples, live)
    )  # fmt: skip
    for event in (shown, clicked, linked):
        # Nothing old may stand under an error.
        event.failure(lambda: (None, None, None), None, [seen, live, curves], api_visibility="private")
    live.curves(curves_of, live, curves, show_progress="hidden", trigger_mode="always_last", api_visibility="private")


def launch(page: gr.Blocks, **settings) -> None:
    """Serve the page; `settings` go to Gradio's launch()."""
    theme = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    page.launch(theme=theme, css_paths=[HERE / "page.css"], max_file_size=MAX_FILE_BYTES, ssr_mode=False, **settings)


def build_results(checkpoints: Path) -> None:
    """The results tab: the table and the training curves, read from the checkpoints' files."""
    results = read_results(checkpoints)
    table = results_table(results) if results else NO_RESULTS
    # On a phone the table is scrolled sideways, which takes the focus on the keyboard.
    gr.Markdown(f'<div tabindex="0">\n\n{table}\n</div>', sanitize_html=False, elem_id="results")
    histories = {role: checkpoint.read_history(checkpoints / role) for role in ROLES}
    gr.Markdown("## Accuracy while training")
    gr.Plot(figures.training_curves(histories), show_label=False, elem_id="training-curves")


def show(trio: Trio, photo: Image.Image, example: str | None = None) -> tuple[str, dict]:
    """What the page shows of a photo: the picture that the networks see, as an URL, and the live view's value.

    Args:
        example: the true class, by which a link names an example; None for a visitor's photo.
    """
    seen, png = to_network_size(photo), io.BytesIO()
    seen.save(png, "PNG")
    live = trio.classify(seen, temperature=1.0)
    live |= {"example": example, "soft_weight": trio.configs["distilled"]["recipe"]["soft_weight"]}
    for role, model in live["models"].items():
        config = trio.configs[role]
        model |= {
            "name": ROLE_NAMES[role],
            "architecture": ARCHITECTURES[config["architecture"]],
            "parameters": f"{trio.parameters[role] / 1e6:.1f} M",
            "size": f"{checkpoint.weight_bytes(config) / 1e6:.1f} MB",
        }
    return png_url(png.getvalue()), live


def show_upload(trio: Trio, upload: dict | None) -> tuple[str | None, dict | None]:
    """Answer an upload. Gradio hands over the file as it came, so that our own reader can judge it."""
    if not upload:
        return None, None
    return show(trio, photo_or_sentence(upload["path"]))


def example_shower(trio: Trio):
    """Makes what answers a click on an example, or a link to one. (Gradio reads its annotation: no partial.)"""

    def show_example(chosen: gr.EventData) -> tuple[str, str, dict]:
        path = EXAMPLES[chosen.position]
        return str(path), *show(trio, read_photo(path), CLASSES[chosen.position])

    return show_example


def curves_of(live: dict | None):
    """The figure of curves for the live view's value; nothing where it shows nothing."""
    return figures.curves_over_temperature(live["models"]["teacher"]["logits"]) if live else None


def endpoint(trio: Trio):
    """The endpoint `/classify`."""

    def classify(image: gr.FileData, temperature: float = 4.0) -> dict:
        """Classify an image file with the three networks and soften their answers.

        Args:
            image: an image file of any size and nearly any format.
            temperature: T of the softened distributions, .01 to 1000.

        Returns:
            The ten classes, the temperature, and for each of teacher, student and distilled its
            logits, probabilities (T = 1), softened probabilities (T), label, confidence, milliseconds.
        """
        photo = photo_or_sentence(image["path"])
        try:
            return trio.classify(photo, float(temperature))
        except (TypeError, ValueError) as error:
            raise gr.Error(f"The temperature is wrong: {error}.", print_exception=False) from error

    return classify


def photo_or_sentence(path: str) -> Image.Image:
    """Read a photo, or say to the visitor in one sentence why that cannot be done."""
    try:
        return read_photo(path)
    except PhotoError as error:
        raise gr.Error(str(error), print_exception=False) from error
