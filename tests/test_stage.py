"""The stage's own parts under mouse and keyboard: sentence, order, scale, previous photo, play, measures and pulls."""

import copy
import math
import re

import pytest
import torch

from kd import checkpoint
from kd.cifar10 import CLASSES
from kd.demo.page import stage_of
from kd.losses import distillation_loss
from kd.models import ROLES
from kd.studies.human_labels import rank_correlation
from tests.browser import (
    EXAMPLES,
    TEMPERATURE,
    answered_anew,
    choose_example,
    drag,
    example_shown,
    note_changes,
    number_in,
    settle,
    share,
    softmax,
    table,
    taught_at,
    ticks_above,
    upload,
)
from tests.serving import ROOT

STUDENTS = ROLES[1:]


def classes_on_screen(page):
    """The classes from top to bottom as they are seen."""
    rows = page.locator("#soft-targets-table tbody tr").all()
    return [row.get_attribute("data-class") for row in sorted(rows, key=lambda row: row.bounding_box()["y"])]


def test_rows_are_seen_in_the_teachers_order_or_by_class_and_stay_in_class_order_in_the_document(visit, classify):
    page = visit()
    logits = classify(EXAMPLES / f"{example_shown(page)}.png")["models"]["teacher"]["logits"]
    by_teacher = [CLASSES[k] for k in sorted(range(10), key=lambda k: -logits[k])]
    assert classes_on_screen(page) == by_teacher != list(CLASSES)
    assert table(page)["classes"] == list(CLASSES)
    page.locator("#order").select_option("class")
    assert classes_on_screen(page) == list(CLASSES)
    page.locator("#order").focus()
    page.keyboard.press("ArrowUp")
    assert classes_on_screen(page) == by_teacher
    assert table(page)["classes"] == list(CLASSES)


@pytest.mark.slow
def test_a_row_lies_under_the_row_before_without_gap_or_overlap(visit):
    for width in (1280, 390):
        page = visit(viewport={"width": width, "height": 900})
        boxes = [row.bounding_box() for row in page.locator("#soft-targets-table tbody tr").all()]
        boxes.sort(key=lambda box: box["y"])
        for upper, lower in zip(boxes, boxes[1:], strict=False):
            assert lower["y"] == pytest.approx(upper["y"] + upper["height"], abs=0.1)


def test_the_sentence_says_what_the_numbers_say_at_each_temperature(visit, classify):
    page = visit()
    of_example = {name: classify(EXAMPLES / f"{name}.png")["models"] for name in CLASSES}

    def apart(models, temperature):
        p = {role: softmax(models[role]["logits"], temperature) for role in ROLES}
        return {role: sum(abs(a - b) for a, b in zip(p["teacher"], p[role], strict=True)) for role in STUDENTS}

    for name in (example_shown(page), *CLASSES[:4]):
        choose_example(page, CLASSES.index(name))
        models = of_example[name]
        logits = models["teacher"]["logits"]
        first, second, third, *_, last = sorted(range(10), key=lambda k: -logits[k])
        for temperature in (0.6, 1, 3, 20):
            page.locator("#temperature-number").fill(str(temperature))
            settle(page)
            headline, more = (page.locator(f"#sentence .{part}").inner_text() for part in ("headline", "more"))
            p = {role: softmax(models[role]["logits"], temperature) for role in ROLES}
            if p["teacher"][first] < 3 * p["teacher"][last] and temperature > taught_at():
                assert headline.startswith("Too hot") and CLASSES[last] in headline
            elif temperature >= 3 and p["teacher"][first] > 0.99:
                assert headline.startswith("Still ")
            elif temperature >= 3:
                assert f"next comes {CLASSES[second]}, then {CLASSES[third]}" in headline and CLASSES[last] in headline
                assert ("out of the question" in headline) == (p["teacher"][last] < 0.01)
            else:
                assert CLASSES[first] in headline
                assert headline.startswith("The teacher wavers") == (p["teacher"][first] < 0.9)
                numbers = [share(text) for text in re.findall(r"[\d.]+%", headline.replace("\xa0", " "))]
                assert any(number == pytest.approx(p["teacher"][first], abs=1e-3) for number in numbers), headline
            assert ("Dark knowledge" in more) == ("next comes" in headline)
            if "Dark knowledge" in more:
                others = share(re.search(r"hold (.*?%)", more)[1])
                assert others == pytest.approx(1 - p["teacher"][first], abs=1e-3)
                here = apart(models, temperature)
                times = here["student"] / here["distilled"]
                if 1.2 < times < 99:
                    assert f"{times:.1f} times nearer to the teacher." in more and "examples" not in more
                elif times < 1.1:
                    assert ("further from the teacher" if times < 0.85 else "from the teacher") in more
                    all_apart = [apart(of_example[each], temperature) for each in CLASSES]
                    overall = sum(each["student"] for each in all_apart) / sum(each["distilled"] for each in all_apart)
                    said = f"Over all examples the distilled one is {overall:.1f} times nearer to it."
                    assert (said in more) == (1.15 < overall < 99)


