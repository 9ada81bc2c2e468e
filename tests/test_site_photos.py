"""Without a server: a browser shrinks a photo as the server does, and its networks give the same logits for it."""

import base64
import functools
import itertools
import shutil

import numpy as np
import pytest
import torch
from PIL import Image, features

from kd import checkpoint
from kd.classifier import Classifier
from kd.demo.pictures import PREVIEW_SIDE
from kd.inference import pixels_of
from kd.models import ROLES
from kd.photo import CENTRE, ENOUGH, MAX_FILE_BYTES, Crop, PhotoError, read_photo, to_network_size
from kd.site.build import exported
from tests.browser import EXAMPLES, PATIENCE
from tests.pictures import SIZES, fifty_pictures, picture, png_that_claims
from tests.serving import ROOT, FileServer

SITE = ROOT / "kd" / "site"
CHECKPOINTS = ROOT / "checkpoints"
ANY_PLACE = Crop(across=0.3, down=0.71, side=0.37)
CROPS = {"centre": CENTRE, "whole": None, "anywhere": ANY_PLACE}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The site's scripts and a place for pictures and networks, one below the top, as a project's page lies."""
    folder = tmp_path_factory.mktemp("web") / "below"
    folder.mkdir()
    for script in SITE.glob("*.js"):
        (folder / script.name).write_bytes(script.read_bytes())
    (folder / "index.html").write_text("<!doctype html><title>Site</title>")
    return folder


@pytest.fixture(scope="module")
def page(browser, folder):
    """A page that file server serves from the folder."""
    server = FileServer(folder)
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.address)
    yield page
    context.close()
    server.stop()


@pytest.fixture
def shrunk(page, folder):
    """What the browser makes of an image file: uint8 (32, 32, 3); or the sentence that it refuses it with."""

    def shrink(path, crop=CENTRE):
        (folder / "picture").write_bytes(path.read_bytes())
        found = page.evaluate(
            """async (crop) => {
                const { readPhoto, PhotoError } = await import('./photo.js');
                const { toNetworkSize } = await import('./shrink.js');
                const file = await (await fetch('picture', { cache: 'no-store' })).blob();
                try {
                    return { pixels: btoa(String.fromCharCode(...toNetworkSize(await readPhoto(file), crop).data)) };
                } catch (error) {
                    if (error instanceof PhotoError) return { problem: error.message };
                    throw error;
                }
            }""",
            crop and {"across": crop.across, "down": crop.down, "side": crop.side},
        )
        if "problem" in found:
            return found["problem"]
        return np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(32, 32, 3)

    return shrink


def difference(path, shrunk, crop=CENTRE):
    """The largest difference of a pixel's channel between browser and server, 0 to 255."""
    server = np.asarray(to_network_size(read_photo(path), crop)).astype(int)
    return np.abs(shrunk(path, crop) - server).max()


@pytest.mark.parametrize("name", SIZES)
def test_a_browser_shrinks_a_photo_of_any_shape_to_the_servers_very_pixels(shrunk, tmp_path, name):
    picture(SIZES[name]).save(tmp_path / "photo.png", compress_level=1)  # which is quick
    assert max(difference(tmp_path / "photo.png", shrunk, crop) for crop in CROPS.values()) == 0


@pytest.mark.parametrize(
    ("mode", "suffix", "most"),
    [
        ("L", ".png", 0), ("L", ".bmp", 0), ("RGB", ".bmp", 0), ("RGB", ".webp", 2), ("RGB", ".jpg", 2),
        ("L", ".jpg", 1), ("LA", ".png", 1), ("RGBA", ".png", 1), ("RGBA", ".webp", 2), ("RGB", ".gif", 0),
        ("I;16", ".png", 0), ("P", ".png", 1), ("CMYK", ".jpg", 2),
    ],
)  # fmt: skip
def test_a_browser_reads_every_kind_of_file_as_the_server_does(shrunk, tmp_path, mode, suffix, most):
    path = tmp_path / f"photo{suffix}"
    picture((301, 222), mode).save(path)
    assert difference(path, shrunk) <= most


def test_a_dark_grey_of_16_bits_is_dark_in_both_forms(shrunk, tmp_path):
    grey = np.asarray(picture((301, 222), "L")).astype(np.uint16)  # of 65535
    Image.fromarray(grey).save(tmp_path / "photo.png")
    assert difference(tmp_path / "photo.png", shrunk) == 0 and shrunk(tmp_path / "photo.png").max() == 0


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_an_avif_is_read_in_the_browser_alone(shrunk, tmp_path):
    path = tmp_path / "photo.avif"
    picture((301, 222)).save(path)
    with pytest.raises(PhotoError, match="not an image"):
        read_photo(path)
    server = np.asarray(to_network_size(read_photo(path, trusted=True))).astype(int)
    assert np.abs(shrunk(path) - server).max() <= 4


