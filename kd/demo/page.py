"""The page: layout and events. The live view itself is live.html, live.css and live.js beside this file."""

from functools import partial
from pathlib import Path

import gradio as gr
import torch
from PIL import Image

from kd import checkpoint
from kd.cifar10 import CLASSES
from kd.demo import figures
from kd.demo.crowd import QUEUE, SESSIONS, SINGLE_PHOTO, cores
from kd.demo.endpoint import DESCRIPTION, endpoint
from kd.demo.gallery import build_gallery
from kd.demo.seen import build_seen, chosen_crop, seen_value
from kd.demo.uploads import photo_or_sentence
from kd.inference import CENTRE, MAX_FILE_BYTES, Crop, Trio, read_photo, to_network_size
from kd.models import ARCHITECTURES
from kd.recipe import ROLES
from kd.results import ROLE_NAMES, read_results, results_table, training_sentences

HERE = Path(__file__).parent
EXAMPLES = [HERE / "examples" / f"{name}.png" for name in CLASSES]
FIRST_EXAMPLE = CLASSES.index("cat")
SWEEP_SECONDS, CACHE_SECONDS = 300, 1800  # how often old uploads are removed, and how old that is

INTRODUCTION = """# Dark Knowledge
A large network's wrong answers say what it has learnt: that a cat is a little like a dog and not at all like a truck.
Here a ResNet-50 (**teacher**) taught a MobileNetV2 (**distilled student**) through its softened outputs,
softmax(z / T); a second MobileNetV2 learnt **alone** from the labels. Upload a photo of one of CIFAR-10's ten classes
or choose an example, then drag the temperature."""

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
    first_seen, first_live = show(trio, first_photo)

    with gr.Blocks(
        title="Dark Knowledge", analytics_enabled=False, delete_cache=(SWEEP_SECONDS, CACHE_SECONDS)
    ) as page:
        gr.Markdown(INTRODUCTION)
        gr.Markdown("How these networks were trained. " + training_sentences(trio.configs), elem_id="trained")
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
                    examples = gr.Dataset(
                        components=[gr.Image(visible=False)],
                        samples=[[str(path)] for path in EXAMPLES],
                        type="index",
                        samples_per_page=len(EXAMPLES),
                        label="Examples, from CIFAR-10's test set",
                        elem_id="examples",
                    )
                    seen, crop = build_seen(first_seen)
                with gr.Column(scale=3, min_width=320):
                    live = gr.HTML(
                        first_live,
                        html_template=(HERE / "live.html").read_text("utf-8"),
                        css_template=(HERE / "live.css").read_text("utf-8"),
                        js_on_load=(HERE / "live.js").read_text("utf-8"),
                        apply_default_css=False,
                        elem_id="live",
                    )
            gr.Markdown("### The teacher's ten probabilities over the temperature")
            curves = gr.Plot(curves_of(first_live), show_label=False, elem_id="curves")
        with gr.Tab("Many images"):
            build_gallery(trio)
        with gr.Tab("Results"):
            build_results(Path(checkpoints))

        connect(trio, image, examples, crop, seen, live, curves)
        gr.api(endpoint(trio), api_name="classify", api_description=DESCRIPTION, **SINGLE_PHOTO)
    return page.queue(max_size=QUEUE, default_concurrency_limit=cores())


def connect(
    trio: Trio, image: gr.Image, examples: gr.Dataset, crop: list, seen: gr.HTML, live: gr.HTML, curves: gr.Plot
) -> None:
    """Let an upload, an example or another crop be answered in the live view. The temperature needs no event."""
    shown = gr.on(
        [image.input, *(control.change for control in crop)], partial(show_upload, trio), [image, *crop], [seen, live],
        preprocess=False, show_progress="hidden", trigger_mode="always_last", api_visibility="private", **SINGLE_PHOTO,
    )  # fmt: skip
    chosen = examples.click(
        partial(show_example, trio), [examples, *crop], [image, seen, live],
        show_progress="hidden", trigger_mode="always_last", api_visibility="private", **SINGLE_PHOTO,
    )  # fmt: skip
    for event in (shown, chosen):
        # The curves come second: they may take longer than the answer itself.
        event.success(curves_of, live, curves, show_progress="hidden", api_visibility="private")
        # Nothing old may stand under an error.
        event.failure(lambda: (None, None, None), None, [seen, live, curves], api_visibility="private")


def launch(page: gr.Blocks, **settings) -> None:
    """Serve the page; `settings` go to Gradio's launch()."""
    theme = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    page.launch(
        theme=theme, css_paths=[HERE / "page.css"], max_file_size=MAX_FILE_BYTES, ssr_mode=False,
        state_session_capacity=SESSIONS, **settings,
    )  # fmt: skip


def build_results(checkpoints: Path) -> None:
    """The results tab: the table and the training curves, read from the checkpoints' files."""
    results = read_results(checkpoints)
    gr.Markdown(results_table(results) if results else NO_RESULTS, elem_id="results")
    histories = {role: checkpoint.read_history(checkpoints / role) for role in ROLES}
    gr.Markdown("### Accuracy while training")
    gr.Plot(figures.training_curves(histories), show_label=False, elem_id="training-curves")


def show(trio: Trio, photo: Image.Image, crop: Crop | None = CENTRE) -> tuple[dict, dict]:
    """What the page shows of a photo: the value of the picture that the networks see, and the live view's."""
    seen = to_network_size(photo, crop)
    live = trio.classify(seen, temperature=1.0)
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


def show_example(trio: Trio, position: int, *crop) -> tuple[str, dict, dict]:
    """Answer a click on an example."""
    return str(EXAMPLES[position]), *show(trio, read_photo(EXAMPLES[position]), chosen_crop(*crop))


def curves_of(live: dict | None):
    """The figure of curves for the live view's value; nothing where it shows nothing."""
    return figures.curves_over_temperature(live["models"]["teacher"]["logits"]) if live else None