@pytest.mark.parametrize(
    ("changes", "by_soft_targets"),
    [({}, True), ({"loss": "dkd"}, True), ({"loss": "logit-mse"}, False), ({"loss": "standardised-kd"}, False),
     ({"soft_weight": 0.0}, False)],
)  # fmt: skip
def test_only_where_soft_targets_taught_a_temperature_is_that_of_teaching(trio, changes, by_soft_targets):
    other = copy.copy(trio)
    taught = trio.configs["distilled"]
    other.configs = trio.configs | {"distilled": taught | {"recipe": taught["recipe"] | changes}}
    assert stage_of(other)[0].props["by_soft_targets"] == by_soft_targets


def test_an_answer_is_marked_right_or_wrong_where_the_class_is_known(visit, classify):
    page = visit()
    for name in CLASSES:
        choose_example(page, CLASSES.index(name))
        models = classify(EXAMPLES / f"{name}.png")["models"]
        shown = page.locator("#answers strong").all_inner_texts()
        for role, text in zip(ROLES, shown, strict=True):
            assert text.split()[:2] == [models[role]["label"], "✓" if models[role]["label"] == name else "✗"]


def lengths(page, kind):
    """How much of its room each class's bar of this kind fills, or where its mark stands in it, in class order."""
    settle(page)
    return page.locator(f"#soft-targets-table tbody :is(.bar, .mark).{kind}").evaluate_all(
        """marks => marks.map((mark) => {
            const box = mark.getBoundingClientRect(), room = mark.closest('.room').getBoundingClientRect();
            const end = mark.matches('.bar') ? box.right : (box.left + box.right) / 2;
            return (end - room.left) / room.width;
        })"""
    )


def test_bars_and_marks_stand_at_their_probabilities_or_on_demand_at_their_logarithms(visit):
    page = visit("?T=3")
    shown = table(page)
    for role in ROLES:
        assert lengths(page, role) == pytest.approx(shown[role], abs=0.005)
    page.get_by_label("Log scale").check()
    for role in ROLES:
        logarithms = [max(0, 1 + math.log10(x) / 4) for x in shown[role]]
        assert lengths(page, role) == pytest.approx(logarithms, abs=0.005)
    assert table(page) == shown


def test_the_previous_photo_stands_behind_the_present_one_at_the_same_temperature(visit, classify):
    page = visit()
    models = classify(EXAMPLES / f"{example_shown(page)}.png")["models"]
    page.get_by_label("Previous photo").check()
    assert page.get_by_text("There is no previous photo yet").is_visible()
    choose_example(page, CLASSES.index("horse"))
    choose_example(page, CLASSES.index("horse"))  # which makes it no predecessor of its own
    assert not page.get_by_text("There is no previous photo yet").is_visible()
    page.locator("#temperature-number").fill("3")
    settle(page)
    assert lengths(page, "ghost") == pytest.approx(softmax(models["teacher"]["logits"], 3), abs=0.005)
    page.get_by_label("Previous photo").uncheck()
    assert not page.locator("#soft-targets-table .bar.ghost").first.is_visible()


