"""The page: layout and events. The stage, its first tab, is in stage_view.py and stage/."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial, wraps
from pathlib import Path

import gradio as gr
import torch
from PIL import Image

from kd import checkpoint, cifar10
from kd.colours import stylesheet
from kd.dataset import MAX_EXAMPLES
from kd.demo.crop import question
from kd.demo.crowd import PHOTOS, QUEUE, SESSIONS, THREADS, cores
from kd.demo.door import behind_door
from kd.demo.endpoint import DESCRIPTION, endpoint
from kd.demo.examples import first_example, read_examples
from kd.demo.gallery import build_gallery
from kd.demo.omitted_class import TAB, TAB_ID, OmittedClass, build_game, read_game
from kd.demo.pictures import picture_url, preview_url
from kd.demo.recordings import Recorded, read_recorded
from kd.demo.results_tab import build_results
from kd.demo.stage_view import later_script, stage_view, warning
from kd.demo.uploads import (
    CACHE_SECONDS,
    SWEEP_SECONDS,
    announcing,
    keep_sweeping,
    nothing_came,
    path_of,
    sentences,
    turn_for,
)
from kd.demo.use_tab import build_use
from kd.inference import Trio
from kd.losses import OF_SOFT_TARGETS
from kd.memory import return_freed_memory
from kd.models import ROLE_NAMES, ROLES, architecture_name
from kd.photo import CENTRE, MAX_FILE_BYTES, Crop, read_photo
from kd.results import ANOTHER_TEACHER, amount, network_results, read_results, the_test_images

HERE = Path(__file__).parent

SWITCH_SECONDS = 0.0005  # after which a thread that computes in Python lets another one in; by default ten times that
TITLE = "<h1>Dark Knowledge</h1> <p>What a large network's doubts teach a small one</p>"
STAGE_TAB = "One photo"
OF_CROP = {"of_crop": True, "keeps": True}  # with a problem of a crop: the photo that is shown stays


def build_page(checkpoints: str | Path) -> gr.Blocks:
    """Load the three networks and build the page around them.

    Raises:
        CheckpointError: a checkpoint is missing or damaged; results that are cost their own part of the page alone.
    """
    # One image is too little work to share out: on a busy machine the threads wait for each other
    # longer than they compute. Visitors share the cores instead, one each.
    torch.set_num_threads(1)
    # A network gives up Python's lock at each of its hundred short operations, and waits for this interval whenever
    # the server's own thread has taken it meanwhile.
    sys.setswitchinterval(SWITCH_SECONDS)
    return_freed_memory()
    trio = Trio(checkpoints)
    omitted, no_game = read_game(trio.folder)
    with gr.Blocks(
        title="Dark Knowledge", analytics_enabled=False, delete_cache=(SWEEP_SECONDS, CACHE_SECONDS)
    ) as page:
        gr.HTML(TITLE, elem_id="title")
        with gr.Tabs(overflow_behavior="wrap"):  # a menu would hide tabs on a phone
            with gr.Tab(STAGE_TAB):
                stage, recorded = stage_of(trio, omitted)
                with stage:
                    image = gr.Image(
                        type="filepath",
                        sources=["upload", "clipboard", "webcam"],
                        show_label=False,
                        buttons=[],
                        elem_id="image",
                    )
            if omitted:
                build_game(omitted)
            elif no_game:
                with gr.Tab(TAB, elem_id=TAB_ID):
                    gr.Markdown(no_game)
            with gr.Tab("Many images"):
                gallery = build_gallery(trio, STAGE_TAB)
            build_results(trio.folder)
            build_use(trio)

        connect(trio, image, stage, gallery)
        stage.recordings(
            lambda: gr.update(recordings=recorded.views | {"script": later_script()}), None, stage,
            queue=False, trigger_mode="multiple", show_progress="hidden", api_visibility="private",
        )  # fmt: skip
        gr.api(endpoint(trio), api_name="classify", api_description=DESCRIPTION, **PHOTOS)
    return page.queue(max_size=QUEUE, default_concurrency_limit=cores())


def stage_of(trio: Trio, omitted: OmittedClass | None = None) -> tuple[gr.HTML, Recorded]:
    """The stage with what the networks say of the examples, and what it shows of recordings when it asks for them.

    It is the page's, and that of the page without a server (`kd.site`).
    """
    chosen = read_examples(trio.folder, trio.classes)
    examples = [show(trio, picture, example=name) for name, picture in chosen]
    taught_at = trio.configs["distilled"]["recipe"]["temperature"]
    recorded = read_recorded(trio.folder, examples)
    for sentence in recorded.missing:
        print(sentence, flush=True)
    first = first_example(
        [example["models"]["teacher"]["logits"] for example in examples],
        taught_at,
        [trio.classes.index(name) for name, _ in chosen],
    )
    game = {}
    if omitted:
        game = {"omitted_class": omitted.name, "game_tab": TAB, "another_teacher": omitted.another_teacher}
    alone, distilled = trio.configs["student"], trio.configs["distilled"]
    taught = {
        "taught_at": taught_at,
        "loss": distilled["recipe"]["loss"],
        "by_soft_targets": distilled["recipe"]["loss"] in OF_SOFT_TARGETS and distilled["recipe"]["soft_weight"] > 0,
        "alike": checkpoint.differ_in_loss_alone(alone, distilled),
    }
    note = note_of(trio)
    return stage_view(examples, trio.image_size, first, note, recorded, STAGE_TAB, **taught, **game), recorded


def note_of(trio: Trio) -> str:
    """What stands under the photo: what to expect of the networks, and what is not known of them."""
    note = what_to_expect(trio.folder, trio.configs)
    if trio.another_teacher:
        note += f" {ANOTHER_TEACHER}"
    if trio.warner is None:
        note += " No photo gets a warning, whatever it shows: what that takes was not measured for these networks."
    return note


def what_to_expect(checkpoints: Path, configs: dict[str, dict]) -> str:
    """The sentences under the photo: what the networks see, and how often they are right, where it was measured."""
    results, side = read_results(checkpoints), checkpoint.image_size_of(configs["teacher"])
    size = f"{side} × {side} pixels are all that the networks see."
    if not results or not all(network_results(results, config) for config in configs.values()):
        return size
    data = results["data"]["name"]
    source = " (Krizhevsky, 2009)" if data == cifar10.NAME else ""
    accuracy = {role: results["models"][role]["accuracy"] for role in ROLES}
    classes = len(configs["teacher"]["classes"])
    of_each = "one of each class" if classes <= MAX_EXAMPLES else f"of {MAX_EXAMPLES} classes one each"
    return (
        f"{size} On {the_test_images(data)} the teacher is right {accuracy['teacher']:.1%} of the time, the student "
        f"alone {accuracy['student']:.1%}, the distilled student {accuracy['distilled']:.1%}: expect less on your own "
        f"photos. The examples are test images{source}, {of_each}, drawn with a fixed seed."
    )


def connect(trio: Trio, image: gr.Image, stage: gr.HTML, gallery: gr.HTML) -> None:
    """Let an upload, another crop of it and a row of the gallery be shown on the stage.

    Temperature and examples need no event.
    """
    settings = {"show_progress": "hidden", "api_visibility": "private"}
    image.input(None, image, None, js=announcing("photo"), trigger_mode="multiple", **settings)
    image.clear(None, None, None, js=announcing("photo"), trigger_mode="multiple", **settings)
    uploaded = image.input(
        partial(show_upload, trio), image, stage, preprocess=False, trigger_mode="always_last", **settings, **PHOTOS
    )
    # The stage itself waits for what one crop shows before it asks for another, but not until Gradio is done with it.
    cropped = stage.crop(crop_shower(trio), None, stage, trigger_mode="multiple", **settings, **PHOTOS)
    # Gradio takes the events of one trigger in turn. The stage itself leaves out what is not wanted any more; by
    # "always_last" Gradio would repeat the first row's question in place of the last one's.
    gallery.open(None, None, image, js="() => null", trigger_mode="multiple", **settings)
    opened = gallery.open(opener(trio), None, stage, trigger_mode="multiple", **settings, **PHOTOS)
    for event in (uploaded, opened):
        event.failure(None, None, stage, js=nothing_came(), api_visibility="private")
    cropped.failure(None, None, stage, js=nothing_came(**OF_CROP), api_visibility="private")
    image.clear(None, None, stage, js="() => null", **settings)
    stage.example(None, None, image, js="() => null", **settings)


def launch(page: gr.Blocks, **settings) -> None:
    """Serve the page; `settings` go to Gradio's launch()."""
    keep_sweeping()  # at once what an earlier process has left
    theme = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    page.launch(
        theme=theme, css=stylesheet(), css_paths=[HERE / "page.css", HERE / "claims.css"], max_file_size=MAX_FILE_BYTES,
        ssr_mode=False, state_session_capacity=SESSIONS, max_threads=THREADS, **behind_door(page), **settings,
    )  # fmt: skip


