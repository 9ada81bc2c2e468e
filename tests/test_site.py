"""The page without a server: a browser shrinks a photo as the server does, and its networks answer the same."""

import base64
import functools
import hashlib
import http.server
import io
import os
import tarfile
import threading

import numpy as np
import pytest
import torch
from PIL import Image

import kd.site.runtime
from kd import checkpoint, export
from kd.hub import Classifier
from kd.inference import CENTRE, ENOUGH, MAX_FILE_BYTES, Crop, read_photo, to_network_size
from kd.site.runtime import FILES, VERSION, RuntimeFetchError, fetch_runtime
from tests.browser import PATIENCE
from tests.serving import ROOT
from tests.test_photos import png_that_claims

SITE = ROOT / "kd" / "site"
STUDENT = ROOT / "checkpoints" / "student"
ANY_PLACE = Crop(across=0.3, down=0.71, side=0.37)
CROPS = {"centre": CENTRE, "whole": None, "anywhere": ANY_PLACE}

SIZES = {
    "photo": (640, 480), "odd": (333, 251), "tall": (40, 700), "wide": (1201, 64), "line": (500, 1), "dot": (1, 1),
    "tiny": (5, 9), "exact": (32, 32), "as wide": (32, 90), "as high": (77, 32), "slightly larger": (33, 35),
    "half way": (64, 33), "large": (2400, 1700),
}  # fmt: skip


def picture(size, mode="RGB", seed=0):
    """Blobs of colour with noise, sharp edges and, where the mode has it, transparency of every degree."""
    random = np.random.default_rng(seed)
    width, height = size
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    blobs = Image.fromarray(random.integers(0, 256, (6, 8, 4), dtype=np.uint8), "RGBA").resize(size)
    pixels = np.asarray(blobs).astype(float) + random.normal(0, 30, (height, width, 4))
    pixels[height // 3 : height // 2, width // 4 : width // 2, :3] = 255
    pixels = pixels.clip(0, 255).astype(np.uint8)[..., 4 - channels :]
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


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

    class Silent(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=folder.parent))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"http://127.0.0.1:{server.server_port}/{folder.name}/")
    yield page
    context.close()
    server.shutdown()
    server.server_close()


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
    picture(SIZES[name]).save(tmp_path / "photo.png")
    width, height = SIZES[name]
    most = 0 if width * height <= ENOUGH else 1  # the server shrinks a large one in two steps
    assert max(difference(tmp_path / "photo.png", shrunk, crop) for crop in CROPS.values()) <= most


@pytest.mark.parametrize(
    ("mode", "suffix", "most"),
    [
        ("L", ".png", 0), ("L", ".bmp", 0), ("RGB", ".bmp", 0), ("RGB", ".webp", 2), ("RGB", ".jpg", 2),
        ("L", ".jpg", 1), ("LA", ".png", 1), ("RGBA", ".png", 1), ("RGBA", ".webp", 2), ("RGB", ".gif", 0),
    ],
)  # fmt: skip
def test_a_browser_reads_every_kind_of_file_as_the_server_does(shrunk, tmp_path, mode, suffix, most):
    path = tmp_path / f"photo{suffix}"
    picture((301, 222), mode).save(path)
    assert difference(path, shrunk) <= most


def test_a_large_jpeg_which_the_server_decodes_at_reduced_size_is_nearly_the_same(shrunk, tmp_path):
    picture((2400, 1700)).save(tmp_path / "photo.jpg", quality=90)
    assert difference(tmp_path / "photo.jpg", shrunk) <= 4


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
    Image.new("1", (6400, 6400)).save(path, "PNG")
    assert "40 million pixels" in shrunk(path)
    picture((300, 200)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:5000])
    assert "damaged or cut off" in shrunk(path)


def test_a_file_may_be_as_large_as_for_the_server(page):
    assert page.evaluate("import('./photo.js').then((photo) => photo.MAX_FILE_BYTES)") == MAX_FILE_BYTES


# The networks


@pytest.fixture(scope="module")
def runtime(folder):
    """ONNX Runtime Web in the folder, where npm and a connection are there to fetch it."""
    try:
        fetch_runtime(folder / "runtime")
    except RuntimeFetchError as error:
        pytest.skip(f"no networks in the browser: {error}")


@pytest.fixture(scope="module")
def student(folder):
    """The shipped student: as PyTorch has it; and exported to the folder in two parts, with what the worker is told."""
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    classifier = Classifier(*checkpoint.load(STUDENT)).eval()
    content = export.to_onnx(classifier).SerializeToString()
    (folder / "student-1").write_bytes(content[:3_000_000])
    (folder / "student-2").write_bytes(content[3_000_000:])
    return classifier, {"load": "student", "parts": ["student-1", "student-2"], "bytes": len(content)}


@pytest.fixture
def worker(page):
    """Starts the worker afresh and tells it things; returns what it tells until there are so many answers."""

    def talk(messages, answers):
        return page.evaluate(
            """([messages, answers]) => new Promise((done) => {
                globalThis.worker?.terminate();
                globalThis.worker = new Worker("networks.js", { type: "module" });
                const told = [];
                worker.onmessage = ({ data }) => {
                    told.push(data);
                    if (told.filter((each) => each.answer !== undefined || each.failed).length === answers) done(told);
                };
                for (const each of messages) worker.postMessage(each);
            })""",
            [messages, answers],
        )

    return talk


