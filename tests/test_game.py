"""The game of the omitted class: what is measured of it, and the cards in real Chromium."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from kd import checkpoint
from kd.checkpoint import CheckpointError
from kd.cifar10 import CLASSES
from kd.classifier import Classifier
from kd.demo.examples import game_pictures
from kd.demo.omitted_class import TAB, cards_of, game_view, read_game, read_omitted_class
from kd.photo import read_photo, to_network_size
from kd.studies.ledger import STUDIES_FOLDER, read_studies
from kd.studies.omitted_class import CONTROL_FOLDER, FOLDER, runs_of, study_of
from tests.browser import EXAMPLES, PATIENCE, hold_questions
from tests.serving import ROOT

CHECKPOINTS = ROOT / "checkpoints"


@pytest.fixture(scope="module")
def student():
    return Classifier.from_pretrained(CHECKPOINTS / FOLDER)


@pytest.fixture(scope="module")
def name(student):
    """Its omitted class."""
    return student.config["data"]["omitted_class"]


@pytest.fixture(scope="module")
def found(student):
    """What the studies found for the student, and for its control."""
    return study_of(student.config, read_studies(CHECKPOINTS))


def logits_of(student, photo):
    pixels = torch.from_numpy(np.array(to_network_size(photo))).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        return student(pixels)[0]


def predictions_of(student, name, bias=0.0):
    """What it says of the six cards: labels and certainties."""
    logits = torch.stack([logits_of(student, picture) for picture in game_pictures(name, ROOT / "checkpoints")[1]])
    logits[:, CLASSES.index(name)] += bias
    sure, labels = logits.softmax(dim=1).max(dim=1)
    return [CLASSES[label] for label in labels], sure.tolist()


def test_a_study_measured_the_student_that_ships_and_its_control(student, name, found):
    assert found.run in runs_of(found.study) and found.control in runs_of(found.study)
    assert found.run.temperature == student.config["recipe"]["temperature"]
    assert found.control.temperature is None and found.control.arm.omitted_class == name


@pytest.fixture
def with_control(tmp_path):
    """A folder of checkpoints whose control is a copy, to be changed or removed."""
    for folder in (FOLDER, STUDIES_FOLDER, "teacher"):
        (tmp_path / folder).symlink_to(CHECKPOINTS / folder)
    shutil.copytree(CHECKPOINTS / CONTROL_FOLDER, tmp_path / CONTROL_FOLDER)
    return tmp_path


def test_both_networks_are_asked_where_the_control_ships_and_the_student_alone_where_it_does_not(with_control, student):
    picture = to_network_size(read_photo(EXAMPLES / "ship.png"))
    (both,) = cards_of(read_omitted_class(with_control), [picture])
    control = Classifier.from_pretrained(CHECKPOINTS / CONTROL_FOLDER)
    for name, network in (("student", student), ("control", control)):
        assert both["logits"][name] == pytest.approx(logits_of(network, picture).tolist(), abs=1e-4)
    shutil.rmtree(with_control / CONTROL_FOLDER)
    (alone,) = cards_of(read_omitted_class(with_control), [picture])
    assert alone["logits"].keys() == {"student"}


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config | {"data": {key: config["data"][key] for key in ("name", "trained_on")}},
        lambda config: config | {"image_size": 64},
    ],
    ids=["it saw the class", "other images"],
)
def test_a_control_that_is_none_is_refused(with_control, change):
    path = with_control / CONTROL_FOLDER / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(CheckpointError, match="was not trained without the class"):
        read_omitted_class(with_control)


def test_a_student_is_said_to_have_had_another_teacher_where_that_lies_beside_it(with_control, student):
    (with_control / "teacher").unlink()
    (with_control / "teacher").mkdir()
    beside = checkpoint.load_config(CHECKPOINTS / "teacher")
    for weights, another in (
        (student.config["teacher"]["weights"], False),
        ({"model.safetensors": {"bytes": 1, "sha256": "0" * 64}}, True),
    ):
        (with_control / "teacher" / "config.json").write_text(
            json.dumps(beside | {"weights": weights, "stored_in": {"weights": "float32"}})
        )
        omitted = read_omitted_class(with_control)
        assert omitted.another_teacher == another == game_view(omitted).props["another_teacher"]


def test_a_control_that_the_study_did_not_measure_has_no_figures(with_control):
    assert read_omitted_class(with_control).found.control
    path = with_control / CONTROL_FOLDER / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"stored_in": config["stored_in"] | {"made_of": "another"}}))
    omitted = read_omitted_class(with_control)
    assert omitted.control and game_view(omitted).props["measured"]["control"] is None


def without_study(folder):
    (folder / STUDIES_FOLDER).unlink()


def without_pictures(folder):
    (folder / "examples").mkdir()
    (folder / "examples" / "examples.json").write_text('{"examples": [], "game": ["frog"]}')


def with_no_picture(folder):
    (folder / "examples").mkdir()
    game = {"label": "frog", "chosen": "by hand", "pictures": []}
    (folder / "examples" / "examples.json").write_text(json.dumps({"examples": [], "game": game}))


def with_endless_examples(folder):
    (folder / "examples").mkdir()
    (folder / "examples" / "examples.json").write_text("[" * 100_000)


def without_a_network(folder):
    (folder / CONTROL_FOLDER / "config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without_study, "no study that can be read has measured"),
        (without_pictures, "pictures in .* cannot be used"),
        (with_no_picture, "pictures in .* cannot be used"),
        (with_endless_examples, "pictures in .* cannot be used"),
        (without_a_network, f"The game is left out: .*{CONTROL_FOLDER} is missing config.json"),
    ],
)
def test_a_game_that_cannot_be_played_is_left_out_and_log_and_tab_say_why(with_control, caplog, damage, reason):
    damage(with_control)
    omitted, sentence = read_game(with_control)
    assert omitted is None and re.search(reason, sentence) and caplog.messages == [sentence]
    assert "python -m train." in sentence


@pytest.fixture
def game(visit):
    page = visit(reduced_motion="reduce")
    page.get_by_role("tab", name=TAB).click()
    page.wait_for_selector("#cards li")
    return page


def percent(share):
    """As the page writes it."""
    return "> 99.9%" if share > 0.9995 else f"{share * 100:.1f}%"


def told(page):
    return page.locator("#card-told").inner_text().replace("\xa0", " ")


def test_after_a_bet_enter_turns_card_by_card_and_each_result_is_told(game, student, name, found):
    labels, sure = predictions_of(student, name)
    game.locator("#turn").click()
    assert game.locator("#cards .down").count() == 6, "without a bet no card is turned"
    game.locator("#bet input").first.focus()
    for _ in range(3):
        game.keyboard.press("ArrowRight")
    for turned, (label, certainty) in enumerate(zip(labels, sure, strict=True), 1):
        assert game.locator("#cards .down").count() == 7 - turned and not game.locator("#measured").is_visible()
        game.keyboard.press("Enter")
        assert f"Card {turned} of 6: the student says {label}, {percent(certainty)}" in told(game)
        assert f"named {labels[:turned].count(name)} of {turned}" in told(game)
    shown = [card.locator(".said b").first.inner_text() for card in game.locator("#cards li").all()]
    assert shown == [f"{label} {'✓' if label == name else '✗'}" for label in labels]
    assert ("as you bet" in told(game)) == (labels.count(name) == 3)
    line = game.locator("#measured").inner_text().replace("\xa0", " ")
    for share in (each["omitted"] for run in (found.run, found.control) for each in (run.before, run.after)):
        assert f"{share * 100:.1f}%" in line
    game.keyboard.press("Enter")  # start again
    assert game.locator("#cards .down").count() == 6 and game.locator("#bet input:checked").count() == 0


def test_the_card_that_is_clicked_is_the_one_that_turns(game, student, name):
    labels, _ = predictions_of(student, name)
    game.locator("#bet label").nth(2).click()
    for place in (4, 1):
        game.locator("#cards li").nth(place).click()
        assert f"Card {place + 1} of 6: the student says {labels[place]}" in told(game)
    shown = game.locator("#cards li").evaluate_all("(cards) => cards.map((card) => !card.matches('.down'))")
    assert shown == [False, True, False, False, True, False]
    assert f"named {[labels[4], labels[1]].count(name)} of 2" in told(game)


def test_the_correction_is_offered_with_the_first_answer_is_the_studys_and_can_be_taken_away(
    game, student, name, found
):
    assert not game.get_by_label("With the bias corrected").is_visible()
    game.locator("#bet label").first.click()
    for _ in range(6):
        game.locator("#turn").click()
    for bias in (found.run.bias, 0.0):
        game.get_by_label("With the bias corrected").set_checked(bias != 0)
        labels, sure = predictions_of(student, name, bias)
        said = [card.locator(".said").first.inner_text() for card in game.locator("#cards li").all()]
        cards = [text.replace("\xa0", " ") for text in said]
        assert [text.split()[0] for text in cards] == labels
        for text, certainty in zip(cards, sure, strict=True):
            assert percent(certainty) in text
        assert f"named {labels.count(name)} of 6" in told(game)


def test_the_correction_goes_where_there_is_no_answer_any_more_and_does_not_stay_switched_on(game):
    corrected = game.get_by_label("With the bias corrected")
    game.locator("#game-image input[type=file]").set_input_files(EXAMPLES / "ship.png")
    game.wait_for_selector("#own-answer img", timeout=PATIENCE)
    corrected.check()
    game.locator("#game-image").get_by_role("button", name="Remove").click(timeout=PATIENCE)
    corrected.wait_for(state="hidden")
    game.locator("#bet label").first.click()
    for _ in range(6):
        game.locator("#turn").click()
    assert corrected.is_visible() and not corrected.is_checked()
    corrected.check()
    game.locator("#bet-again").click()
    assert not corrected.is_visible() and not corrected.is_checked()


def test_a_visitors_picture_is_answered_and_a_bad_file_gets_a_sentence_in_its_place(game, student, tmp_path):
    game.locator("#game-image input[type=file]").set_input_files(EXAMPLES / "ship.png")
    game.wait_for_selector("#own-answer img", timeout=PATIENCE)
    logits = logits_of(student, read_photo(EXAMPLES / "ship.png"))
    assert game.locator("#own-answer b").first.inner_text() == CLASSES[logits.argmax()]
    game.evaluate(
        "new MutationObserver(() => { window.changed = true; }).observe(document.querySelector('#own-answer'), "
        "{childList: true, subtree: true})"
    )
    game.locator("#bet label").first.click()
    game.locator("#turn").click()
    assert not game.evaluate("window.changed")  # or a screen reader would tell it again beside each card
    game.locator("#game-image").get_by_role("button", name="Remove").click()
    game.wait_for_selector("#own-answer img", state="detached")
    (tmp_path / "bad.png").write_text("no image")
    game.locator("#game-image input[type=file]").set_input_files(tmp_path / "bad.png")
    game.get_by_text("This file is not an image that can be read").wait_for()
    assert game.locator("#own-answer img").count() == 0


def test_a_picture_that_is_removed_before_it_is_answered_leaves_nothing(game):
    _, let_go = hold_questions(game)
    game.locator("#game-image input[type=file]").set_input_files(EXAMPLES / "ship.png")
    game.locator("#game-image").get_by_role("button", name="Remove").click(timeout=PATIENCE)
    let_go()
    assert game.locator("#own-answer img").count() == 0
