"""Hundreds of bad files, made with fixed seeds: each gets an answer or a sentence, soon, and leaves nothing behind."""

import io
import os
import random
import re
import struct
import subprocess
import sys
import time
import zlib

import pytest
from PIL import Image

from kd.photo import ENOUGH, FORMATS, MAX_PIXELS, PhotoError, read_photo
from tests.pictures import gradient, png_chunk, png_that_claims
from tests.serving import ROOT, files_in, processor_seconds, resident_bytes
from tests.visitors import RefusalError, Visitor

MUTANTS = 500
SECONDS = 5  # of the processor, for any one file
SENTENCE = re.compile(r"(This|The) (file|image) [^/\\{}<>]+\.")  # neither a path nor a traceback nor markup


# The files


def images_of_every_format():
    """The content of a small image in every format that Pillow writes, by the format's name."""
    contents = {}
    for form in sorted(Image.SAVE):
        for mode in ("RGB", "L", "1"):  # not every format holds every mode
            content = io.BytesIO()
            try:
                gradient(48, 32).convert(mode).save(content, form)
            except (OSError, ValueError, KeyError):
                continue
            contents[form] = content.getvalue()
            break
    for mode in ("L", "P", "RGBA", "I;16", "CMYK", "F"):
        image = gradient(48, 32).convert("F").convert("I").convert(mode) if mode == "I;16" else gradient(48, 32)
        content = io.BytesIO()
        image.convert(mode).save(content, "TIFF" if mode in ("CMYK", "F") else "PNG")
        contents[f"{mode} image"] = content.getvalue()
    return contents


WHOLE = images_of_every_format()


def mutant(number):
    """One of the images above, damaged in one or two places by a draw of its own; deterministic."""
    draw = random.Random(number)
    content = bytearray(list(WHOLE.values())[number % len(WHOLE)])
    for _ in range(draw.randint(1, 2)):
        # Headers decide most: every other place lies in the first 64 bytes.
        place = draw.randrange(min(64, len(content)) if draw.random() < 0.5 else len(content))
        length = draw.randint(1, 32)
        match draw.randrange(6):
            case 0:
                content[place] ^= 1 << draw.randrange(8)
            case 1:
                content[place : place + length] = draw.randbytes(length)
            case 2:
                content[place:place] = draw.randbytes(length)
            case 3:
                del content[place : place + length]
            case 4:
                content[place : place + 4] = draw.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
            case 5:
                donor = draw.choice(list(WHOLE.values()))
                content[place:] = donor[draw.randrange(len(donor)) :]
        content = content or bytearray(b"\0")
    return bytes(content)


def bombs(side=50_000):
    """Files of a few bytes whose headers promise `side` x `side` pixels."""
    jpeg = bytearray(WHOLE["JPEG"])
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", side, side)
    tiff = WHOLE["TIFF"]
    for tag, size in ((256, 48), (257, 32)):
        for kind, form in ((3, "<HHIHH"), (4, "<HHII")):
            old = struct.pack(form, tag, kind, 1, size, *([0] if kind == 3 else []))
            tiff = tiff.replace(old, struct.pack("<HHII", tag, 4, 1, side))
    icon = png_that_claims(side, side)
    return {
        "png": icon,
        "bmp": b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, *[0] * 6),
        "gif": b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
        "gif frame": b"GIF89a"
        + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, side, side, 0),
        "jpeg": bytes(jpeg),
        "tiff": tiff,
        "ico": struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(icon), 22) + icon,
    }


NO_IMAGES = {
    "nothing": b"",
    "one byte": b"\x89",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "html": b"<!doctype html><script>window.broken = 1</script>",
    "shell": b"#!/bin/sh\nrm -rf /\n",
    "python": b"import os; os.system('true')\n",
    "php in a gif's header": b"GIF89a<?php system('true'); ?>",
    "zip": b"PK\3\4" + b"\0" * 40,
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) run\n",
    "png of text chunks": b"\x89PNG\r\n\x1a\n" + png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 9_000_000)),
    "numbers without end": b"P3 1000 1000 255 " + b"1 " * 800_000,
}