def fifty_pictures(tmp_path):
    """Fifty image files of all kinds that a browser reads."""
    kinds = [
        ("RGB", ".png"), ("RGB", ".jpg"), ("RGB", ".webp"), ("RGBA", ".png"), ("LA", ".png"), ("L", ".jpg"),
        ("RGB", ".bmp"),
    ]  # fmt: skip
    sizes = [*SIZES.values(), (3000, 2200)]
    for number in range(50):
        mode, suffix = kinds[number % len(kinds)]
        path = tmp_path / f"{number}{suffix}"
        picture(sizes[number % len(sizes)], mode, seed=number).save(path)
        yield path


@torch.inference_mode()
def test_the_same_photo_gives_the_same_logits_in_the_browser(runtime, student, page, shrunk, tmp_path):
    classifier, load = student
    paths = [*fifty_pictures(tmp_path), *sorted((ROOT / "kd" / "demo" / "examples").glob("*.png"))]
    answers = page.evaluate(
        """async ([load, questions]) => {
            const worker = new Worker("networks.js", { type: "module" }), answers = [];
            worker.postMessage(load);
            for (const [ask, pixels] of questions.entries()) {
                worker.postMessage({ ask, pixels });
                answers.push(await new Promise((done, fail) => {
                    worker.onmessage = ({ data }) => {
                        if (data.answer === ask) done(data.logits);
                        if (data.failed) fail(data.problem);
                    };
                }));
            }
            worker.terminate();
            return answers;
        }""",
        [load, [shrunk(path).flatten().tolist() for path in paths]],
    )
    seen = np.stack([np.asarray(to_network_size(read_photo(path))) for path in paths])
    expected = classifier(torch.from_numpy(seen).permute(0, 3, 1, 2).float() / 255)
    apart = (torch.tensor(answers) - expected).abs().amax(1).tolist()
    assert {path.name: far for path, far in zip(paths, apart, strict=True) if far > 0.05} == {}


def test_progress_is_told_and_a_question_that_waits_is_answered_when_the_network_is_there(runtime, student, worker):
    _, load = student
    told = worker([{"ask": 7, "pixels": [0] * 3072}, load], 1)
    received = [each["received"] for each in told if "loading" in each]
    assert received == sorted(received) and received[-1] == load["bytes"]
    assert told[-2] == {"ready": "student"}
    assert (told[-1]["answer"], told[-1]["role"], len(told[-1]["logits"])) == (7, "student", 10)
    assert told[-1]["milliseconds"] > 0


def test_a_network_that_fails_gets_a_sentence_and_the_others_go_on(runtime, student, worker, folder):
    _, load = student
    (folder / "damaged").write_bytes(b"no network" * 100)
    messages = [
        {"load": "teacher", "parts": ["nowhere"], "bytes": 10},
        {"load": "distilled", "parts": ["damaged"], "bytes": 1000},
        load,
        {"ask": 1, "pixels": [0] * 3072},
    ]
    told = worker(messages, 3)
    problems = {each["failed"]: each["problem"] for each in told if "failed" in each}
    assert problems.keys() == {"teacher", "distilled"}
    assert "check the connection" in problems["teacher"] and "damaged" in problems["distilled"]
    assert told[-1]["role"] == "student" and "answer" in told[-1]


# The runtime


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Puts a stand-in for npm in its place, which packs the files it is given; returns their package's checksum."""

    def stand_in(*names):
        package = tmp_path / "package.tgz"
        with tarfile.open(package, "w:gz") as archive:
            for name in names:
                entry = tarfile.TarInfo(f"package/dist/{name}")
                entry.size = len(name)
                archive.addfile(entry, io.BytesIO(name.encode()))
        script = tmp_path / "bin" / "npm"
        script.parent.mkdir()
        script.write_text(
            f'#!/bin/sh\ntest "$1 $2 $3" = "pack onnxruntime-web@{VERSION} --pack-destination" && cp {package} "$4"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
        return base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()

    return stand_in


def test_the_runtime_is_unpacked_where_its_checksum_is_right(npm, tmp_path, monkeypatch):
    monkeypatch.setattr(kd.site.runtime, "SHA512", npm(*FILES, "ort.all.js"))
    fetch_runtime(tmp_path / "runtime")
    assert {path.name: path.read_text() for path in (tmp_path / "runtime").iterdir()} == {name: name for name in FILES}


def test_a_runtime_of_another_checksum_is_refused(npm, tmp_path):
    npm(*FILES)
    with pytest.raises(RuntimeFetchError, match="do not use it"):
        fetch_runtime(tmp_path / "runtime")
    assert not (tmp_path / "runtime").exists()


def test_where_the_runtime_cannot_be_had_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="npm is needed"):
        kd.site.runtime.main([str(tmp_path / "runtime")])
    (tmp_path / "npm").write_text("#!/bin/sh\necho no connection >&2\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)
    with pytest.raises(SystemExit, match="could not be fetched by npm: connect and try again. no connection"):
        kd.site.runtime.main([str(tmp_path / "runtime")])
