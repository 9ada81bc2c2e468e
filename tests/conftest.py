"""What several test files share: the subset of CIFAR-10, a network that trains in a blink, the page and a browser."""

import asyncio
import json
import os
import shutil
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest
import torch
from gradio_client import handle_file
from huggingface_hub import constants
from PIL import Image
from playwright.sync_api import sync_playwright
from torch import nn

from kd import checkpoint, models
from kd.cifar10 import CLASSES, read_split, read_test_set
from kd.classifier import Classifier
from kd.files import write_json
from kd.inference import Trio
from kd.models import ROLES
from kd.out_of_class import Warner, responses
from kd.recording import RECORDING, moment, write_recording
from kd.results import RESULTS
from kd.site.runtime import RuntimeFetchError, fetch_runtime
from kd.studies.omitted_class import CONTROL_FOLDER, FOLDER
from tests.browser import EXAMPLES, PATIENCE
from tests.configs import made_config
from tests.hub_stand_in import hub_stand_in
from tests.serving import CHROMIUM, CHROMIUM_FLAGS, ROOT, api_client, serve
from tests.space import copy_space

# Sums depend on how many threads share them out; runs that are compared bit for bit need one number.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir():
    """The folder that holds the subset: 500 training and 100 test images, as many of each class.

    They are the first ten images of each class in each of CIFAR-10's six files, in their order.
    """
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def subset(data_dir):
    """The subset's training images, split: 450 to train on and 50 to validate on."""
    return read_split(data_dir)


@pytest.fixture(scope="session")
def carried_images(data_dir):
    """The hundred test images of tests/data, as Pillow images."""
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in read_test_set(data_dir).images]


class TinyNetwork(nn.Sequential):
    """Two convolutions with a head, which `kd.models` takes apart as it does MobileNetV2."""

    @property
    def features(self):
        return nn.Sequential(self[:3], *self[3:7])

    @property
    def classifier(self):
        return self[9]


@pytest.fixture(scope="session")
def make_network():
    """Makes two convolutions with batch norm and dropout, the parts that make training and evaluation mode differ."""

    def make(seed=0):
        torch.manual_seed(seed)
        return TinyNetwork(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 10),
        )

    return make


def measure(folder, roles=ROLES):
    """Writes a results.json that fits the checkpoints in `folder`, as train.evaluate does."""
    measured = {}
    same = ("architecture", "recipe", "seed", "epochs_done", "machine", "data")
    for position, role in enumerate(roles):
        config = checkpoint.load_config(folder / role)
        measured[role] = {
            "accuracy": 0.8125 - position / 64, "nll": 0.5, "ece": 0.0625, "agreement": 0.75, "parameters": 10,
            "macs": 20, "latency_ms": 1.0, "bytes": checkpoint.weight_bytes(config),
            "weights": checkpoint.digest(config),
        }  # fmt: skip
        measured[role] |= {key: config[key] for key in same}
    data = {"name": "CIFAR-10", "part": "test", "images": 100}
    write_json(folder / RESULTS, {"models": measured, "data": data, "machine": "M", "latency_runs": 9})


@pytest.fixture(scope="module")
def tiny(make_network):
    """Lets every network that is built while this module's tests run be tiny, with weights by torch's seed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda *_: make_network(seed=torch.initial_seed()))
        yield


@pytest.fixture
def checkpoints(tmp_path, monkeypatch, make_network):
    """A folder with three tiny checkpoints and their results; the teacher's is in several shards."""
    monkeypatch.setattr(models, "build", lambda *_: make_network(seed=99))
    monkeypatch.setattr(checkpoint, "MAX_SHARD_BYTES", 3000)
    folder = tmp_path / "checkpoints"
    for seed, role in enumerate(ROLES):
        network = make_network(seed)
        network(torch.randn(8, 3, 32, 32))  # so that the batch-norm statistics are not those of a new network
        checkpoint.save(network.eval(), made_config(role), folder / role)
    measure(folder)
    return folder


