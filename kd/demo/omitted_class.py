"""The tab "The class it never saw", a game: how many images of a class will a student name that was never shown one?

The view itself is in game/. The networks answer its six images once, here; bets, cards and the correction of the bias
need no server.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import gradio as gr
import numpy as np
import torch
from PIL import Image

from kd.checkpoint import CheckpointError
from kd.demo.crowd import NO_ANSWER, SINGLE_PHOTO, TURNS
from kd.demo.examples import game_pictures
from kd.demo.seen import picture_url
from kd.demo.stage_view import script
from kd.demo.uploads import read_upload
from kd.hub import Classifier
from kd.inference import PhotoError, read_photo, to_network_size
from kd.recipe import from_config
from kd.studies import NEVER_SEEN, read_studies

GAME = Path(__file__).parent / "game"
TAB = "The class it never saw"
CONTROL = "omitted-class-control"  # the folder of the control, beside the student's


class Measured(NamedTuple):
    """What a study found for a student and for its control.

    Attributes:
        before, after: of the test images of the omitted class, the share that it names, as it was trained and with
            the correction of its bias.
        bias: the correction: what is added to the omitted class's logit.
    """

    before: float
    after: float
    bias: float


class OmittedClass(NamedTuple):
    """A student that was never shown a class, and the control that had the labels alone.

    Attributes:
        name: the class.
        student, control: the networks; the control may not ship.
        of_student, of_control: what was measured of each; the control may not have been run.
    """

    name: str
    student: Classifier
    control: Classifier | None
    of_student: Measured
    of_control: Measured | None


def read_omitted_class(checkpoints: Path) -> OmittedClass | None:
    """What the folder holds of a student without a class; None where none ships, or no study has measured it.

    Raises:
        CheckpointError: a network or a study is damaged, or the control saw the class.
    """
    if not (checkpoints / NEVER_SEEN).is_dir():
        return None
    student = Classifier.from_pretrained(checkpoints / NEVER_SEEN)
    name = student.config["data"]["without_class"]
    of_student, of_control = measured(student.config, read_studies(checkpoints))
    if of_student is None:
        return None
    control = None
    if (checkpoints / CONTROL).is_dir():
        control = Classifier.from_pretrained(checkpoints / CONTROL)
        if control.config["data"].get("without_class") != name:
            raise CheckpointError(f"{checkpoints / CONTROL} was not trained without the class {name}: put it right")
    return OmittedClass(name, student, control, of_student, of_control)


def measured(config: dict, studies: Mapping[str, dict]) -> tuple[Measured | None, Measured | None]:
    """What the studies found for the student of this config.json, and in the same study for its control.

    The student's run is that of the same recipe, seed and omitted class; the control's that of the same class and seed
    without a teacher.
    """
    name, recipe = config["data"]["without_class"], from_config(config["recipe"])
    for study in studies.values():
        arms = {arm["name"]: arm for arm in study["arms"]}
        runs = [run for run in study.get("never_seen", {"runs": []})["runs"] if run["unseen"] == name]
        for run in runs:
            arm = arms[run["arm"]]
            if (arm["role"], from_config(arm["recipe"] | {"seed": run["seed"]})) == (config["role"], recipe):
                controls = (other for other in runs if other["temperature"] is None and other["seed"] == run["seed"])
                return _measured(run), _measured(next(controls, None))
    return None, None


def _measured(run: dict | None) -> Measured | None:
    return Measured(run["before"]["unseen"], run["after"]["unseen"], run["bias"]) if run else None


def build_game(omitted: OmittedClass) -> None:
    """The tab: the six cards, and a place for one's own pictures."""
    chosen, pictures = game_pictures(omitted.name)
    with gr.Tab(TAB):
        with gr.HTML(
            None,
            html_template=(GAME / "game.html").read_text("utf-8"),
            css_template=(GAME / "game.css").read_text("utf-8"),
            js_on_load=script("mathematics") + (GAME / "game.js").read_text("utf-8"),
            apply_default_css=False,
            elem_id="game",
            classes=omitted.student.config["classes"],
            omitted=omitted.name,
            measured={
                "student": omitted.of_student._asdict(),
                "control": omitted.of_control._asdict() if omitted.of_control else None,
            },
            chosen=chosen,
            cards=answer_pictures(omitted, [to_network_size(read_photo(picture)) for picture in pictures]),
        ) as view:
            image = gr.Image(
                type="filepath", sources=["upload", "clipboard"], height=200, label="Your own picture",
                elem_id="game-image",
            )  # fmt: skip
        shown = image.input(
            lambda upload: answer_upload(omitted, upload), image, view,
            preprocess=False, show_progress="hidden", trigger_mode="always_last", api_visibility="private",
            **SINGLE_PHOTO,
        )  # fmt: skip
        shown.failure(None, None, view, js=NO_ANSWER, api_visibility="private")
        image.clear(None, None, view, js="() => null", show_progress="hidden", api_visibility="private")


@torch.inference_mode()
def answer_pictures(omitted: OmittedClass, seen: list[Image.Image]) -> list[dict]:
    """What the game shows of images.

    Args:
        seen: RGB, 32 x 32.

    Returns:
        For each {"picture": URL, "logits": {"student": [10], "control": [10], where it ships}}.
    """
    pixels = torch.from_numpy(np.stack([np.array(image) for image in seen])).permute(0, 3, 1, 2).float() / 255
    networks = {"student": omitted.student, "control": omitted.control}
    logits = {name: network(pixels).tolist() for name, network in networks.items() if network}
    return [
        {"picture": picture_url(image), "logits": {name: rows[place] for name, rows in logits.items()}}
        for place, image in enumerate(seen)
    ]


def answer_upload(omitted: OmittedClass, upload: dict | None) -> dict | None:
    """The answers to a visitor's own picture, or {"problem": a sentence}."""
    if not upload:
        return None
    try:
        seen = to_network_size(read_upload(upload))
    except PhotoError as error:
        return {"problem": str(error)}
    with TURNS:
        return answer_pictures(omitted, [seen])[0]
