"""The crop that a visitor asks for: what the stage sends, read and checked."""

from typing import NamedTuple

import gradio as gr

from kd.photo import Crop

MAX_NUMBER = 2**53  # what a browser can count exactly


class Question(NamedTuple):
    """What the stage asks: another part of a photo.

    Attributes:
        file: where the upload lies.
        crop: the square; None is the whole photo.
        number: by which the stage knows its question again.
    """

    file: str
    crop: Crop | None
    number: int | None


def question(asked: object) -> Question:
    """Read what came as the data of the stage's event `crop`; whoever speaks HTTP can send anything in its place.

    Raises:
        gr.Error: it is none; the message is a sentence.
    """
    try:
        if not isinstance(asked, dict):
            raise ValueError("nothing was asked")
        file, whole, number = asked.get("file"), asked.get("whole"), asked.get("number")
        if not isinstance(file, str):
            raise ValueError("the photo has no name")
        if not isinstance(whole, bool):
            raise ValueError("it is neither the whole photo nor a square of it")
        if type(number) not in (int, type(None)) or abs(number or 0) > MAX_NUMBER:
            raise ValueError("its number is none")
        return Question(file, None if whole else _square(asked), number)
    except ValueError as error:
        raise gr.Error(f"The crop is wrong: {error}.", print_exception=False) from error


def _square(asked: dict) -> Crop:
    values = {name: asked.get(name) for name in ("across", "down", "side")}
    for name, value in values.items():
        if type(value) not in (int, float) or abs(value) > 1:
            raise ValueError(f"{name} is no number between 0 and 1")
    return Crop(**values)
