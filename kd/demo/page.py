"""The page: layout and events. The stage, its first tab, is in stage_view.py and stage/."""

from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path

import gradio as gr
import torch
from PIL import Image

from kd import checkpoint
from kd.cifar10 import CLASSES, IMAGE_SIZE
from kd.demo.crowd import ENDPOINT, QUEUE, SESSIONS, SINGLE_PHOTO, cores, keep_no_free_memory
from kd.demo.door import behind_door
from kd.demo.endpoint import DESCRIPTION, endpoint
from kd.demo.examples import EXAMPLES, first_example
from kd.demo.gallery import build_gallery
from kd.demo.results_tab import build_results
from kd.demo.seen import crop_value, picture_url, preview_url, question, warning
from kd.demo.stage_view import stage_view
from kd.demo.unseen_tab import build_unseen
from kd.demo.uploads import CACHE_SECONDS, SWEEP_SECONDS, photo_or_sentence
from kd.inference import CENTRE, MAX_FILE_BYTES, Crop, Trio, read_photo, to_network_size
from kd.models import ARCHITECTURES
from kd.recipe import ROLES
from kd.results import ROLE_NAMES, read_results, training_sentences

HERE = Path(__file__).parent

TITLE = """# Dark Knowledge
What a large network knows beyond its answer, and a small one learns from it"""
# What stands where an answer should, when none came: the queue was full, or the connection was lost.
NO_ANSWER = '() => ({problem: "No answer came: too many visitors, or the connection was lost. Please try again."})'


def build_page(checkpoints: str | Path) -> gr.Blocks:
    """Load the three networks and build the page around them.

    Raises:
        CheckpointError: a checkpoint or the results beside them are missing or damaged.
    """
    # One image is too little work to share out: on a busy machine the threads wait for each other
    # longer than they compute. Visitors share the cores instead, one each.
    torch.set_num_threads(1)
    keep_no_free_memory()
    trio = Trio(checkpoints)
    examples = [show(trio, read_photo(path), example=name) for path, name in zip(EXAMPLES, CLASSES, strict=True)]
    taught_at = trio.configs["distilled"]["recipe"]["temperature"]
    first = first_example([example["models"]["teacher"]["logits"] for example in examples], taught_at)

    with gr.Blocks(
        title="Dark Knowledge", analytics_enabled=False, delete_cache=(SWEEP_SECONDS, CACHE_SECONDS)
    ) as page:
        gr.Markdown(TITLE, elem_id="title")
        with gr.Tab("One photo"):
            with stage_view(examples, first, taught_at, what_to_expect(Path(checkpoints))) as stage:
                image = gr.Image(
                    type="filepath",
                    sources=["upload", "clipboard", "webcam"],
                    show_label=False,
                    buttons=[],
                    elem_id="image",
                )
        with gr.Tab("Many images"):
            build_gallery(trio)
        with gr.Tab("Results"):
            build_results(Path(checkpoints))
        build_unseen(trio, Path(checkpoints))
        gr.Markdown("How these networks were trained. " + training_sentences(trio.configs), elem_id="trained")

        connect(trio, image, stage)
        gr.api(endpoint(trio), api_name="classify", api_description=DESCRIPTION, **ENDPOINT)
    return page.queue(max_size=QUEUE, default_concurrency_limit=cores())


def what_to_expect(checkpoints: Path) -> str:
    """The sentences under the photo: what the networks see, and how often they are right, where it was measured."""
    results = read_results(checkpoints)
    seen = f"{IMAGE_SIZE} × {IMAGE_SIZE} pixels are all that the networks see."
    if not results:
        return seen
    accuracy = {role: results["models"][role]["accuracy"] for role in ROLES}
    return (
        f"{seen} On CIFAR-10's test images the teacher is right {accuracy['teacher']:.0%} of the time, the student "
        f"alone {accuracy['student']:.0%}, the distilled student {accuracy['distilled']:.0%}: expect less on your own "
        f"photos. The examples are test images (Krizhevsky, 2009), one of each class, drawn with a fixed seed."
    )


