"""The page: layout and events. The live view is in live_view.py and live/."""

from functools import partial
from pathlib import Path

import gradio as gr
import torch
from PIL import Image

from kd import checkpoint
from kd.cifar10 import CLASSES
from kd.demo import figures
from kd.demo.crowd import ENDPOINT, QUEUE, SESSIONS, SINGLE_PHOTO, cores
from kd.demo.door import behind_door
from kd.demo.endpoint import DESCRIPTION, endpoint
from kd.demo.examples import EXAMPLES, FIRST_EXAMPLE, example_buttons
from kd.demo.gallery import build_gallery
from kd.demo.live_view import live_view
from kd.demo.results_tab import build_results
from kd.demo.seen import build_seen, chosen_crop, seen_value
from kd.demo.unseen_tab import build_unseen
from kd.demo.uploads import CACHE_SECONDS, SWEEP_SECONDS, photo_or_sentence
from kd.inference import CENTRE, MAX_FILE_BYTES, Crop, Trio, read_photo, to_network_size
from kd.models import ARCHITECTURES
from kd.results import ROLE_NAMES, training_sentences

HERE = Path(__file__).parent

INTRODUCTION = """# Dark Knowledge
**Drag the temperature** to see what a large network's wrong answers say (a cat is a little like a dog and not at all
like a truck), then choose another example or upload a photo. A ResNet-50 (**teacher**) taught a MobileNetV2
(**distilled student**) through its softened outputs, softmax(z / T); a second one learnt **alone** from the labels."""


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
    first_seen, first_live = show(trio, first_photo, example=CLASSES[FIRST_EXAMPLE])

    with gr.Blocks(
        title="Dark Knowledge", analytics_enabled=False, delete_cache=(SWEEP_SECONDS, CACHE_SECONDS)
    ) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("One photo"):
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
                    seen, crop = build_seen(first_seen)
                with gr.Column(scale=3, min_width=320):
                    live = live_view(first_live)
            gr.Markdown("## The teacher's ten probabilities over the temperature")
            # Empty until somebody comes to see it: Plotly is three times as large as all the rest.
            curves = gr.Plot(show_label=False, elem_id="curves")
        with gr.Tab("Many images"):
            build_gallery(trio)
        with gr.Tab("Results"):
            build_results(Path(checkpoints))
        build_unseen(trio, Path(checkpoints))
        gr.Markdown("How these networks were trained. " + training_sentences(trio.configs), elem_id="trained")

        connect(trio, image, examples, crop, seen, live, curves)
        gr.api(endpoint(trio), api_name="classify", api_description=DESCRIPTION, **ENDPOINT)
    return page.queue(max_size=QUEUE, default_concurrency_limit=cores())


def connect(
    trio: Trio, image: gr.Image, examples: gr.HTML, crop: list, seen: gr.HTML, live: gr.HTML, curves: gr.Plot
) -> None:
    """Let an upload, an example or another crop be answered in the live view. The temperature needs no event."""
    settings = {"show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"} | SINGLE_PHOTO
    uploaded = image.input(partial(show_upload, trio), [image, *crop], [seen, live], preprocess=False, **settings)
    moved = gr.on(
        [control.change for control in crop],
        partial(show_crop, trio), [image, live, *crop], [seen, live], preprocess=False, **settings,
    )  # fmt: skip
    clicked, linked = (
        source.example(example_shower(trio), crop, [image, seen, live], **settings) for source in (examples, live)
    )
    for event in (uploaded, moved, clicked, linked):
        # Nothing old may stand under an error.
        event.failure(lambda: (None, None, None), None, [seen, live, curves], api_visibility="private")
    live.curves(curves_of, live, curves, show_progress="hidden", trigger_mode="always_last", api_visibility="private")


def launch(page: gr.Blocks, **settings) -> None:
    """Serve the page; `settings` go to Gradio's launch()."""
    theme = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    page.launch(
        theme=theme, css_paths=[HERE / "page.css"], max_file_size=MAX_FILE_BYTES, ssr_mode=False,
        state_session_capacity=SESSIONS, **behind_door(page), **settings,
    )  # fmt: skip


def show(trio: Trio, photo: Image.Image, crop: Crop | None = CENTRE, example: str | None = None) -> tuple[dict, dict]:
    """What the page shows of a photo: the value of the picture that the networks see, and the live view's.

    Args:
        crop: which part of the photo; None is all of it.
        example: the true class, by which a link names an example; None for a visitor's photo.
    """
    seen = to_network_size(photo, crop)
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
    return seen_value(seen, trio.fits_no_class(live["models"]["teacher"]["logits"])), live


def show_upload(trio: Trio, upload: dict | None, *crop) -> tuple[dict | None, dict | None]:
    """Answer an upload. Gradio hands over the file as it came, so that our own reader can judge it."""
    if not upload:
        return None, None
    return show(trio, photo_or_sentence(upload), chosen_crop(*crop))


def show_crop(trio: Trio, upload: dict | None, live: dict | None, *crop) -> tuple[dict | None, dict | None]:
    """Answer the photo anew, from another part of it; an example stays one."""
    if not upload:
        return None, None
    return show(trio, photo_or_sentence(upload), chosen_crop(*crop), live["example"] if live else None)


def example_shower(trio: Trio):
    """Makes what answers a click on an example, or a link to one. (Gradio reads its annotation: no partial.)"""

    def show_example(choice, across, down, side, chosen: gr.EventData) -> tuple[str, dict, dict]:
        path, crop = EXAMPLES[chosen.position], chosen_crop(choice, across, down, side)
        return str(path), *show(trio, read_photo(path), crop, CLASSES[chosen.position])

    return show_example


def curves_of(live: dict | None):
    """The figure of curves for the live view's value; nothing where it shows nothing."""
    return figures.curves_over_temperature(live["models"]["teacher"]["logits"]) if live else None
