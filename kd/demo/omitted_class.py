"""The tab "A class it never saw", a game: how many images of a class will a student name that was never shown one?

The view itself is in game/. The logits of its six images are computed once, here, and the browser gets them when the
tab is first opened; bets, cards and the correction of the bias need no server. What asks for those of a visitor's own
picture is `build_game` here, and elsewhere kd/site/own.js.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import gradio as gr
import torch
from PIL import Image

from kd import checkpoint
from kd.checkpoint import CheckpointError
from kd.classifier import Classifier
from kd.demo.crowd import PHOTOS, TURNS
from kd.demo.examples import game_pictures
from kd.demo.pictures import picture_url
from kd.demo.stage_view import script, style
from kd.demo.uploads import announcing, nothing_came, path_of, read_upload
from kd.inference import pixels_of
from kd.photo import PhotoError, to_network_size
from kd.studies.declared import caution_of
from kd.studies.ledger import STUDIES_FOLDER, read_studies
from kd.studies.omitted_class import (
    CONTROL_FOLDER,
    FOLDER,
    Found,
    OmittedClassRun,
    is_of,
    omitted_class_of,
    study_of,
)

GAME = Path(__file__).parent / "game"
TAB, TAB_ID = "A class it never saw", "omitted-class"  # its label, and its name in the page
_log = logging.getLogger(__name__)


class OmittedClass(NamedTuple):
    """A student with an omitted class, and the control that had the labels alone.

    Attributes:
        name: the class.
        chosen: by which rule the game's pictures were chosen.
        pictures: these, RGB, of the networks' size; none was in any training.
        student, control: the networks; the control may not ship.
        found: what a study measured of both; the control may not have been run, or be another one than that.
        another_teacher: whether another teacher than the one beside it taught the student.
    """

    name: str
    chosen: str
    pictures: list[Image.Image]
    student: Classifier
    control: Classifier | None
    found: Found
    another_teacher: bool

    @property
    def networks(self) -> dict[str, Classifier]:
        """Those that ship, by the names under which the game has their logits."""
        return {"student": self.student} | ({"control": self.control} if self.control else {})


class NoGameError(Exception):
    """Why there is no game about a student that ships, and the way out: in sentences."""


def read_game(checkpoints: Path) -> tuple[OmittedClass | None, str | None]:
    """What the game is played with; or why it is left out, which the log says too. Neither where no student ships."""
    try:
        return read_omitted_class(checkpoints), None
    except NoGameError as error:
        reason = str(error)
    except CheckpointError as error:  # of the game's own networks: the page's three are there all the same
        reason = f"The game is left out: {error}."
    _log.warning(reason)
    return None, reason


def read_omitted_class(checkpoints: Path) -> OmittedClass | None:
    """What the folder holds of a student with an omitted class; None where none ships.

    Raises:
        CheckpointError: a network is damaged, or the control is another one's.
        NoGameError: no study has measured the student, or there are no pictures of the class.
    """
    name = omitted_class_of(checkpoints)
    if name is None:
        return None
    student = Classifier.from_pretrained(checkpoints / FOLDER)
    found = study_of(student.config, read_studies(checkpoints))
    if found is None:
        raise NoGameError(
            f"The game of the class {name} is left out: no study that can be read has measured the student in "
            f"{FOLDER}/. Put the JSON of the one that did, python -m train.study, into {STUDIES_FOLDER}/ beside it, or "
            f"remove {FOLDER}/."
        )
    try:
        chosen, pictures = game_pictures(name, checkpoints)
    except CheckpointError as error:
        raise NoGameError(f"The game of the class {name} is left out: {error}.") from error
    pictures = [to_network_size(picture, image_size=student.image_size) for picture in pictures]
    control = None
    if (checkpoints / CONTROL_FOLDER).is_dir():
        control = Classifier.from_pretrained(checkpoints / CONTROL_FOLDER)
        of_control = (control.config["role"], control.config["data"].get("omitted_class"), control.config["classes"])
        if of_control != ("student", name, student.config["classes"]) or control.image_size != student.image_size:
            raise CheckpointError(
                f"{checkpoints / CONTROL_FOLDER} was not trained without the class {name} by the labels alone, on "
                f"images like those of {FOLDER}/: put the control of that student there, or remove the folder"
            )
        if found.control and not is_of(control.config, found.control):
            _log.warning("no study that can be read has measured %s: the game tells nothing of it", CONTROL_FOLDER)
            found = found._replace(control=None)
    another_teacher = not checkpoint.is_taught_by(student.config, checkpoint.load_config(checkpoints / "teacher"))
    return OmittedClass(name, chosen, pictures, student, control, found, another_teacher)


def measured(run: OmittedClassRun | None, network: Classifier | None) -> dict | None:
    """What the game tells of a run: the share of the omitted class's test images that it names before and after the
    correction of its bias, and the bias, which the network's own config.json holds where it ships."""
    if run is None:
        return None
    bias = network.config.get(checkpoint.BIAS, run.bias) if network else run.bias
    return {"before": run.before["omitted"], "after": run.after["omitted"], "bias": bias}


