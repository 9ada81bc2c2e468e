"""The live view's own controls under mouse and keyboard: order, scale, previous photo, play, measures and loss."""

import math

import pytest
import torch

from kd import checkpoint
from kd.cifar10 import CLASSES
from kd.losses import distillation_loss
from kd.recipe import ROLES
from tests.browser import EXAMPLES, answered_anew, choose_example, drag, number_in, settle, softmax, table, upload
from tests.serving import ROOT

STUDENTS = ROLES[1:]
TEMPERATURE = "+document.querySelector('#soft-targets-table').dataset.temperature"


def classes_on_screen(page):
    """The classes from top to bottom as they are seen."""
    rows = page.locator("#soft-targets-table tbody tr").all()
    return [row.get_attribute("data-class") for row in sorted(rows, key=lambda row: row.bounding_box()["y"])]


def test_rows_are_seen_in_the_teachers_order_or_by_class_and_stay_in_class_order_in_the_document(visit, classify):
    page = visit()
    logits = classify(EXAMPLES / "cat.png")["models"]["teacher"]["logits"]
    by_teacher = [CLASSES[k] for k in sorted(range(10), key=lambda k: -logits[k])]
    assert classes_on_screen(page) == by_teacher != list(CLASSES)
    assert table(page)["classes"] == list(CLASSES)
    page.locator("#order").select_option("class")
    assert classes_on_screen(page) == list(CLASSES)
    page.locator("#order").focus()
    page.keyboard.press("ArrowUp")
    assert classes_on_screen(page) == by_teacher
    assert table(page)["classes"] == list(CLASSES)


def test_a_row_lies_under_the_row_before_without_gap_or_overlap(visit):
    for width in (1280, 390):
        page = visit(viewport={"width": width, "height": 900})
        boxes = [row.bounding_box() for row in page.locator("#soft-targets-table tbody tr").all()]
        boxes.sort(key=lambda box: box["y"])
        for upper, lower in zip(boxes, boxes[1:], strict=False):
            assert lower["y"] == pytest.approx(upper["y"] + upper["height"], abs=0.1)


def test_dark_knowledge_is_what_each_network_gives_to_all_but_the_teachers_first_answer(visit, classify):
    page = visit()
    drag(page, 0.3)
    temperature = table(page)["temperature"]
    models = classify(EXAMPLES / "cat.png")["models"]
    first = CLASSES.index(models["teacher"]["label"])
    for role in ROLES:
        cell = page.locator(f"[data-dark={role}]")
        expected = 1 - softmax(models[role]["logits"], temperature)[first]
        assert float(cell.get_attribute("data-value")) == pytest.approx(expected, abs=1e-6)
        assert float(cell.inner_text().rstrip(" %")) / 100 == pytest.approx(expected, abs=6e-4)
    marked = page.locator("#soft-targets-table tbody tr.wrong").evaluate_all("rows => rows.map((r) => r.dataset.class)")
    assert marked == [name for name in CLASSES if name != CLASSES[first]]


def bar_lengths(page, kind):
    """How much of its room each class's bar of this kind fills, in class order."""
    settle(page)
    return page.locator(f"#soft-targets-table tbody .bar.{kind}").evaluate_all(
        """bars => bars.map((bar) => {
            const box = bar.getBoundingClientRect(), room = bar.parentElement.getBoundingClientRect();
            return (box.right - room.left) / room.width;
        })"""
    )


def test_bars_are_as_long_as_their_probabilities_or_on_demand_as_their_logarithms(visit):
    page = visit()
    p = table(page)["distilled"]
    assert bar_lengths(page, "distilled") == pytest.approx(p, abs=0.005)
    page.get_by_label("Log scale").check()
    logarithms = [max(0, 1 + math.log10(x) / 4) for x in p]
    assert bar_lengths(page, "distilled") == pytest.approx(logarithms, abs=0.005)
    assert table(page)["distilled"] == p


def test_the_previous_photo_stands_beside_the_present_one_at_the_same_temperature(visit, classify):
    page = visit()
    ghosts = page.locator("#soft-targets-table td.ghost")
    page.get_by_label("Previous photo").check()
    assert page.get_by_text("No photo came before this one").is_visible()
    assert not ghosts.first.is_visible()
    choose_example(page, CLASSES.index("horse"))
    assert not page.get_by_text("No photo came before this one").is_visible()
    page.locator("#temperature-number").fill("3")
    settle(page)
    before = softmax(classify(EXAMPLES / "cat.png")["models"]["teacher"]["logits"], 3)
    shown = [float(text.rstrip(" %")) / 100 for text in ghosts.all_inner_texts()[: len(CLASSES)]]
    assert shown == pytest.approx(before, abs=6e-4)
    assert bar_lengths(page, "ghost") == pytest.approx(before, abs=0.005)
    page.get_by_label("Previous photo").uncheck()
    assert not ghosts.first.is_visible()


def test_play_sweeps_the_temperature_until_a_hand_takes_the_slider(visit):
    page = visit()
    play = page.locator("#play")
    play.click()
    assert play.inner_text() == "Pause"
    page.wait_for_function(f"{TEMPERATURE} > 8")
    page.wait_for_function(f"{TEMPERATURE} === 20")
    page.wait_for_function(f"{TEMPERATURE} < 15")
    drag(page, 0.25)
    assert play.inner_text() == "Play"
    taken = table(page)["temperature"]
    page.wait_for_timeout(300)
    assert table(page)["temperature"] == taken < 2


@pytest.mark.parametrize("key", ["Escape", "Space"])
def test_play_is_started_and_paused_by_keyboard(visit, key):
    page = visit()
    page.locator("#play").focus()
    page.keyboard.press("Enter")
    page.wait_for_function(f"{TEMPERATURE} > 4.5")
    page.keyboard.press(key)
    stopped = table(page)["temperature"]
    page.wait_for_timeout(300)
    assert table(page)["temperature"] == stopped