def truncated():
    """Every image above, cut off at each tenth of its length."""
    return {
        f"{form}, {n} tenths": content[: len(content) * n // 10] for form, content in WHOLE.items() for n in range(10)
    }


def all_bad_files():
    return {
        **{f"mutant {number}": mutant(number) for number in range(MUTANTS)},
        **truncated(),
        **{f"bomb: {name}": content for name, content in bombs().items()},
        **NO_IMAGES,
    }


# Within this process


class Writes:
    """Records what is opened for writing, made, moved or removed while it is on."""

    def __init__(self) -> None:
        self.on, self.recorded = False, []
        sys.addaudithook(self.hook)  # which cannot be taken off again

    def hook(self, event, arguments):
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if self.on and (writing or event in ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink")):
            self.recorded.append((event, arguments))


@pytest.fixture(scope="module")
def writes():
    return Writes()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_every_bad_file_gets_a_picture_or_a_sentence_in_time_and_nothing_is_written(tmp_path, writes):
    assert set(FORMATS) <= set(WHOLE) | {"HEIF"}  # which has no writer here; tests/test_photos.py damages it
    path, slow, pictures = tmp_path / "upload.png", {}, 0
    for name, content in all_bad_files().items():
        path.write_bytes(content)
        writes.on, started = True, time.thread_time()
        try:
            photo = read_photo(path)
            assert photo.mode == "RGB" and photo.width * photo.height <= ENOUGH, name
            pictures += 1
        except PhotoError as error:
            assert SENTENCE.match(str(error)), (name, str(error))
        finally:
            writes.on = False
        if (taken := time.thread_time() - started) > SECONDS:
            slow[name] = taken
    assert slow == {}
    assert writes.recorded == []
    assert 25 < pictures < MUTANTS  # harmless damage exists, and so does harm


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_by_its_header(tmp_path, name):
    path = tmp_path / "bomb.png"
    path.write_bytes(bombs()[name])
    with pytest.raises(PhotoError, match="not an image" if name in ("ico", "tiff") else "million pixels"):
        read_photo(path)


# Reads each file in a process of its own, forked from one that has imported all it needs; prints the bytes of memory
# and the seconds of the processor that each needs.
LARGEST = """
import os, re, sys, time
from kd.photo import read_photo
def most(): return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
for path in sys.argv[1:]:
    if not os.fork():
        before, started = most(), time.process_time()
        assert read_photo(path).mode == "RGB"
        print(most() - before, time.process_time() - started, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, path
"""
OF_EVERY_KIND = {
    "photo.png": {}, "16 bit.png": {}, "transparent.png": {}, "palette.gif": {}, "photo.webp": {"method": 0},
    "progressive.jpg": {"progressive": True, "subsampling": 0},
}  # fmt: skip
MODES = {"16 bit.png": "I;16", "transparent.png": "RGBA", "palette.gif": "P"}


@pytest.mark.slow
def test_the_largest_allowed_image_of_every_kind_needs_bounded_memory_and_time(tmp_path):
    for name, options in OF_EVERY_KIND.items():
        mode = MODES.get(name, "RGB")
        image = Image.new(mode, (4000, MAX_PIXELS // 4000)) if mode != "RGB" else gradient(4000, MAX_PIXELS // 4000)
        image.save(tmp_path / name, **options)
    program = [sys.executable, "-c", LARGEST, *(tmp_path / name for name in OF_EVERY_KIND)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    needed = [[float(number) for number in line.split()] for line in done.stdout.splitlines()]
    for name, (memory, seconds) in zip(OF_EVERY_KIND, needed, strict=True):
        assert memory < 280_000_000, name  # WebP: three times four bytes for each pixel, and what is left over
        assert seconds < 4, name  # of the processor, and far more than it takes on an idle one


# Through the real server


def server_sample():
    """Some dozens of the files above, of every kind."""
    names = [f"mutant {number}" for number in range(0, MUTANTS, 20)]
    files = all_bad_files()
    cut = list(truncated())[::25]
    return {name: files[name] for name in [*names, *cut, *(f"bomb: {name}" for name in bombs()), *NO_IMAGES]}


def test_the_server_survives_bad_files_of_every_kind(watched):
    visitor = Visitor(watched.address)
    visitor.show(visitor.upload(WHOLE["PNG"]))
    said, memory = watched.log.stat().st_size, resident_bytes(watched.process.pid)
    before, slow = files_in(watched.root, watched.elsewhere), {}
    for name, content in server_sample().items():
        upload = visitor.upload(content, "file.png")
        started = processor_seconds(watched.process.pid)
        try:
            assert visitor.show(upload)["models"]
        except RefusalError as error:
            assert SENTENCE.match(str(error)), (name, str(error))
        if (taken := processor_seconds(watched.process.pid) - started) > SECONDS:
            slow[name] = taken
    assert slow == {}
    assert resident_bytes(watched.process.pid) - memory < 200_000_000
    assert files_in(watched.root, watched.elsewhere) == before
    assert b"Traceback" not in watched.log.read_bytes()[said:]
    assert visitor.show(visitor.upload(WHOLE["JPEG"]))["models"]


def test_the_endpoint_and_the_tab_of_many_images_name_every_bad_file(watched):
    visitor = Visitor(watched.address)
    bad = [visitor.upload(content) for content in (*bombs().values(), *NO_IMAGES.values())]
    uploads = [visitor.upload(WHOLE["PNG"]), *bad]
    answers = visitor.classify(uploads)
    assert answers[0]["models"]
    for position, answer in enumerate(answers[1:], start=2):
        place, sentence = answer["error"].split(": ", 1)
        assert place == f"Image {position} of {len(uploads)}" and SENTENCE.match(sentence)
    rows = visitor.show_many(uploads)["rows"]
    assert [bool(SENTENCE.match(row.get("problem", ""))) for row in rows] == [False] + [True] * len(bad)


@pytest.mark.parametrize(
    "name", ["../../escape.png", "<img src=x onerror=alert(1)>.png", "x" * 300 + ".png", "a;b|c$(d).png"]
)
def test_a_strange_file_name_leads_nowhere(watched, name):
    visitor = Visitor(watched.address)
    before = files_in(watched.root, watched.elsewhere)
    upload = visitor.upload(WHOLE["PNG"], name)
    assert upload["path"].startswith(f"{watched.cache}/") and ".." not in upload["path"]
    assert visitor.show(upload)["models"]
    assert files_in(watched.root, watched.elsewhere) == before
