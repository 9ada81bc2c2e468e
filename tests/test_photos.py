"""Any photo works, and what is no photo gets a sentence."""

import importlib.util
import io
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from kd import photo as photo_module
from kd.cifar10 import IMAGE_SIZE
from kd.photo import (
    ENOUGH,
    FORMATS,
    MAX_FILE_BYTES,
    MAX_HEIC_PIXELS,
    MAX_PIXELS,
    MAX_REDUCED_PIXELS,
    MAX_SCANNED_PIXELS,
    MAX_SCANS,
    MAX_SEGMENTS,
    MAX_TAGS,
    PhotoError,
    read_photo,
    takes_long,
    to_network_size,
)
from tests.pictures import gradient, png_that_claims
from tests.serving import ROOT

RED, WHITE = (255, 0, 0), (255, 255, 255)


@pytest.fixture
def saved(tmp_path):
    """Saves an image and returns its path."""

    def save(image, suffix=".png", **options):
        path = tmp_path / f"photo{suffix}"
        image.save(path, **options)
        return path

    return save


def mean_difference(a, b):
    return np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".gif"])
def test_every_usual_format_comes_out_as_the_same_rgb_picture(saved, suffix):
    photo = read_photo(saved(gradient(), suffix))
    assert (photo.mode, photo.size) == ("RGB", (60, 40))
    assert mean_difference(photo, gradient()) < 8  # GIF's 256 colours and JPEG's compression


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr"])
def test_every_colour_mode_comes_out_as_rgb(saved, mode):
    original = gradient().convert(mode)
    photo = read_photo(saved(original, ".jpg" if mode in ("CMYK", "YCbCr") else ".png"))
    assert photo.mode == "RGB"
    assert mean_difference(photo, original.convert("RGB")) < 8


def test_the_cameras_orientation_is_applied(saved):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn by 90 degrees clockwise
    photo = read_photo(saved(gradient(), ".jpg", exif=exif))
    assert photo.size == (40, 60)
    assert mean_difference(photo, gradient().rotate(-90, expand=True)) < 8


def test_transparent_pixels_show_white_and_not_their_hidden_colour(saved):
    image = Image.new("RGBA", (10, 10), (*RED, 0))
    image.paste((*RED, 255), (0, 0, 5, 10))
    photo = read_photo(saved(image))
    assert photo.getpixel((2, 5)) == RED
    assert photo.getpixel((8, 5)) == WHITE


def test_a_palettes_transparent_colour_shows_white(saved):
    image = Image.new("P", (10, 10), 1)
    image.putpalette([0, 0, 0, *RED])
    assert read_photo(saved(image, ".gif", transparency=1)).getpixel((5, 5)) == WHITE


@pytest.mark.parametrize("suffix", [".png", ".tiff"])  # a TIFF only if it is one's own
def test_16_bit_greys_are_scaled_and_not_clipped_to_white(saved, suffix):
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    photo = np.asarray(read_photo(saved(Image.fromarray(grey), suffix), trusted=suffix == ".tiff"))[..., 0]
    assert np.abs(photo - grey / 257).max() <= 1


@pytest.mark.parametrize("top", [1.0, 255.0, 1e6])
def test_float_images_of_any_range_are_scaled_and_not_clipped(saved, top):
    grey = np.linspace(0, top, 64 * 64).reshape(64, 64).astype(np.float32)
    photo = np.asarray(read_photo(saved(Image.fromarray(grey), ".tiff"), trusted=True))[..., 0]
    assert np.abs(photo - grey / top * 255).max() <= 1


def test_of_an_animation_the_first_frame_is_taken(saved):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, WHITE)]
    photo = read_photo(saved(frames[0], ".gif", save_all=True, append_images=frames[1:]))
    assert photo.getpixel((4, 4)) == RED


def test_the_middle_square_is_scaled_with_antialiasing():
    # Lines one pixel wide: without antialiasing some 32 x 32 pixels would be black and some white.
    lines = np.zeros((640, 960), dtype=np.uint8)
    lines[:, ::2] = 255
    lines[:, :160] = 255  # outside the middle square
    shrunk = to_network_size(Image.fromarray(lines).convert("RGB"))
    assert (shrunk.mode, shrunk.size) == ("RGB", (IMAGE_SIZE, IMAGE_SIZE))
    inner = np.asarray(shrunk)[:, 2:-2]
    assert inner.min() > 110 and inner.max() < 145


def test_an_image_of_the_networks_size_is_left_as_it_is():
    image = gradient(IMAGE_SIZE, IMAGE_SIZE)
    assert mean_difference(to_network_size(image), image) == 0


