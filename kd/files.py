"""Files that are written whole or not at all, and JSON that is checked when it is read."""

import hashlib
import itertools
import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

WRITERS = itertools.count()  # numbers the writers of this process; `next` is one step for all threads


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then put it in the place of `path` in one step.

    Whatever happens meanwhile (a full disk, a lost process, a power cut), `path` is the old file or the new one. Each
    writer, process or thread, has a file of its own: runs side by side share the teacher's cached logits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{next(WRITERS)}.tmp")
    try:
        write(temporary)
        to_disk(temporary)
        os.replace(temporary, path)
        to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def make_writable(folder: Path) -> None:
    """Make a folder, and see whether it can be written to: better before hours of work than after them.

    Raises:
        OSError: it cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def to_disk(path: Path) -> None:
    """Return when a file's content, or a folder's list of files, has reached the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON, atomically."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))


def fingerprint(path: Path) -> dict:
    """The size of a file and its sha256, as "weights" lists them."""
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def parsed(text: str) -> object:
    """What a JSON text holds; numbers that are none, and whole ones of 20 characters or more, count as nothing."""

    def finite(number: str) -> float | None:
        value = float(number)
        return value if math.isfinite(value) else None

    def whole(digits: str) -> int | None:
        return int(digits) if len(digits) < 20 else None

    return json.loads(text, parse_float=finite, parse_int=whole, parse_constant=lambda _: None)


def lacking(entry: object, kinds: dict[str, type]) -> list[str]:
    """Which of these fields are not there or of another type; all of them where this is no JSON object."""
    found = entry if isinstance(entry, dict) else {}
    return [key for key, kind in kinds.items() if key not in found or not isinstance(found[key], kind)]