@pytest.mark.slow
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


@pytest.mark.parametrize("key", ["Escape", pytest.param("Space", marks=pytest.mark.slow)])
def test_play_is_started_and_paused_by_keyboard(visit, key):
    page = visit()
    page.locator("#play").focus()
    page.keyboard.press("Enter")
    page.wait_for_function(f"{TEMPERATURE} > 1.5")
    page.keyboard.press(key)
    stopped = table(page)["temperature"]
    page.wait_for_timeout(300)
    assert table(page)["temperature"] == stopped


@pytest.mark.slow
def test_where_motion_is_to_be_reduced_play_steps_from_mark_to_mark(visit):
    page = visit(reduced_motion="reduce")
    note_changes(page, "#soft-targets-table", "temperature")
    page.locator("#play").click()
    page.wait_for_function("window.noted.length >= 3")
    page.locator("#play").click()
    assert page.evaluate("window.noted.slice(0, 3)") == ticks_above(1)[:3]


def test_a_screen_reader_is_told_once_after_the_drag_and_nothing_while_it_lasts(visit):
    page = visit()
    page.wait_for_function("document.querySelector('#spoken').textContent.includes('1.00')")
    page.evaluate(
        """() => {
            window.told = 0;
            for (const live of document.querySelectorAll('#stage [role=status], #stage [aria-live], #stage output'))
                new MutationObserver(() => window.told += 1).observe(
                    live, {subtree: true, childList: true, characterData: true});
        }"""
    )
    box = page.locator("#temperature-slider").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2, steps=20)
    page.wait_for_timeout(800)  # the hand rests on the slider
    assert page.evaluate("window.told") == 0
    page.mouse.up()
    page.wait_for_function("window.told === 1")
    settle(page)
    said = page.locator("#spoken").inner_text()
    label = page.locator("#answers [data-model=teacher] .label").inner_text()
    assert f"At temperature {table(page)['temperature']:.2f}, {label}: Teacher " in said
    assert page.evaluate("window.told") == 1
    slider = page.get_by_role("slider", name="Temperature T", exact=True)
    assert slider.get_attribute("aria-valuetext") == f"{table(page)['temperature']:.2f}"


def test_entropy_and_divergences_are_those_of_the_distributions_shown(visit, classify):
    page = visit()
    drag(page, 0.75)
    temperature = table(page)["temperature"]
    models = classify(EXAMPLES / f"{example_shown(page)}.png")["models"]
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


def test_the_order_shared_is_the_rank_correlation_of_the_other_nine_classes_at_any_temperature(visit, classify):
    page = visit()
    models = classify(EXAMPLES / f"{example_shown(page)}.png")["models"]
    logits = {role: torch.tensor(models[role]["logits"]) for role in ROLES}
    answer = logits["teacher"].argmax()
    others = [k for k in range(10) if k != answer]
    for temperature in ("1", "4", "20"):
        page.locator("#temperature-number").fill(temperature)
        settle(page)
        for role in STUDENTS:
            expected = rank_correlation(logits["teacher"][others], logits[role][others])
            assert number_in(page, f"[data-measure=order-{role}]") == pytest.approx(expected, abs=6e-3)


def soft_weight():
    return checkpoint.load_config(ROOT / "checkpoints" / "distilled")["recipe"]["soft_weight"]