def jpeg(image, **options):
    content = io.BytesIO()
    image.save(content, "JPEG", **options)
    return content.getvalue()


def jpeg_in_scans():
    """A baseline JPEG of which every component has a scan of its own."""
    grey = jpeg(gradient(16, 16).convert("L"))
    frame, scan = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
    tables = grey[frame + 2 + int.from_bytes(grey[frame + 2 : frame + 4]) : scan]
    frame = (
        b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 16, 16) + b"\3" + b"".join(bytes([c, 0x11, 0]) for c in (1, 2, 3))
    )
    coded = grey[scan + 10 : -2]
    scans = b"".join(b"\xff\xda\0\x08\1" + bytes([c, 0, 0, 63, 0]) + coded for c in (1, 2, 3))
    return grey[: grey.index(b"\xff\xc0")] + frame + tables + scans + b"\xff\xd9"


def jpeg_that_claims(width, height, content=None, **options):
    """A JPEG whose header promises any number of pixels, and which holds 16 x 16."""
    content = bytearray(content or jpeg(gradient(16, 16, options.pop("mode", "RGB")), **options))
    place = max(content.find(marker) for marker in (b"\xff\xc0", b"\xff\xc2")) + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"%PDF-1.7", "not an image"),
        (jpeg(gradient(400, 400))[:2000], "damaged"),
        (png_that_claims(50_000, 50_000), "16 million pixels"),
        (png_that_claims(8000, MAX_PIXELS // 8000 + 1), "16 million pixels"),
        (jpeg_that_claims(12_000, MAX_REDUCED_PIXELS // 12_000 + 1), "120 million pixels"),
        (jpeg_that_claims(8000, MAX_SCANNED_PIXELS // 8000 + 1, progressive=True), "52 million pixels"),
        (jpeg_that_claims(8000, MAX_SCANNED_PIXELS // 8000 + 1, jpeg_in_scans()), "52 million pixels"),
        (jpeg_that_claims(8000, MAX_PIXELS // 8000 + 1, mode="CMYK", progressive=True), "16 million pixels"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "not an image" if "HEIF" in FORMATS else "HEIC, which cannot be read"),
        (png_that_claims(100, 100), "damaged"),
    ],
    ids=[
        "pdf",
        "cut off",
        "bomb",
        "just too large",
        "jpeg",
        "progressive jpeg",
        "jpeg in scans",
        "progressive in cmyk",
        "heic",
        "hollow",
    ],  # fmt: skip
)
def test_a_file_that_cannot_be_used_gets_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "upload.png"
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=sentence):
        read_photo(path)


@pytest.mark.parametrize("form", ["JPEG", "MPO"])
def test_a_phones_50_megapixels_are_read_upright_at_a_reduced_scale(tmp_path, form):
    exif, path = Image.Exif(), tmp_path / "phone.jpg"
    exif[0x0112] = 6
    image = gradient(816, 614).resize((8160, 6144))
    more = {"save_all": True, "append_images": [gradient()]} if form == "MPO" else {}
    image.save(path, form, exif=exif, **more)
    photo = read_photo(path)
    assert photo.width < photo.height and photo.width * photo.height <= ENOUGH
    shrunk = to_network_size(photo)
    assert mean_difference(shrunk, to_network_size(gradient(816, 614).rotate(-90, expand=True))) < 4


@pytest.mark.slow  # a second to write the file
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_a_phones_50_megapixels_in_a_progressive_jpeg_are_read_in_bounded_memory(tmp_path, subsampling):
    path = tmp_path / "phone.jpg"
    gradient(816, 614).resize((8160, 6144)).save(path, progressive=True, subsampling=subsampling)
    read = (
        "import re, sys; from kd.photo import read_photo; "
        "memory = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) * 1024; "
        "before = memory(); assert read_photo(sys.argv[1]).size == (2040, 1536); print(memory() - before)"
    )
    done = subprocess.run([sys.executable, "-c", read, path], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 400_000_000
    assert takes_long(path)


def test_a_jpeg_whose_components_have_scans_of_their_own_is_read_like_any_other(tmp_path):
    (tmp_path / "scans.jpg").write_bytes(jpeg_in_scans())
    with Image.open(tmp_path / "scans.jpg") as image:
        assert "progressive" not in image.info and image.layers == 3
    assert read_photo(tmp_path / "scans.jpg").size == (16, 16)


def test_the_more_pixels_a_jpeg_has_the_fewer_scans(tmp_path):
    content = jpeg_that_claims(8000, 6000, progressive=True)
    last = content.rindex(b"\xff\xda")
    (tmp_path / "few.jpg").write_bytes(content)
    assert read_photo(tmp_path / "few.jpg").size == (2000, 1500)
    (tmp_path / "many.jpg").write_bytes(content[:-2] + content[last:-2] * 20 + content[-2:])
    with pytest.raises(PhotoError, match="too many scans"):
        read_photo(tmp_path / "many.jpg")


def test_what_a_phone_appends_to_a_jpeg_has_no_scans_of_it(tmp_path):
    film = b"ftypmp42" + b"\xff\xda\0\x0c" * 100
    (tmp_path / "motion.jpg").write_bytes(jpeg(gradient()) + film)
    assert read_photo(tmp_path / "motion.jpg").size == gradient().size


def test_neither_the_end_nor_scans_are_looked_for_in_a_segments_content(tmp_path):
    whole = jpeg_that_claims(8000, 6000, progressive=True)
    (tmp_path / "few.jpg").write_bytes(whole[:2] + segments(1, content=b"\xff\xda" * 200) + whole[2:])
    assert read_photo(tmp_path / "few.jpg").size == (2000, 1500)
    last = whole.rindex(b"\xff\xda")
    many = whole[:-2] + segments(1, content=b"\xff\xd9") + whole[last:-2] * 70 + whole[-2:]
    (tmp_path / "many.jpg").write_bytes(many)
    with pytest.raises(PhotoError, match="too many scans"):
        read_photo(tmp_path / "many.jpg")


def test_a_jpeg_of_very_many_segments_between_its_scans_is_refused_soon(tmp_path):
    whole = jpeg_that_claims(800, 600, progressive=True)
    last = whole.rindex(b"\xff\xda")
    (tmp_path / "upload").write_bytes(whole[:last] + segments(2 * MAX_SEGMENTS) + whole[last:])
    with pytest.raises(PhotoError, match="too many scans"):
        read_photo(tmp_path / "upload")


def segments(number, marker=b"\xff\xfe", content=b""):
    return (marker + (len(content) + 2).to_bytes(2) + content) * number


def directory(tags):
    """EXIF of so many tags, which all name the same bytes."""
    entries = b"".join(struct.pack(">HHII", 0xC000 + tag, 7, 1000, 8) for tag in range(tags))
    return b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", tags) + entries + bytes(4)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (jpeg(gradient())[:2] + segments(MAX_SEGMENTS) + jpeg(gradient())[2:], "too many parts"),
        (
            jpeg(gradient())[:2] + segments(2, b"\xff\xe1", b"Exif\0\0" + directory(3)) + jpeg(gradient())[2:],
            "too many",
        ),
        (jpeg(gradient(), exif=b"Exif\0\0" + directory(MAX_TAGS + 1)), "camera data are damaged"),
        (
            jpeg(gradient())[:2] + segments(1, b"\xff\xe2", b"MPF\0" + directory(MAX_TAGS + 1)) + jpeg(gradient())[2:],
            "camera data are damaged",
        ),
    ],
    ids=["jpeg", "two directories", "a long directory", "several pictures"],
)
def test_what_would_take_long_to_open_is_refused_before_it_is_opened(tmp_path, monkeypatch, content, sentence):
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    (tmp_path / "upload").write_bytes(content)
    with pytest.raises(PhotoError, match=sentence):
        read_photo(tmp_path / "upload")
    assert not takes_long(tmp_path / "upload")


def png_of_many_chunks():
    name = b"noNe"
    return png_that_claims(9, 9)[:33] + (bytes(4) + name + zlib.crc32(name).to_bytes(4)) * 500_000


def gif(before_the_image):
    return b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + before_the_image + b",\0\0\0\0\x08\0\x08\0\0\2\2D\1\0;"


def bmp(content):
    """A BMP of 8 x 8 pixels, of run lengths."""
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, len(content), 0, 0, 0, 0) + bytes(1024)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(content), 0, 0, 54 + 1024) + header + content


@pytest.mark.parametrize(
    "content",
    [
        png_of_many_chunks(),
        gif(b"!\xfe" + (b"\xff" + bytes(255)) * 20_000 + b"\0"),
        gif(b"!\0\0" + (b"\xff" + bytes(255)) * 20_000 + b"\0"),  # a block that ends, and yet goes on
        gif(bytes(5_000_000)),
        bmp(b"\0\2\0\0" * 1_250_000),  # steps that lead nowhere
    ],
    ids=["chunks", "comment", "block", "nothing", "steps"],
)
def test_what_has_many_small_parts_is_given_up_after_so_many_steps(tmp_path, content, monkeypatch):
    (tmp_path / "upload").write_bytes(content)
    steps, read = [], photo_module._Steps.read
    monkeypatch.setattr(photo_module._Steps, "read", lambda self, size=-1: steps.append(size) or read(self, size))
    takes_long(tmp_path / "upload")
    with pytest.raises(PhotoError, match="too many parts"):
        read_photo(tmp_path / "upload")
    # Some took a minute, of the largest files; a step takes microseconds. `takes_long` opens the file too.
    assert photo_module.MAX_OPENING_STEPS <= 10_000 and photo_module.MAX_STEPS <= 100_000
    assert len(steps) <= 2 * (photo_module.MAX_OPENING_STEPS + photo_module.MAX_STEPS + 1)


def test_a_photo_of_many_ordinary_parts_is_read(saved):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1000, 1200, 3), np.uint8))
    assert read_photo(saved(noise)).size == (1200, 1000)
    assert read_photo(saved(gradient().quantize(), ".gif", comment=b"x" * 100_000)).size == (60, 40)


@pytest.mark.parametrize(
    "before",
    [b"junk", b"\xff\xc8\xff\xff", b"\xff\xf0\xff\xff", b"\xff\xfd\xff\xff", b"\xff\xfe\0\0", b"\xff\xfe\0\1"],
    ids=lambda before: before.hex(),
)
def test_no_note_hides_behind_what_pillow_skips(tmp_path, before):
    whole = jpeg(gradient())
    notes = segments(300, b"\xff\xe1", b"Exif\0\0" + directory(3))
    (tmp_path / "upload").write_bytes(whole[:2] + before + notes + whole[2:])
    with pytest.raises(PhotoError, match="too many parts"):
        read_photo(tmp_path / "upload")


@pytest.mark.parametrize("between", [b"\xff", b"\xff\xff", b"\xff\xd0"])
def test_what_fills_a_jpeg_hides_no_scans(tmp_path, between):
    content = jpeg_that_claims(8000, MAX_SCANNED_PIXELS // 8000 + 1, jpeg_in_scans())
    hidden = segments(1, content=b"\xff\xda\0\x0c\3" + bytes(9))  # a comment with what looks like a scan of all
    (tmp_path / "upload").write_bytes(content[:2] + between + hidden + content[2:])
    with pytest.raises(PhotoError, match="52 million pixels"):
        read_photo(tmp_path / "upload")


def test_a_long_thin_jpeg_is_reduced_as_well(tmp_path):
    gradient(100, 10).resize((40_000, 500)).save(tmp_path / "thin.jpg")
    assert read_photo(tmp_path / "thin.jpg").size == (10_000, 125)


@pytest.mark.parametrize("orientation", range(9))
def test_a_photo_is_turned_as_pillow_would_turn_it(saved, orientation):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", orientation
    for suffix in (".jpg", ".png", ".webp"):
        path = saved(gradient(), suffix, exif=exif)
        assert np.array_equal(read_photo(path), read_photo(path, trusted=True))


def test_a_tiff_is_read_only_if_it_is_ones_own(saved):
    path = saved(gradient(), ".tiff")
    assert read_photo(path, trusted=True).size == gradient().size
    with pytest.raises(PhotoError, match="not an image that can be read"):
        read_photo(path)


def large(mode):
    image = gradient(3000, 2000).convert("F").convert("I").point(lambda grey: grey * 257)
    return image.convert(mode) if mode == "I;16" else gradient(3000, 2000).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "I;16"])
