"""The tab "Use it": its code runs as the page shows it, and gets the answers of the page's own networks."""

import contextlib
import io
import json
import re
import shutil
import subprocess

import pytest
from PIL import Image

from kd.classifier import Classifier
from kd.demo.use_tab import ADDRESS, code
from tests.browser import EXAMPLES, assert_serves_document
from tests.serving import ROOT


@pytest.fixture(scope="module")
def tab(visit_for_all, server):
    """The tab, in the browser."""
    page = visit_for_all()
    page.get_by_role("tab", name="Use it").click()
    page.wait_for_function("(address) => document.querySelector('#use')?.innerText.includes(address)", arg=server)
    return page


@pytest.fixture(scope="module")
def shown(tab):
    """The blocks of code in it."""
    return tab.locator("#use pre code").all_inner_texts()


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with nothing but a visitor's photo."""
    with Image.open(EXAMPLES / "ship.png") as picture:
        picture.resize((200, 200)).save(tmp_path / "photo.jpg")
    return tmp_path


def run_python(code, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(code, "shown", "exec"), {})
    return said.getvalue().strip()


def test_the_code_in_the_tab_names_this_page(shown, server):
    assert len(shown) == 3
    assert ADDRESS not in "".join(shown)
    assert [server in code for code in shown] == [False, True, True]


def test_the_code_for_a_program_of_ones_own_runs(shown, monkeypatch):
    expected = Classifier.from_pretrained(ROOT / "checkpoints" / "distilled").classify(EXAMPLES / "ship.png")
    assert run_python(shown[0], ROOT, monkeypatch) == str(expected)


def test_the_code_for_the_client_gets_the_students_answer(shown, elsewhere, monkeypatch, classify):
    answer = classify(elsewhere / "photo.jpg")
    assert run_python(shown[1], elsewhere, monkeypatch).splitlines()[-1] == answer["models"]["distilled"]["label"]


def test_the_tab_links_to_the_documentation_which_the_page_serves_as_text(tab):
    assert_serves_document(tab, "export.md")


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="bash or curl is not installed")
def test_the_code_for_curl_gets_the_endpoints_answer(shown, elsewhere, classify):
    done = subprocess.run(["bash", "-euc", shown[2]], cwd=elsewhere, capture_output=True, text=True, timeout=300)
    assert "event: complete" in done.stdout, done.stderr
    (answer,) = json.loads(done.stdout.split("data: ")[1])
    expected = classify(elsewhere / "photo.jpg")["models"]["distilled"]
    assert answer["models"]["distilled"]["softened"] == pytest.approx(expected["softened"], abs=1e-6)


def test_the_command_for_other_languages_is_one_that_there_is():
    shipped = code(ROOT / "checkpoints", knows_cifar10=True)
    (command,) = re.findall(r"<code>python -m (train\.\w+) checkpoints/distilled --output \w+</code>", shipped)
    assert (ROOT / (command.replace(".", "/") + ".py")).is_file()


def test_on_a_space_the_code_says_where_the_projects_files_come_from(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert "git clone" not in code(ROOT / "checkpoints", knows_cifar10=True)
    monkeypatch.setenv("SPACE_ID", "you/dark-knowledge")
    assert "<code>git clone https://huggingface.co/spaces/you/dark-knowledge</code>" in code(
        ROOT / "checkpoints", knows_cifar10=True
    )


def test_the_code_for_networks_of_ones_own_names_them_and_their_data_and_no_path_of_the_host(tmp_path):
    own = code(ROOT / "runs" / "mine", knows_cifar10=False)
    assert "from_pretrained(&quot;runs/mine/distilled&quot;)" in own and "photo.jpg" in own
    assert "train.export runs/mine/distilled --output student --data-dir DATA</code>" in own
    assert "checkpoints/distilled" not in own and "frog" not in own
    elsewhere = code(tmp_path, knows_cifar10=False)
    assert "FOLDER/distilled" in elsewhere and str(tmp_path) not in elsewhere