@pytest.fixture(scope="session")
def networks(tmp_path_factory, make_network, subset):
    """Checkpoints of tiny networks with the shipped ones' descriptions, which are as sure as those: the three
    with recordings, and of the two with an omitted class the control too, whether that ships or not."""
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    pictures = torch.stack([torch.from_numpy(np.array(Image.open(EXAMPLES / f"{name}.png"))) for name in CLASSES])
    recorded = torch.cat([pictures.permute(0, 3, 1, 2), subset[0].images[:100]]).float() / 255
    for seed, folder in enumerate([*ROLES, FOLDER, CONTROL_FOLDER]):
        network = make_network(seed)
        network[-1].weight.data *= 30
        config = checkpoint.load_config(ROOT / "checkpoints" / (FOLDER if folder == CONTROL_FOLDER else folder))
        if folder == CONTROL_FOLDER:
            config["role"] = "student"
        checkpoint.save(network, config, checkpoints / folder)
        if folder in ROLES:
            with torch.inference_mode():
                logits = Classifier(network, config)(recorded)
            moments = [moment(logits * epoch / 3, epoch, epoch / 10) for epoch in range(4)]
            write_recording(moments, checkpoints / folder / RECORDING)
    (checkpoints / "studies" / "figures").mkdir(parents=True)
    for name in ("results.json", "studies/main.json", "studies/figures/main-accuracy.svg"):
        shutil.copyfile(ROOT / "checkpoints" / name, checkpoints / name)
    for study in (ROOT / "checkpoints" / "studies").glob("omitted-class*.json"):
        shutil.copyfile(study, checkpoints / "studies" / study.name)
    results = json.loads((checkpoints / "results.json").read_text())
    configs = {role: checkpoint.load_config(checkpoints / role) for role in ROLES}
    for role, config in configs.items():
        results["models"][role] |= {"bytes": checkpoint.weight_bytes(config), "weights": checkpoint.digest(config)}
    results["another_teacher"] = not checkpoint.is_taught_by(configs["distilled"], configs["teacher"])
    normalisation = checkpoint.normalisation_of(configs["teacher"])
    network = make_network(0)  # the teacher's again
    network[-1].weight.data *= 30
    looked = responses(network.eval(), subset[1].images, normalisation)
    results["out_of_class"] |= Warner.fit(looked, subset[1].labels).to_json()
    write_json(checkpoints / "results.json", results)
    return checkpoints


@pytest.fixture(scope="module")
def tiny_trio(networks, tiny):
    """These networks as a server would have them."""
    return Trio(networks)


@pytest.fixture
def copied(tmp_path):
    """A copy of the shipped checkpoints, to be damaged."""
    for role in ROLES:
        shutil.copytree(ROOT / "checkpoints" / role, tmp_path / "checkpoints" / role)
    return tmp_path / "checkpoints"


@pytest.fixture(scope="session")
def trio():
    """The three shipped networks, in this process."""
    return Trio(ROOT / "checkpoints")


@dataclass(frozen=True)
class Watched:
    """The real page, with its process and the places it may write to.

    Attributes:
        root: its own copy of the project, of what a Space gets and nothing else.
        log: all that it has said.
        cache: the folder that the host names for Gradio's cache.
        letter: a file of the host's in it.
        elsewhere: the home folder and the folder for temporary files, which belong to it alone.
        hosts: a file with every host that the process has looked up or connected to, a line each.
    """

    address: str
    process: Popen
    root: Path
    log: Path
    cache: Path
    letter: Path
    elsewhere: Path
    hosts: Path


# Python runs a module of this name first: it notes every host that the process looks up or connects to.
NOTES_HOSTS = """
import sys
def note(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[0 if event.startswith("socket.get") else 1]
        with open({!r}, "a") as hosts:
            print(address[0] if isinstance(address, tuple) else address, file=hosts)
sys.addaudithook(note)
"""


@pytest.fixture(scope="session")
def watched(tmp_path_factory):
    """The real page with the shipped networks, under watch."""
    folder = tmp_path_factory.mktemp("server")
    log, cache, elsewhere = folder / "log", folder / "cache", folder / "elsewhere"
    root = copy_space(folder / "space")
    elsewhere.mkdir()
    cache.mkdir()
    letter = cache / "letter.txt"
    letter.touch()
    rest = cache / "dark-knowledge" / "crash" / "rest.png"
    rest.parent.mkdir(parents=True)
    rest.touch()
    for old in (letter, rest):
        os.utime(old, (0, 0))  # older than any upload may be
    hosts, notes = folder / "hosts", folder / "notes"
    notes.mkdir()
    (notes / "sitecustomize.py").write_text(NOTES_HOSTS.format(str(hosts)))
    settings = {"GRADIO_TEMP_DIR": str(cache), "TMPDIR": str(elsewhere), "HOME": str(elsewhere)}
    with serve(log=log, root=root, PYTHONPATH=str(notes), **settings) as (address, process):
        yield Watched(address, process, root, log, cache, letter, elsewhere, hosts)


