"""What visitors and programs send: a photo, or a sentence that says why it is none; and how much of it is stored."""

import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from kd.demo.crowd import TURNS
from kd.photo import PhotoError, read_photo, takes_long, to_network_size

NOTHING_CAME = "No answer came: too many visitors, or the connection was lost. Please try again."
NO_UPLOAD = "This is not an uploaded file. Please upload an image."
SWEEP_SECONDS, CACHE_SECONDS = 300, 1800  # how often old uploads are removed, and how old that is
MAX_STORED, MAX_STORED_FILES = 1_000_000_000, 10_000  # bytes and files of all uploads; beyond that the oldest go


def nothing_came(**more) -> str:
    """JavaScript: what a view shows where nothing came, as the queue was full or the connection was lost.

    With the time, since Gradio tells a view of a value only if it is unlike the last one.
    """
    return f"() => ({{ ...{json.dumps({'problem': NOTHING_CAME, **more})}, at: Date.now() }})"


def announcing(event: str) -> str:
    """JavaScript: tells the views which upload is wanted from now on, before its answer comes: its path, the paths of
    several, or null for none."""
    return f"""(upload) => {{
        const detail = Array.isArray(upload) ? upload.map(({{ path }}) => path) : upload?.path ?? null;
        document.dispatchEvent(new CustomEvent({json.dumps(event)}, {{ detail }}));
        return [];
    }}"""


def is_upload(path: object) -> bool:
    """Whether this is the path of a file where uploads lie; there may be none any more."""
    folder = os.path.join(os.path.abspath(get_upload_folder()), "")
    if not isinstance(path, str) or path == no_upload() or not os.path.abspath(path).startswith(folder):
        return False
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)  # a folder among its files would end Gradio's own removal of them
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # a path that no file can have
        return False


def no_upload() -> str:
    """The path that stands for whatever is no upload: it lies among them, but there is never a file."""
    return os.path.join(get_upload_folder(), "no-upload")


def path_of(upload: object) -> str | None:
    """Where an upload lies, by which the same one is known again; None for what is no upload."""
    path = upload.get("path") if isinstance(upload, dict) else None
    return path if isinstance(path, str) else None


@contextmanager
def turn_for(upload: object) -> Iterator[str]:
    """A turn for all that an uploaded photo wants, so that no photo is held in memory while others have theirs.

    Args:
        upload: Gradio's description of a file, {"path": ...}. A program can send anything in its place,
            the path of a file of the server's own included, so nothing is taken on trust.

    Yields:
        Where the upload lies.

    Raises:
        PhotoError: it is no upload; the message is a sentence for the person who sent it.
    """
    path = path_of(upload)
    if not is_upload(path):
        raise PhotoError(NO_UPLOAD)
    with ExitStack() as turn:
        turn.enter_context(TURNS.one())  # for the header as well: of some formats it means to load all of the file
        if takes_long(path):
            turn.close()
            turn.enter_context(TURNS.one(large=True))
        yield path


def read_upload(upload: object, image_size: int) -> Image.Image:
    """The middle square of an uploaded photo, at the networks' size, read in a turn of its own (see `turn_for`).

    Args:
        image_size: the side of what they are shown, pixels.

    Returns:
        RGB, `image_size` pixels both ways.

    Raises:
        PhotoError: it is no upload, or no photo; the message is a sentence for the person who sent it.
    """
    with turn_for(upload) as path:
        return to_network_size(read_photo(path), image_size=image_size)


@contextmanager
def sentences() -> Iterator[None]:
    """What is wrong with a photo becomes a `gr.Error`, whose sentence the page shows and a program gets."""
    try:
        yield
    except PhotoError as error:
        raise gr.Error(str(error), print_exception=False) from error


def keep_sweeping() -> None:
    """Sweep now and from time to time: on a quiet page no upload would make anybody do it."""
    again = threading.Timer(SWEEP_SECONDS, keep_sweeping)
    again.daemon = True
    again.start()
    sweep()


def sweep() -> None:
    """Remove uploads that are too old, and the oldest of those that are too many or too large together.

    Gradio removes what it knows of by age; this also finds what is left of an upload that broke off.
    """
    now, stored, size = time.time(), [], 0
    for folder, below, names in os.walk(get_upload_folder()):
        for name in names:
            path = os.path.join(folder, name)
            try:
                about = os.stat(path)
            except OSError:  # swept by Gradio, or not ours
                continue
            stored.append((about.st_mtime, about.st_size, path))
        with suppress(OSError):  # swept by Gradio, or in use again
            if not below and not names and now - os.stat(folder).st_mtime > SWEEP_SECONDS:
                os.rmdir(folder)
    for number, (changed, length, path) in enumerate(sorted(stored, reverse=True)):
        size += length
        if size > MAX_STORED or number >= MAX_STORED_FILES or now - changed > CACHE_SECONDS:
            with suppress(OSError):
                os.unlink(path)
                os.rmdir(os.path.dirname(path))