def show(
    trio: Trio,
    photo: Image.Image,
    crop: Crop | None = CENTRE,
    example: str | None = None,
    file: str | None = None,
    with_photo: bool = True,
) -> dict:
    """What the stage shows of a photo: what `/classify` returns at T = 1, and what the page adds to it.

    All of it takes a while, and belongs into a turn.

    Args:
        crop: which part of the photo; None is all of it.
        example: the true class, by which a link names an example; None for a visitor's photo.
        file: a visitor's upload, by which the stage asks for another part of it.
        with_photo: whether the stage needs the photo itself; it has it when it asks for another part.
    """
    network_input = trio.network_input(photo, crop)
    (shown,) = trio.classify_all([network_input], temperature=1.0)
    # Margins would make any photo unlike one: its contrasts are those of its middle.
    # An example shows what its name says.
    middle = network_input if crop else trio.network_input(photo)
    strange = not example and trio.fits_no_class(shown["models"]["teacher"]["logits"], middle)
    for role, model in shown["models"].items():
        config = trio.configs[role]
        del model["probabilities"], model["softened"]  # the stage computes them
        model |= {
            "name": ROLE_NAMES[role],
            "architecture": architecture_name(config["architecture"]),
            "parameters": amount(trio.parameters[role]),
            "size": f"{amount(checkpoint.weight_bytes(config))}B",
        }
    return shown | {
        "example": example,
        "file": file,
        "photo": preview_url(photo) if file and with_photo else None,
        "width": photo.width,
        "height": photo.height,
        "crop": asdict(crop) if crop else None,
        "picture": picture_url(network_input),
        "warning": warning(trio.out_of_class) if strange else None,
        "soft_weight": trio.configs["distilled"]["recipe"]["soft_weight"],
    }