def test_what_is_large_is_shrunk_to_the_same_picture(saved, mode):
    photo = read_photo(saved(large(mode), compress_level=1))  # which is quick
    assert photo.mode == "RGB" and photo.width * photo.height <= ENOUGH
    expected = gradient(3000, 2000).convert("L") if mode == "I;16" else large(mode)
    assert mean_difference(to_network_size(photo), to_network_size(expected.convert("RGB"))) < 3


def test_hidden_colours_do_not_count_in_what_is_shrunk(saved):
    image = Image.new("RGBA", (3000, 2000), (*RED, 0))
    image.paste((0, 0, 255, 255), (0, 0, 1499, 2000))  # the edge runs through a pixel of the shrunk picture
    colours = np.asarray(read_photo(saved(image)), dtype=int)
    assert (colours[..., 0] <= colours[..., 2]).all()


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(tmp_path):
    content = jpeg(gradient(64, 64), progressive=True)
    assert 5 < content.count(b"\xff\xda") < 20
    last = content.rindex(b"\xff\xda")
    path = tmp_path / "scans.jpg"
    path.write_bytes(content[:-2] + content[last:-2] * MAX_SCANS + content[-2:])
    with pytest.raises(PhotoError, match="too many scans"):
        read_photo(path)


def test_a_file_over_the_limit_is_refused_unread(tmp_path):
    path = tmp_path / "large.png"
    with open(path, "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(PhotoError, match="larger than 25 MB"):
        read_photo(path)


def test_a_missing_file_gets_a_sentence(tmp_path):
    with pytest.raises(PhotoError, match="upload it again"):
        read_photo(tmp_path / "gone.png")


def flip_bytes(path, source):
    """Damages and cuts off a file in fifty ways; each gives a picture or a sentence."""
    original = path.read_bytes()
    for _ in range(50):
        damaged = bytearray(original)
        for _ in range(source.randint(1, 20)):
            damaged[source.randrange(len(damaged))] = source.randrange(256)
        path.write_bytes(damaged[: source.randint(1, len(damaged))])
        try:
            assert read_photo(path).mode == "RGB"
        except PhotoError:
            pass


@pytest.mark.parametrize(
    ("content", "long"),
    [
        (png_that_claims(2000, 2000), False),
        (png_that_claims(2001, 2000), True),
        (jpeg_that_claims(8000, 4000), False),
        (jpeg_that_claims(8000, 4001), True),
        (jpeg_that_claims(2001, 2000, progressive=True), True),
        (jpeg_that_claims(2001, 2000, jpeg_in_scans()), True),
        (png_that_claims(50_000, 50_000), False),  # which is not read at all
        (b"this is no image", False),
    ],
)
def test_a_photo_that_takes_long_is_known_by_its_header(tmp_path, content, long):
    (tmp_path / "upload.png").write_bytes(content)
    assert takes_long(tmp_path / "upload.png") == long
    assert not takes_long(tmp_path / "gone.png")


# HEIC, as iPhones write it


@pytest.fixture
def heic(tmp_path):
    """Saves an image as HEIC and returns its path; skips without what reads and writes it.

    The writer runs in a process of its own: it brings another copy of the reader's library.
    """
    pytest.importorskip("pi_heif")
    if not importlib.util.find_spec("pillow_heif"):
        pytest.skip("pillow-heif is not installed")
    write = (
        "import sys, pillow_heif; from PIL import Image; pillow_heif.register_heif_opener(); "
        "Image.open(sys.argv[1]).save(sys.argv[2], 'HEIF', exif=bytes.fromhex(sys.argv[3]) or None)"
    )

    def save(image, exif=b""):
        source, path = tmp_path / "source.png", tmp_path / "photo.heic"
        image.save(source)
        subprocess.run([sys.executable, "-c", write, source, path, exif.hex()], check=True)
        return path

    return save


def claim(path, width, height):
    """Let the header of a HEIC promise other pixels than it holds."""
    content = bytearray(path.read_bytes())
    place = content.index(b"ispe") + 8
    content[place : place + 8] = struct.pack(">II", width, height)
    path.write_bytes(content)
    return path


def test_a_heic_comes_out_upright_as_the_same_picture(heic):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = read_photo(heic(gradient(300, 200), exif=exif.tobytes()))
    assert photo.size == (200, 300)
    assert mean_difference(photo, gradient(300, 200).rotate(-90, expand=True)) < 8


def test_a_large_heic_is_shrunk_and_waits_with_the_large_ones(heic):
    path = heic(gradient(600, 450).resize((2400, 1800)))
    assert takes_long(path)
    photo = read_photo(path)
    assert photo.width * photo.height <= ENOUGH
    assert mean_difference(to_network_size(photo), to_network_size(gradient(600, 450))) < 4


def test_a_heic_that_promises_too_much_is_refused_by_its_header_and_one_that_promises_less_is_damaged(heic):
    path = claim(heic(gradient(512, 512)), 5000, MAX_HEIC_PIXELS // 5000 + 1)
    with pytest.raises(PhotoError, match="50 million pixels"):
        read_photo(path)
    path = claim(heic(gradient(512, 512).convert("RGBA")), 5000, MAX_HEIC_PIXELS // 10000 + 1)
    with pytest.raises(PhotoError, match="25 million pixels"):
        read_photo(path)
    with pytest.raises(PhotoError, match="damaged"):
        read_photo(claim(heic(gradient(1024, 1024)), 64, 64))


def test_a_heic_with_flipped_bytes_gives_a_picture_or_a_sentence(heic):
    flip_bytes(heic(gradient(128, 96)), random.Random(1))
