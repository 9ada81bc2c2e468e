"""The tab of the class that a student never saw: real Chromium, the bias under the mouse."""

import numpy as np
import pytest
import torch

from kd.cifar10 import CLASSES
from kd.demo.unseen_tab import study_of
from kd.hub import Classifier
from kd.inference import read_photo, to_network_size
from kd.studies import read_studies
from tests.browser import EXAMPLES, PATIENCE, settle, softmax
from tests.serving import ROOT

CHECKPOINTS = ROOT / "checkpoints"


@pytest.fixture(scope="module")
def student():
    return Classifier.from_pretrained(CHECKPOINTS / "never-seen")


@pytest.fixture(scope="module")
def unseen(student):
    """The position of the class that it never saw."""
    return CLASSES.index(student.config["data"]["without_class"])


@pytest.fixture(scope="module")
def found(student):
    """What the studies found for it."""
    return study_of(student.config, read_studies(CHECKPOINTS))


@pytest.fixture
def tab(visit):
    page = visit()
    page.get_by_role("tab", name="The class it never saw").click()
    page.wait_for_selector("#unseen-table tbody tr")
    return page


def logits_of(student, path):
    pixels = torch.from_numpy(np.array(to_network_size(read_photo(path)))).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        return student(pixels)[0].tolist()


def shown(page, model):
    settle(page)
    cells = page.locator(f"#unseen-table tbody [data-model={model}]")
    return cells.evaluate_all("cells => cells.map((cell) => +cell.dataset.value)")


def biased(logits, unseen, bias):
    return softmax([z + bias * (k == unseen) for k, z in enumerate(logits)], 1)


def test_a_study_measured_the_student_that_ships(student, found):
    temperature = student.config["recipe"]["temperature"]
    (run,) = [run for run in found.study["never_seen"]["runs"] if run["temperature"] == temperature]
    (arm,) = [arm for arm in found.study["arms"] if arm["name"] == run["arm"]]
    assert found.bias == run["bias"]
    assert arm["runs"][0]["validation_accuracy"] == student.config["metrics"]["validation_accuracy"]
    assert student.config["data"]["trained_on"] == 40_500


@pytest.mark.parametrize("change", [{"temperature": 1.5}, {"seed": 99}, {"epochs": 3}])
def test_no_other_students_correction_is_taken(student, change):
    recipe = student.config["recipe"] | change
    assert study_of(student.config | {"recipe": recipe}, read_studies(CHECKPOINTS)) is None


def test_control_is_another_student_than_the_distilled_one_of_the_same_recipe(student):
    config = student.config | {"role": "student"}
    assert study_of(config, read_studies(CHECKPOINTS)) != study_of(student.config, read_studies(CHECKPOINTS))


def test_the_tab_starts_with_the_example_as_the_student_was_trained(tab, student, unseen, classify):
    path = EXAMPLES / f"{CLASSES[unseen]}.png"
    assert shown(tab, "unseen") == pytest.approx(biased(logits_of(student, path), unseen, 0), abs=1e-5)
    assert shown(tab, "teacher") == pytest.approx(classify(path)["models"]["teacher"]["probabilities"], abs=1e-5)
    assert "(never seen)" in tab.locator("#unseen-table tr.never th").evaluate(
        "heading => getComputedStyle(heading, '::after').content"
    )


def test_the_button_adds_the_bias_that_the_study_found_and_the_other_takes_it_away(tab, student, unseen, found):
    logits = logits_of(student, EXAMPLES / f"{CLASSES[unseen]}.png")
    tab.get_by_role("button", name="Corrected").click()
    assert shown(tab, "unseen") == pytest.approx(biased(logits, unseen, round(found.bias, 2)), abs=1e-5)
    tab.get_by_role("button", name="As it was trained").click()
    assert shown(tab, "unseen") == pytest.approx(biased(logits, unseen, 0), abs=1e-5)


def test_dragging_the_bias_up_ends_in_the_unseen_class_without_any_request(tab, unseen):
    requests = []
    tab.on("request", lambda request: requests.append(request.url))
    box = tab.locator("#bias-slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] * 2 / 14, middle)
    tab.mouse.down()
    seen = []
    for share in (0.3, 0.6, 1.0):
        tab.mouse.move(box["x"] + box["width"] * share, middle, steps=10)
        seen.append(shown(tab, "unseen")[unseen])
    tab.mouse.up()
    assert seen == sorted(seen) and seen[-1] > seen[0]
    assert f"never saw a {CLASSES[unseen]} says" in tab.locator("#unseen .verdict").inner_text()
    assert [url for url in requests if "heartbeat" not in url] == []


def test_an_upload_is_answered_and_a_bad_file_clears_the_answer(tab, student, unseen, tmp_path):
    path = EXAMPLES / "ship.png"
    before = shown(tab, "unseen")
    tab.locator("#unseen-image input[type=file]").set_input_files(path)
    tab.wait_for_function(
        "before => Math.abs(document.querySelector('#unseen-table [data-model=unseen]').dataset.value - before) > 1e-9",
        arg=before[0], timeout=PATIENCE,
    )  # fmt: skip
    assert shown(tab, "unseen") == pytest.approx(biased(logits_of(student, path), unseen, 0), abs=1e-5)
    (tmp_path / "bad.png").write_text("no image")
    tab.locator("#unseen-image input[type=file]").set_input_files(tmp_path / "bad.png")
    tab.get_by_text("This file is not an image that can be read").wait_for()
    tab.wait_for_selector("#unseen-table", state="hidden")