def show_upload(trio: Trio, upload: dict | None) -> dict | None:
    """Show an upload, or why it cannot be. Gradio hands over the file as it came, so that our own reader judges it."""
    if not upload:
        return None

    def show_file() -> dict:
        with sentences(), turn_for(upload) as path:
            return show(trio, read_photo(path), file=path)

    return or_problem(show_file, file=path_of(upload))()


def crop_shower(trio: Trio) -> Callable:
    """Makes what shows another part of an upload. (Gradio reads its annotation: no partial.)"""

    def show_crop(chosen: gr.EventData) -> dict:
        asked = question(chosen._data)

        def show_asked() -> dict:
            with sentences(), turn_for({"path": asked.file}) as path:
                return show(trio, read_photo(path), asked.crop, file=path, with_photo=False)

        return or_problem(show_asked, **OF_CROP)() | {"number": asked.number}

    return or_problem(show_crop, **OF_CROP)


def opener(trio: Trio) -> Callable:
    """Makes what shows a row of the gallery."""

    def show_row(chosen: gr.EventData) -> dict:
        row = chosen._data if isinstance(chosen._data, dict) else {}
        return show_upload(trio, {"path": row.get("file")})

    return show_row


def or_problem(handler: Callable, **more) -> Callable:
    """The same function, but what it refuses (`gr.Error`) it returns for the stage to show, with `more` beside it.

    A toast would vanish.
    """

    @wraps(handler)
    def handler_or_problem(*inputs):
        try:
            return handler(*inputs)
        except gr.Error as error:
            # Gradio tells the stage of a value only if it is unlike the last one.
            return {"problem": error.message, "at": time.time(), **more}

    return handler_or_problem
