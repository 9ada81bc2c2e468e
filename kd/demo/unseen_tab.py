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
from kd.hub import Classifier
from kd.inference import Trio, read_photo, to_network_size
from kd.studies.findings import omitted_class_sentence
from kd.studies.ledger import read_studies
from kd.studies.omitted_class import BIAS, FOLDER, study_of

UNSEEN = Path(__file__).parent / "unseen"


def build_unseen(trio: Trio, checkpoints: Path) -> None:
    """The tab, for the student in `checkpoints`/omitted-class; nothing where none ships, or no study has measured it.

    Raises:
        CheckpointError: the student is damaged.
    """
    if not (checkpoints / FOLDER).is_dir():
        return
    student = Classifier.from_pretrained(checkpoints / FOLDER)
    found = study_of(student.config, read_studies(checkpoints))
    bias = student.config.get(BIAS, found and found.bias)
    if bias is None:
        return
    unseen = student.config["data"]["omitted_class"]
    answer = partial(answer_photo, trio, student, bias)
    example = EXAMPLES[CLASSES.index(unseen)]
    with gr.Tab("The class it never saw"):
        gr.Markdown(
            f"This student was never shown a **{unseen}**: what it knows of one, it knows from the teacher's doubts "
            f"about other images. {omitted_class_sentence(found.study, unseen) if found else ''}"
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
        "unseen": CLASSES.index(student.config["data"]["omitted_class"]),
        "bias": bias,
        "logits": {"teacher": trio.answer(seen)["teacher"].logits, "unseen": student(pixels)[0].tolist()},
    }