def build_game(omitted: OmittedClass) -> None:
    """The tab: the six cards, and a place for one's own pictures."""
    cards = cards_of(omitted, omitted.pictures)
    with gr.Tab(TAB, elem_id=TAB_ID):
        with game_view(omitted) as view:
            image = gr.Image(
                type="filepath", sources=["upload", "clipboard"], height=200, label="Your own picture",
                elem_id="game-image",
            )  # fmt: skip
        view.cards(
            lambda: gr.update(cards=cards), None, view,
            queue=False, trigger_mode="multiple", show_progress="hidden", api_visibility="private",
        )  # fmt: skip
        # The view itself leaves out the answer to a picture that is not wanted any more.
        for event in (image.input, image.clear):
            event(
                None, image, None, js=announcing("game picture"),
                trigger_mode="multiple", show_progress="hidden", api_visibility="private",
            )  # fmt: skip
        shown = image.input(
            lambda upload: card_of_upload(omitted, upload), image, view,
            preprocess=False, show_progress="hidden", trigger_mode="always_last", api_visibility="private",
            **PHOTOS,
        )  # fmt: skip
        shown.failure(None, None, view, js=nothing_came(), api_visibility="private")
        image.clear(None, None, view, js="() => null", show_progress="hidden", api_visibility="private")


def game_view(omitted: OmittedClass, cards: list[dict] | None = None) -> gr.HTML:
    """The component around a place for one's own pictures; triggers `cards` when it is first seen without any.

    It is the page's, and that of the page without a server (`kd.site`).
    """
    return gr.HTML(
        None,
        html_template=(GAME / "game.html").read_text("utf-8"),
        css_template=style(GAME / "game.css"),
        js_on_load=script("elements") + script("mathematics") + script("game", GAME),
        apply_default_css=False,
        elem_id="game",
        classes=omitted.student.config["classes"],
        omitted=omitted.name,
        measured={
            "student": measured(omitted.found.run, omitted.student),
            "control": measured(omitted.found.control, omitted.control),
        },
        chosen=omitted.chosen,
        caution=caution_of(omitted.found.study.study),
        alike=omitted.control is not None
        and checkpoint.differ_in_loss_alone(omitted.student.config, omitted.control.config),
        cards=cards,
        another_teacher=omitted.another_teacher,
    )


@torch.inference_mode()
def cards_of(omitted: OmittedClass, images: list[Image.Image]) -> list[dict]:
    """What the game shows of images.

    Args:
        images: RGB, of the networks' size.

    Returns:
        For each {"picture": URL, "logits": {"student": [10], "control": [10], where it ships}}.
    """
    pixels = pixels_of(images)
    logits = {name: network(pixels).tolist() for name, network in omitted.networks.items()}
    return [
        {"picture": picture_url(image), "logits": {name: rows[place] for name, rows in logits.items()}}
        for place, image in enumerate(images)
    ]


def card_of_upload(omitted: OmittedClass, upload: dict | None) -> dict | None:
    """What the game shows of a visitor's own picture, or {"problem": a sentence}; with its "file"."""
    if not upload:
        return None
    file = {"file": path_of(upload)}
    try:
        image = read_upload(upload, omitted.student.image_size)
    except PhotoError as error:
        return {"problem": str(error)} | file
    with TURNS.one():
        return cards_of(omitted, [image])[0] | file
