"""The tab "The class it never saw": a student that was never shown one class, beside the teacher who told it of it.

The view itself is in unseen/; the bias is moved in the browser alone.
"""

from functools import partial
from pathlib import Path

import gradio as gr
import numpy as np
import torch
from PIL import Image

from kd.cifar10 import CLASSES
from kd.demo.crowd import SINGLE_PHOTO
from kd.demo.examples import EXAMPLES
from kd.demo.uploads import photo_or_sentence
from kd.findings import never_seen_sentence
from kd.hub import Classifier
from kd.inference import Trio, read_photo, to_network_size
from kd.studies import NEVER_SEEN, read_studies

UNSEEN = Path(__file__).parent / "unseen"


def build_unseen(trio: Trio, checkpoints: Path) -> None:
    """The tab, for the student in `checkpoints`/never-seen; nothing where none ships, or its study is not there.

    Raises:
        CheckpointError: the student or the study is damaged.
    """
    study = read_studies(checkpoints).get(NEVER_SEEN)
    if study is None or not (checkpoints / NEVER_SEEN).is_dir():
        return
    student = Classifier.from_pretrained(checkpoints / NEVER_SEEN)
    unseen = student.config["data"]["without_class"]
    answer = partial(answer_photo, trio, student, bias_of(study, student.config))
    example = EXAMPLES[CLASSES.index(unseen)]
    with gr.Tab("The class it never saw"):
        gr.Markdown(
            f"This student was never shown a **{unseen}**: what it knows of one, it knows from the teacher's doubts "
            f"about other images. {never_seen_sentence(study['never_seen'], unseen)}"
        )
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                image = gr.Image(
                    str(example), type="filepath", sources=["upload", "clipboard"], height=260,
                    label="Photo", elem_id="unseen-image",
                )  # fmt: skip
            with gr.Column(scale=3, min_width=320):
                view = gr.HTML(
                    answer(read_photo(example)),
                    html_template=(UNSEEN / "unseen.html").read_text("utf-8"),
                    css_template=(UNSEEN / "unseen.css").read_text("utf-8"),
                    js_on_load=(UNSEEN / "unseen.js").read_text("utf-8"),
                    apply_default_css=False,
                    elem_id="unseen",
                )
        shown = image.input(
            lambda upload: answer(photo_or_sentence(upload)) if upload else None, image, view,
            preprocess=False, show_progress="hidden", trigger_mode="always_last", api_visibility="private",
            **SINGLE_PHOTO,
        )  # fmt: skip
        shown.failure(lambda: None, None, view, api_visibility="private")  # nothing old may stand under an error


@torch.inference_mode()
def answer_photo(trio: Trio, student: Classifier, bias: float, photo: Image.Image) -> dict:
    """The view's value for a photo.

    Returns:
        {"classes": [10 names], "unseen": position of the class, "bias": the correction that the study found,
        "logits": {"teacher": [10], "unseen": [10]}}
    """
    seen = to_network_size(photo)
    pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1)[None].float() / 255
    return {
        "classes": list(CLASSES),
        "unseen": CLASSES.index(student.config["data"]["without_class"]),
        "bias": bias,
        "logits": {"teacher": trio.answer(seen)["teacher"].logits, "unseen": student(pixels)[0].tolist()},
    }


def bias_of(study: dict, config: dict) -> float:
    """The correction that the study found for the shipped student."""
    return next(
        run["bias"]
        for run in study["never_seen"]["runs"]
        if (run["unseen"], run["temperature"], run["seed"])
        == (config["data"]["without_class"], config["recipe"]["temperature"], config["seed"])
        and run["temperature"] is not None
    )
