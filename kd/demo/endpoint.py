"""The endpoint `/classify`, for programs: one image, or a list of them."""

from collections.abc import Callable

import gradio as gr
from PIL import Image

from kd.demo.crowd import MAX_IMAGES, TURNS
from kd.demo.uploads import path_of, read_upload, sentences
from kd.inference import BATCH, Trio
from kd.losses import MAX_TEMPERATURE, MIN_TEMPERATURE
from kd.photo import MAX_FILE_BYTES, PhotoError

# The API page runs it together into one paragraph.
DESCRIPTION = f"""Classify an image, or a list of up to {MAX_IMAGES} images, with the three networks. An image is a \
JPEG, PNG, WebP, GIF, BMP or HEIC of at most {MAX_FILE_BYTES // 10**6} MB; the temperature T, {MIN_TEMPERATURE} to \
{MAX_TEMPERATURE}, softens the answers. One image gets one answer: the classes, the temperature, and under "models" \
for each of teacher, student and distilled its logits, probabilities (at T = 1), softened probabilities (at T), label, \
confidence and milliseconds. A list gets a list of such answers in its order, where an image that cannot be used has \
{{"error": "Image 2 of 3: ..."}} in its place. \
For one image: client.predict(handle_file("cat.jpg"), 4.0, api_name="/classify"); for two: \
client.predict([handle_file("cat.jpg"), handle_file("dog.jpg")], 4.0, api_name="/classify")."""

MAX_REASON = 100  # characters of a sentence that come from what a program sent


def endpoint(trio: Trio) -> Callable:
    """The function behind `/classify`; its type hints become the endpoint's."""

    def classify(image: gr.FileData | list[gr.FileData], temperature: float = 4.0) -> dict | list[dict]:
        if isinstance(image, list):
            return classify_list(trio, image, temperature)
        with sentences():
            network_input = read_upload(image, trio.image_size)
        return classified(trio, [network_input], temperature)[0]

    return classify


def classify_list(trio: Trio, uploads: list, temperature: float) -> list[dict]:
    """Classify many uploads, each on its own terms: a bad one does not lose the others.

    Raises:
        gr.Error: an empty list, more than `MAX_IMAGES`, or a wrong temperature.
    """
    if not 1 <= len(uploads) <= MAX_IMAGES:
        raise gr.Error(f"Send 1 to {MAX_IMAGES} images at once, not {len(uploads)}.", print_exception=False)
    read: dict[str | None, Image.Image | PhotoError] = {}  # an upload that is named twice is read once
    for upload in uploads:
        path = path_of(upload)
        if path not in read:
            try:
                read[path] = read_upload(upload, trio.image_size)
            except PhotoError as error:
                read[path] = error
    photos = {path: photo for path, photo in read.items() if isinstance(photo, Image.Image)}
    by_path = dict(zip(photos, classified(trio, list(photos.values()), temperature), strict=True))
    return [
        by_path.get(path) or {"error": f"Image {position} of {len(uploads)}: {read[path]}"}
        for position, path in enumerate(map(path_of, uploads), start=1)
    ]


def classified(trio: Trio, images: list[Image.Image], temperature: object) -> list[dict]:
    """What `/classify` returns of images of 32 x 32; a temperature that is none is said in a sentence."""
    try:
        temperature, found = float(temperature), []
        for first in range(0, max(1, len(images)), BATCH):  # once at least: a temperature is judged in any case
            with TURNS.one():
                found += trio.classify_all(images[first : first + BATCH], temperature)
        return found
    except (TypeError, ValueError, OverflowError) as error:
        raise gr.Error(f"The temperature is wrong: {str(error)[:MAX_REASON]}.", print_exception=False) from error