@pytest.fixture(scope="session")
def server(watched):
    """The address of the real page with the shipped networks."""
    return watched.address


@pytest.fixture(scope="session")
def classify(server):
    """Asks the endpoint for its answer to an image file."""
    client, answers = api_client(server), {}

    def ask(path, temperature=4.0):
        question = Path(path).read_bytes(), temperature
        if question not in answers:
            answers[question] = client.predict(handle_file(path), temperature, api_name="/classify")
        return answers[question]

    return ask


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A stand-in for the Hub, an empty cache of what is fetched from it, and a token."""
    with hub_stand_in() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
        yield hub


@pytest.fixture(scope="session")
def chromium():
    """Chromium for all browser tests. Without it they skip, unless KD_REQUIRE_BROWSER forbids that."""
    if not CHROMIUM.exists() and "KD_REQUIRE_BROWSER" not in os.environ:
        pytest.skip(f"{CHROMIUM} is not installed: no browser tests")
    with sync_playwright() as playwright:
        loop = asyncio.get_running_loop()
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)
        yield browser, loop
        asyncio._set_running_loop(loop)
        browser.close()


@pytest.fixture(scope="session")
def windows():
    """Windows by their settings, kept from test to test: in one that is there a page opens in a third of the time.

    Their size is no such setting: each page sets its own.
    """
    return defaultdict(list)


@pytest.fixture(scope="module")
def browser(chromium, windows):
    """Chromium, for a module; what the module opened in it is closed at its end, but for the windows that are kept.

    Playwright's event loop counts as this thread's running one only as long: tests that run one cannot do with another.
    """
    browser, loop = chromium
    asyncio._set_running_loop(loop)
    yield browser
    kept = [page.context for pages in windows.values() for page in pages]
    for context in browser.contexts:
        if context not in kept:
            context.close()
    asyncio._set_running_loop(None)


@contextmanager
def visiting(browser, windows, server):
    """Opens the page in windows that nobody else is in; at the end, fails if a script of it failed, and keeps them."""
    pages, errors = [], []

    def note(error):
        errors.append(str(error))

    def note_what_gradio_logs(message):  # it catches what a component's own script throws
        if message.text.startswith(("Error in watch callback", "Error executing js_on_load")):
            errors.append(message.text)

    def open_page(query="", viewport=None, **settings):
        kept = windows[repr(settings)]
        page = kept.pop() if kept else browser.new_context(**settings).new_page()
        pages.append((page, kept))
        page.set_viewport_size(viewport or {"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", note)
        page.on("console", note_what_gradio_logs)
        page.goto(server + query)
        # What other tests did in this window is no history of this page.
        page.context.new_cdp_session(page).send("Page.resetNavigationHistory")
        page.wait_for_selector("#soft-targets-table tbody tr")
        return page

    yield open_page
    for page, kept in pages:
        page.context.set_offline(False)
        page.remove_listener("pageerror", note)
        page.remove_listener("console", note_what_gradio_logs)
        for other in page.context.pages:
            if other != page:
                other.close()
        page.unroute_all()
        page.mouse.move(0, 0)
        page.goto(f"{server}gradio_api/app_id")  # a page on which nothing happens
        kept.append(page)
    assert errors == []


@pytest.fixture
def visit(browser, windows, server):
    """Opens the page, for a test, in a window that no other page of the test is in."""
    with visiting(browser, windows, server) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def visit_for_all(browser, windows, server):
    """Opens the page for all tests of a module."""
    with visiting(browser, windows, server) as open_page:
        yield open_page


@pytest.fixture(scope="session")
def runtime(tmp_path_factory):
    """A folder with ONNX Runtime Web, where npm and a connection are there to fetch it."""
    folder = tmp_path_factory.mktemp("runtime")
    try:
        fetch_runtime(folder)
    except RuntimeFetchError as error:
        pytest.skip(f"no networks in the browser: {error}")
    return folder