def test_where_motion_is_to_be_reduced_play_steps_from_mark_to_mark(visit):
    page = visit(reduced_motion="reduce")
    page.evaluate(
        """() => {
            const table = document.querySelector('#soft-targets-table');
            window.temperatures = [];
            const note = () => window.temperatures.push(+table.dataset.temperature);
            new MutationObserver(note).observe(table, {attributes: true, attributeFilter: ['data-temperature']});
        }"""
    )
    page.locator("#play").click()
    page.wait_for_function("window.temperatures.length >= 3")
    page.locator("#play").click()
    assert page.evaluate("window.temperatures.slice(0, 3)") == [8, 20, 8]


def test_a_screen_reader_is_told_once_after_the_drag_and_nothing_while_it_lasts(visit):
    page = visit()
    page.wait_for_function("document.querySelector('#spoken').textContent.includes('4.00')")
    page.evaluate(
        """() => {
            window.told = 0;
            for (const live of document.querySelectorAll('#live [role=status], #live [aria-live], #live output'))
                new MutationObserver(() => window.told += 1).observe(
                    live, {subtree: true, childList: true, characterData: true});
        }"""
    )
    box = page.locator("#temperature-slider").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2, steps=20)
    page.wait_for_timeout(1200)  # the hand rests on the slider
    assert page.evaluate("window.told") == 0
    page.mouse.up()
    page.wait_for_function("window.told === 1")
    settle(page)
    said = page.locator("#spoken").inner_text()
    assert f"At temperature {table(page)['temperature']:.2f}, cat: Teacher " in said
    assert page.evaluate("window.told") == 1
    slider = page.get_by_role("slider", name="Temperature T")
    assert slider.get_attribute("aria-valuetext") == f"{table(page)['temperature']:.2f}"


def test_entropy_and_divergences_are_those_of_the_distributions_shown(visit, classify):
    page = visit()
    drag(page, 0.75)
    temperature = table(page)["temperature"]
    models = classify(EXAMPLES / "cat.png")["models"]
    p = {role: softmax(answer["logits"], temperature) for role, answer in models.items()}

    def kl(a, b):
        return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True))

    expected = {
        "entropy": -sum(x * math.log(x) for x in p["teacher"]),
        "kl-student": kl(p["teacher"], p["student"]),
        "kl-distilled": kl(p["teacher"], p["distilled"]),
    }
    for measure, value in expected.items():
        assert page.locator(f"[data-measure={measure}]").inner_text().endswith(" nats")
        assert number_in(page, f"[data-measure={measure}]") == pytest.approx(value, abs=6e-4)


def expected_loss(models, role, label, temperature):
    """Hard part, soft part and loss as the training script computes them, with the shipped recipe's soft weight."""
    soft_weight = checkpoint.load_config(ROOT / "checkpoints" / "distilled")["recipe"]["soft_weight"]
    student, teacher = (torch.tensor([models[name]["logits"]]) for name in (role, "teacher"))
    loss = distillation_loss(
        student, teacher, torch.tensor([label]), temperature=temperature, soft_weight=soft_weight
    )  # fmt: skip
    return ((1 - soft_weight) * loss.hard).item(), (soft_weight * loss.soft).item(), loss.total.item()


def assert_losses(page, models, label):
    temperature = table(page)["temperature"]
    for role in STUDENTS:
        shown = [number_in(page, f"[data-measure={part}-{role}]") for part in ("hard", "soft", "loss")]
        assert shown == pytest.approx(expected_loss(models, role, label, temperature), abs=1e-3)


def test_the_loss_of_an_example_is_the_training_scripts_with_its_true_class_and_moves_with_the_slider(visit, classify):
    page = visit()
    assert page.locator("#label").input_value() == "cat"
    assert page.locator("#label").is_disabled()
    models = classify(EXAMPLES / "cat.png")["models"]
    for share in (0.1, 0.9):
        drag(page, share)
        assert_losses(page, models, CLASSES.index("cat"))


def test_the_loss_of_a_photo_takes_the_teachers_answer_for_its_label_until_the_visitor_chooses(visit, classify):
    page = visit()
    photo = EXAMPLES / "horse.png"  # which comes without a label when it is uploaded
    upload(page, photo)
    models = classify(photo)["models"]
    assert page.locator("#label").input_value() == models["teacher"]["label"]
    assert page.get_by_text("the teacher's answer stands in until you choose one").is_visible()
    assert_losses(page, models, CLASSES.index(models["teacher"]["label"]))
    page.get_by_label("True class").select_option("truck")
    assert_losses(page, models, CLASSES.index("truck"))
    page.locator("#temperature-number").fill("1.5")
    assert_losses(page, models, CLASSES.index("truck"))


def test_an_upload_while_the_hand_drags_is_drawn_at_the_hands_temperature_and_the_drag_goes_on(visit, classify):
    page = visit()
    box = page.locator("#temperature-slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, middle, steps=10)

    def upload_and_drag_on():
        page.locator("#image input[type=file]").set_input_files(EXAMPLES / "ship.png")
        page.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=60)

    answered_anew(page, upload_and_drag_on)
    logits = classify(EXAMPLES / "ship.png")["models"]["teacher"]["logits"]
    for share in (0.9, 0.6):
        page.mouse.move(box["x"] + box["width"] * share, middle, steps=10)
        shown = table(page)
        assert shown["temperature"] == pytest.approx(0.5 * 40**share, rel=0.1)
        assert shown["teacher"] == pytest.approx(softmax(logits, shown["temperature"]), abs=1e-6)
    page.mouse.up()
