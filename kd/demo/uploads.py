"""What visitors and programs send: a photo, or a sentence that says why it is none."""

from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from kd.inference import PhotoError, read_photo

NO_UPLOAD = "This is not an uploaded file. Please upload an image."


def read_upload(upload: object) -> Image.Image:
    """Read an uploaded photo.

    Args:
        upload: Gradio's description of a file, {"path": ...}. A program can send anything in its place,
            the path of a file of the server's own included, so nothing is taken on trust.

    Raises:
        PhotoError: it is no upload, or no photo; the message is a sentence for the person who sent it.
    """
    path = upload.get("path") if isinstance(upload, dict) else None
    try:
        uploaded = isinstance(path, str) and Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())
    except (OSError, ValueError):  # a path that no file can have
        uploaded = False
    if not uploaded:
        raise PhotoError(NO_UPLOAD)
    return read_photo(path)


def photo_or_sentence(upload: object) -> Image.Image:
    """Read an uploaded photo for the page, which shows the sentence of a `gr.Error`."""
    try:
        return read_upload(upload)
    except PhotoError as error:
        raise gr.Error(str(error), print_exception=False) from error