def connect(trio: Trio, image: gr.Image, stage: gr.HTML) -> None:
    """Let an upload and another crop of it be answered on the stage. Temperature and examples need no event."""
    settings = {"show_progress": "hidden", "api_visibility": "private"}
    uploaded = image.input(
        or_problem(partial(show_upload, trio)), image, stage, preprocess=False, trigger_mode="always_last",
        **settings, **SINGLE_PHOTO,
    )  # fmt: skip
    # The stage itself waits for an answer before it asks for another crop, but not until Gradio is done with it.
    cropped = stage.crop(crop_shower(trio), None, stage, trigger_mode="multiple", **settings, **SINGLE_PHOTO)
    for event in (uploaded, cropped):
        event.failure(None, None, stage, js=NO_ANSWER, api_visibility="private")
    image.clear(None, None, stage, js="() => null", **settings)
    stage.example(None, None, image, js="() => null", **settings)


def launch(page: gr.Blocks, **settings) -> None:
    """Serve the page; `settings` go to Gradio's launch()."""
    theme = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    page.launch(
        theme=theme, css_paths=[HERE / "page.css"], max_file_size=MAX_FILE_BYTES, ssr_mode=False,
        state_session_capacity=SESSIONS, **behind_door(page), **settings,
    )  # fmt: skip


def show(
    trio: Trio,
    photo: Image.Image,
    crop: Crop | None = CENTRE,
    example: str | None = None,
    file: str | None = None,
    with_photo: bool = True,
) -> dict:
    """What the stage shows of a photo: the answer of the endpoint at T = 1, and what the page adds to it.

    Args:
        crop: which part of the photo; None is all of it.
        example: the true class, by which a link names an example; None for a visitor's photo.
        file: a visitor's upload, by which the stage asks for another part of it.
        with_photo: whether the stage needs the photo itself; it has it when it asks for another part.
    """
    seen = to_network_size(photo, crop)
    answer = trio.classify(seen, temperature=1.0)
    # Around the whole photo are margins, which no photo has: whether it looks like one is asked of its middle.
    strange = trio.fits_no_class(answer["models"]["teacher"]["logits"], seen if crop else to_network_size(photo))
    for role, model in answer["models"].items():
        config = trio.configs[role]
        model |= {
            "name": ROLE_NAMES[role],
            "architecture": ARCHITECTURES[config["architecture"]],
            "parameters": f"{trio.parameters[role] / 1e6:.1f} M",
            "size": f"{checkpoint.weight_bytes(config) / 1e6:.1f} MB",
        }
    return answer | {
        "example": example,
        "file": file,
        "photo": preview_url(photo) if file and with_photo else None,
        "width": photo.width,
        "height": photo.height,
        "crop": crop_value(crop),
        "picture": picture_url(seen),
        "warning": warning(trio.out_of_class) if strange else None,
        "soft_weight": trio.configs["distilled"]["recipe"]["soft_weight"],
    }


def show_upload(trio: Trio, upload: dict | None) -> dict | None:
    """Answer an upload. Gradio hands over the file as it came, so that our own reader can judge it."""
    return show(trio, photo_or_sentence(upload), file=upload["path"]) if upload else None


def crop_shower(trio: Trio) -> Callable:
    """Makes what answers another part of an upload. (Gradio reads its annotation: no partial.)"""

    def show_crop(chosen: gr.EventData) -> dict:
        asked = question(chosen._data)
        photo = photo_or_sentence({"path": asked.file})
        return show(trio, photo, asked.crop, file=asked.file, with_photo=False) | {"number": asked.number}

    return or_problem(show_crop)


def or_problem(answer: Callable) -> Callable:
    """The same function, whose sentence for the visitor becomes the stage's: a toast would vanish."""

    @wraps(answer)
    def answer_or_problem(*inputs):
        try:
            return answer(*inputs)
        except gr.Error as error:
            return {"problem": error.message}

    return answer_or_problem