@pytest.mark.slow
@pytest.mark.parametrize("size", [(4800, 3500), (5712, 4284)])
@torch.inference_mode()
def test_a_large_jpeg_which_the_server_decodes_at_reduced_size_is_nearly_the_same(shrunk, tmp_path, size):
    path = tmp_path / "photo.jpg"
    picture(size).save(path, quality=90)
    seen = [Image.fromarray(shrunk(path)), to_network_size(read_photo(path))]
    browser, server = (np.asarray(each).astype(int) for each in seen)
    assert np.abs(browser - server).max() <= 4
    for role in ROLES:
        browser, server = Classifier(*checkpoint.load(CHECKPOINTS / role)).eval()(pixels_of(seen)).softmax(dim=1)
        assert (browser - server).abs().max() <= 0.02, role  # as docs/export.md says


def test_a_large_jpeg_of_a_usual_size_is_the_same(shrunk, tmp_path):
    picture((2400, 1700)).save(tmp_path / "photo.jpg", quality=90)
    assert difference(tmp_path / "photo.jpg", shrunk) <= 1


def test_the_cameras_orientation_is_applied_in_the_browser_too(shrunk, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture((300, 200)).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    assert difference(tmp_path / "photo.jpg", shrunk, ANY_PLACE) <= 2


def test_what_is_no_photo_gets_a_sentence_in_the_browser_too(shrunk, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert "empty" in shrunk(path)
    path.write_bytes(b"no picture at all")
    assert "not an image" in shrunk(path)
    path.write_bytes(png_that_claims(50_000, 50_000))
    assert "not an image" in shrunk(path)
    Image.new("1", (7100, 7100)).save(path, "PNG")
    assert "50 million pixels" in shrunk(path)
    picture((300, 200)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:5000])
    assert "damaged or cut off" in shrunk(path)


def test_a_file_may_be_as_large_as_for_the_server(page):
    assert page.evaluate("import('./photo.js').then((photo) => photo.MAX_FILE_BYTES)") == MAX_FILE_BYTES


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("kd/site/photo.js", f"const ENOUGH = {ENOUGH:_};"),
        ("kd/site/site.js", f"const PREVIEW_SIDE = {PREVIEW_SIDE};"),
        *(
            (file, f"CENTRE = {{ across: {CENTRE.across}, down: {CENTRE.down}, side: {CENTRE.side:.0f} }};")
            for file in ("kd/site/shrink.js", "kd/demo/stage/photo.js")
        ),
    ],
)
def test_a_number_that_browser_and_server_have_is_the_same(file, line):
    assert line in (ROOT / file).read_text("utf-8")


# The networks


@pytest.fixture(scope="module")
def load_of(runtime, folder):
    """Exports a shipped network to the folder, as the site has it, in two parts; returns what the worker is told."""
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    shutil.copytree(runtime, folder / "runtime")

    @functools.cache
    def load(role):
        content, _ = exported(CHECKPOINTS / role)
        parts = [f"{role}-1", f"{role}-2"]
        (folder / parts[0]).write_bytes(content[:3_000_000])
        (folder / parts[1]).write_bytes(content[3_000_000:])
        return {"load": role, "parts": parts, "bytes": len(content)}

    return load


@pytest.mark.parametrize(
    ("role", "pictures"),
    [pytest.param(role, 50, marks=pytest.mark.slow) for role in ROLES],
)
@torch.inference_mode()
def test_the_same_photo_gives_the_same_logits_in_the_browser(load_of, page, shrunk, tmp_path, role, pictures):
    classifier, load = Classifier(*checkpoint.load(CHECKPOINTS / role)).eval(), load_of(role)
    paths = [*itertools.islice(fifty_pictures(tmp_path), pictures), *sorted(EXAMPLES.glob("*.png"))[:pictures]]
    logits = page.evaluate(
        """async ([load, questions]) => {
            const worker = new Worker("networks.js", { type: "module" }), logits = [];
            worker.postMessage(load);
            for (const [ask, pixels] of questions.entries()) {
                worker.postMessage({ ask, pixels });
                logits.push(await new Promise((done, fail) => {
                    worker.onmessage = ({ data }) => {
                        if (data.asked === ask) done(data.logits);
                        if (data.failed) fail(data.problem);
                    };
                }));
            }
            worker.terminate();
            return logits;
        }""",
        [load, [shrunk(path).flatten().tolist() for path in paths]],
    )
    expected = classifier(pixels_of([to_network_size(read_photo(path)) for path in paths]))
    apart = (torch.tensor(logits) - expected).abs().amax(1).tolist()
    assert {path.name: far for path, far in zip(paths, apart, strict=True) if far > 0.05} == {}