def expected_pulls(models, role, label, temperature):
    """Loss, its weighted parts, and the negative gradients of the unweighted parts at the student's logits."""
    student = torch.tensor([models[role]["logits"]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([models["teacher"]["logits"]], dtype=torch.float64)
    loss = distillation_loss(
        student, teacher, torch.tensor([label]), temperature=temperature, soft_weight=soft_weight()
    )  # fmt: skip
    pulls = [-torch.autograd.grad(part, student, retain_graph=True)[0][0] for part in (loss.hard, loss.soft)]
    weight = soft_weight()
    return [((1 - weight) * loss.hard).item(), (weight * loss.soft).item(), loss.total.item()], pulls


def pulls_shown(page):
    """The two columns of the table of pulls, in class order."""
    settle(page)
    rows = page.locator("#pulls-table tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.querySelectorAll('th, td.number')].map((cell) => cell.textContent))"
    )
    numbers = {name: [float(text.replace("−", "-")) for text in texts] for name, *texts in rows}
    return zip(*(numbers[name] for name in CLASSES), strict=True)


def look_at_pulls(page):
    page.locator("#pulls-table").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#pulls-table td.number').textContent !== ''")


def assert_pulls(page, models, role, label):
    parts, pulls = expected_pulls(models, role, label, table(page)["temperature"])
    shown = [number_in(page, f"[data-measure={part}]") for part in ("hard", "soft", "loss")]
    assert shown == pytest.approx(parts, abs=1e-3)
    for column, pull in zip(pulls_shown(page), pulls, strict=True):
        assert column == pytest.approx(pull.tolist(), abs=1e-3)


def test_the_pulls_are_the_gradients_of_the_training_scripts_loss_and_move_with_the_slider(visit, classify):
    page = visit()
    name = example_shown(page)
    assert page.locator("#label").input_value() == name
    assert page.locator("#label").is_disabled()
    models = classify(EXAMPLES / f"{name}.png")["models"]
    look_at_pulls(page)
    for temperature in (1, 3, 12):
        page.evaluate(
            """(t) => {
                const slider = document.querySelector('#lower-slider');
                slider.value = Math.log2(t);
                slider.dispatchEvent(new Event('input', {bubbles: true}));
            }""",
            temperature,
        )
        for role in STUDENTS:
            page.locator("#pulled").select_option(role)
            assert_pulls(page, models, role, CLASSES.index(name))


def names_from_above(page, selector):
    """The first words of the rows of a table as they stand on the screen."""
    settle(page)
    return page.locator(f"{selector} tbody tr").evaluate_all(
        """rows => rows.sort((one, other) => one.getBoundingClientRect().top - other.getBoundingClientRect().top)
            .map((row) => row.querySelector('th').textContent)"""
    )


def test_the_pulls_stand_in_the_charts_order_with_a_line_at_the_teachers_probability(visit):
    page = visit("?T=4")
    look_at_pulls(page)
    for order in ("class", "teacher"):
        page.locator("#order").select_option(order)
        names = names_from_above(page, "#pulls-table")
        assert names == names_from_above(page, "#soft-targets-table")
        assert (names == list(CLASSES)) == (order == "class")
    probabilities = dict(zip(CLASSES, table(page)["teacher"], strict=True))
    for row in page.locator("#pulls-table tbody tr").all():
        line, room = (row.locator(part).bounding_box() for part in (".aim", ".room .scale"))
        at = (line["x"] + line["width"] / 2 - room["x"]) / room["width"]
        assert at == pytest.approx(probabilities[row.locator("th").inner_text()], abs=0.01)
    assert page.locator("#pulls-table .first th").all_inner_texts() == [page.locator("#label").input_value()]


def test_without_t_squared_the_teachers_pull_shrinks_by_it_and_the_labels_stays(visit):
    page = visit("?T=5")
    look_at_pulls(page)
    label, teacher = pulls_shown(page)
    assert page.locator("#pulls .square").is_visible()
    page.get_by_label("Without").check()
    assert not page.locator("#pulls .square").is_visible()
    label_without, teacher_without = pulls_shown(page)
    assert label_without == label
    assert teacher_without == pytest.approx([pull / 25 for pull in teacher], abs=1e-3)


def longest_arrow(page, *parts):
    """In pixels, of these parts of the loss."""
    settle(page)
    return page.evaluate(
        """(parts) => {
            const lengths = (part) => [...document.querySelectorAll(`#pulls-table .shaft.${part}`)].map(
                (shaft) => shaft.getBoundingClientRect().width);
            return Math.max(...parts.flatMap(lengths));
        }""",
        parts,
    )


def bar_width(page):
    """Of the true class's bar, in pixels."""
    settle(page)
    return row_of_label(page).locator(".bar").bounding_box()["width"]


def row_of_label(page):
    return page.locator("#pulls-table tr", has_text=page.locator("#label").input_value())


def test_the_largest_pull_fills_its_room_and_begins_where_the_bar_ends(visit):
    page = visit("?T=4")
    look_at_pulls(page)
    scale = page.locator("#pulls-table tbody .scale").first.bounding_box()["width"]
    assert longest_arrow(page, "hard", "soft") == pytest.approx(0.33 * scale, rel=0.01)
    for row in page.locator("#pulls-table tbody tr").all():
        bar, begin = row.locator(".bar").bounding_box(), row.locator(".arrows").bounding_box()
        assert begin["x"] == pytest.approx(bar["x"] + bar["width"], abs=0.5)
    page.get_by_label("Without").check()
    assert longest_arrow(page, "soft") < 0.05 * scale  # a sixteenth


def test_a_step_moves_the_students_bars_down_the_loss_and_can_be_taken_back(visit):
    page = visit("?T=4")
    look_at_pulls(page)
    before = [number_in(page, f"[data-measure={part}]") for part in ("hard", "soft", "loss")]
    width = bar_width(page)
    by_label, by_teacher = (
        float(text.replace("−", "-")) for text in row_of_label(page).locator("td.number").all_inner_texts()
    )
    grows = (1 - soft_weight()) * by_label + soft_weight() * by_teacher > 0
    for _ in range(3):
        page.get_by_role("button", name="Take a step").click()
    assert number_in(page, "[data-measure=loss]") < before[2]
    assert bar_width(page) > width if grows else bar_width(page) < width
    page.get_by_role("button", name="Start again").click()
    assert [number_in(page, f"[data-measure={part}]") for part in ("hard", "soft", "loss")] == before


def test_the_pulls_on_a_photo_take_the_teachers_answer_for_its_label_until_the_visitor_chooses(visit, classify):
    page = visit()
    photo = EXAMPLES / "horse.png"  # which comes without a label when it is uploaded
    upload(page, photo)
    models = classify(photo)["models"]
    look_at_pulls(page)
    assert page.locator("#label").input_value() == models["teacher"]["label"]
    assert page.get_by_text("the teacher's answer stands in until you choose one").is_visible()
    assert_pulls(page, models, "student", CLASSES.index(models["teacher"]["label"]))
    page.get_by_label("True class").select_option("truck")
    assert_pulls(page, models, "student", CLASSES.index("truck"))


def test_a_word_is_explained_where_it_is_used_by_mouse_and_by_keyboard(visit):
    page = visit()
    page.get_by_role("button", name="softmax").click()
    assert "turns scores into probabilities" in page.locator("#word").inner_text()
    page.get_by_role("button", name="dark knowledge").last.focus()
    page.keyboard.press("Enter")
    assert "which mistakes would be small ones" in page.locator("#word").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#word").is_visible()
    page.get_by_role("button", name="nats").focus()
    page.keyboard.press("Enter")
    assert "A nat measures information" in page.locator("#word").inner_text()


def test_an_upload_while_the_hand_drags_is_drawn_at_the_hands_temperature_and_the_drag_goes_on(visit, classify):
    page = visit()
    box = page.locator("#temperature-slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, middle, steps=10)

    def upload_and_drag_on():
        page.locator("#image input[type=file]").set_input_files(EXAMPLES / "ship.png")
        page.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=20)

    answered_anew(page, upload_and_drag_on)
    logits = classify(EXAMPLES / "ship.png")["models"]["teacher"]["logits"]
    for place in (0.9, 0.6):
        page.mouse.move(box["x"] + box["width"] * place, middle, steps=10)
        shown = table(page)
        assert shown["temperature"] == pytest.approx(0.5 * 40**place, rel=0.1)
        assert shown["teacher"] == pytest.approx(softmax(logits, shown["temperature"]), abs=1e-6)
    page.mouse.up()
