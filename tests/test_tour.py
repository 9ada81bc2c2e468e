"""The tour over the stage: its steps, their addresses and figures, and the hand that may always interfere."""

import re
import statistics

import pytest
import torch

from kd.cifar10 import CLASSES
from kd.demo.omitted_class import TAB, read_omitted_class
from kd.studies.human_labels import rank_correlation
from tests.axe import findings
from tests.browser import (
    EXAMPLES,
    LAPTOPS,
    PHONE,
    TEMPERATURE,
    drag,
    note_changes,
    number_in,
    settle,
    share,
    table,
    taught_at,
)
from tests.serving import ROOT

OF_STEP = [1, taught_at(), 20, taught_at(), taught_at()]  # the temperatures


def caption(page):
    settle(page)
    return page.locator("#tour-text").inner_text().replace("\xa0", " ")


def step_of(page):
    """The step that the address names, asked of the page itself: what Playwright knows of it may be of before."""
    found = re.search(r"[?&]tour=(\d)", page.evaluate("location.search"))
    return int(found[1]) if found else None


def test_the_tour_goes_through_its_steps_by_arrow_keys_with_figures_of_the_example_shown(visit, classify):
    page = visit("?example=horse", reduced_motion="reduce")
    assert not page.locator("#tour").is_visible()
    logits = classify(EXAMPLES / "horse.png")["models"]["teacher"]["logits"]
    names = [CLASSES[k] for k in sorted(range(10), key=lambda k: -logits[k])]
    page.locator("#begin-tour").click()
    for step, temperature in enumerate(OF_STEP, 1):
        if step > 1:
            page.keyboard.press("ArrowRight")
        assert step_of(page) == step
        assert table(page)["temperature"] == temperature  # at once: motion is to be reduced
        p = sorted(table(page)["teacher"], reverse=True)
        said, shares = caption(page), [share(text) for text in re.findall(r"[\d.]+%", caption(page))]
        assert said.startswith(f"{step} of {len(OF_STEP)}: ")
        expected = {1: [p[0], 1 - p[0]], 2: [p[1], p[2], p[9]], 3: [p[9], p[0]], 4: []}.get(step)
        if expected is not None:
            assert shares == pytest.approx(expected, abs=1.1e-3)  # "> 99.9%"
        if step == 2:
            assert [name for name in re.findall(r"[a-z]+", said) if name in names] == [*names[:3], names[9]]
        if step == 4:
            shared = [number_in(page, f"[data-measure=order-{role}]") for role in ("student", "distilled")]
            numbers = [float(number) for number in re.findall(r"-?\d\.\d\d", said)]
            assert numbers == [*shared, *shared_on_average(classify)]
        assert ("student" in page.locator(".more").inner_text()) == (step >= 4)
        for student in ("student", "distilled"):
            assert page.locator(f"#soft-targets .mark.{student}").first.is_visible() == (step >= 4)
    another = read_omitted_class(ROOT / "checkpoints").another_teacher
    whose = "another teacher's" if another else "the teacher's"
    assert whose in page.locator("#tour-text").inner_text()
    omitted = page.locator("#tour-text").inner_text().split("teacher gives ")[1].split()[0]
    assert shares == pytest.approx([table(page)["teacher"][CLASSES.index(omitted)]], abs=6e-4)
    page.keyboard.press("ArrowLeft")
    assert step_of(page) == 4
    page.keyboard.press("Escape")
    assert not page.locator("#tour").is_visible() and step_of(page) is None
    assert page.evaluate("document.activeElement.id") == "begin-tour"


def shared_on_average(classify):
    """How much of the teacher's order of the other classes each student shares, the mean over the ten examples."""
    found = {role: [] for role in ("student", "distilled")}
    for name in CLASSES:
        models = classify(EXAMPLES / f"{name}.png")["models"]
        logits = {role: torch.tensor(model["logits"]) for role, model in models.items()}
        others = [k for k in range(10) if k != logits["teacher"].argmax()]
        for role, values in found.items():
            values.append(rank_correlation(logits["teacher"][others], logits[role][others]))
    return [pytest.approx(statistics.fmean(values), abs=6e-3) for values in found.values()]


@pytest.mark.parametrize("name", ["bird", "truck", "dog"])
def test_tour_and_sentence_call_the_same_temperature_too_hot_and_never_that_of_teaching(visit, name):
    page = visit(f"?example={name}&tour=2", reduced_motion="reduce")
    assert caption(page).startswith("2 of ") and "Too hot" not in page.locator(".headline").inner_text()
    page.get_by_role("button", name="Next").click()
    assert ("too hot" in caption(page)) == page.locator(".headline").inner_text().startswith("Too hot")


def test_a_step_is_reached_by_its_address_and_left_by_the_browsers_back(visit):
    page = visit("?tour=2", reduced_motion="reduce")
    assert caption(page).startswith("2 of ") and table(page)["temperature"] == taught_at()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Next").click()
    page.go_back()
    page.wait_for_function("document.querySelector('#tour-text').textContent.startsWith('3 of')")
    assert table(page)["temperature"] == 20
    page.goto(page.url.split("?")[0] + "?tour=9")
    page.wait_for_selector("#soft-targets-table tbody tr")
    assert not page.locator("#tour").is_visible()


def test_the_slider_glides_to_a_steps_temperature_unless_a_hand_takes_it_and_the_tour_waits(visit):
    page = visit("?tour=1")
    note_changes(page, "#soft-targets-table", "temperature")
    page.get_by_role("button", name="Next").click()
    page.wait_for_function(f"{TEMPERATURE} === {taught_at()}")
    passed = page.evaluate("window.noted")
    assert passed == sorted(passed) and any(1 < temperature < taught_at() for temperature in passed)
    page.get_by_role("button", name="Next").click()
    page.wait_for_function(f"{TEMPERATURE} > {taught_at()} + 0.2")
    drag(page, 0.25)
    taken = table(page)["temperature"]
    assert taken < 2
    page.wait_for_timeout(600)
    assert table(page)["temperature"] == taken
    assert caption(page).startswith("3 of ") and step_of(page) == 3


@pytest.mark.parametrize(
    ("width", "height"), [*(pytest.param(*size, marks=pytest.mark.slow) for size in LAPTOPS), PHONE]
)
def test_the_card_hides_neither_chart_nor_slider_nor_photo_and_moves_neither(visit, width, height):
    page = visit("?T=4", viewport={"width": width, "height": height}, reduced_motion="reduce")
    parts = ("#soft-targets", "#temperature", "#photo", "#sentence", "#answers")
    settle(page)
    before = {part: page.locator(part).bounding_box() for part in parts}
    page.locator("#begin-tour").click()
    for step in range(1, len(OF_STEP) + 1):
        assert caption(page).startswith(f"{step} of ")
        card = page.locator("#tour").bounding_box()
        assert card["y"] + card["height"] <= height
        for part in parts:
            box = page.locator(part).bounding_box()
            assert box == before[part], (step, part)
            beside = box["x"] + box["width"] <= card["x"] or card["x"] + card["width"] <= box["x"]
            assert beside or box["y"] + box["height"] <= card["y"] or card["y"] + card["height"] <= box["y"], part
        if step == len(OF_STEP):
            assert findings(page) == []
        page.keyboard.press("ArrowRight")


def test_a_finger_sideways_turns_the_step_and_one_downwards_does_not(visit):
    page = visit("?tour=1", viewport={"width": 390, "height": 844}, has_touch=True, reduced_motion="reduce")
    swipe = """([across, down]) => {
        const at = (type, x, y) => document.querySelector('#soft-targets').dispatchEvent(new PointerEvent(
            type, {pointerType: 'touch', pointerId: 7, clientX: x, clientY: y, bubbles: true}));
        at('pointerdown', 200, 500);
        at('pointerup', 200 + across, 500 + down);
    }"""
    for movement, step in (([-90, 5], 2), ([-60, 80], 2), ([-90, 0], 3), ([80, -10], 2)):
        page.evaluate(swipe, movement)
        assert caption(page).startswith(f"{step} of "), movement


@pytest.mark.parametrize("width", [1280, pytest.param(390, marks=pytest.mark.slow)])
def test_the_last_step_leads_to_the_game(visit, width):
    page = visit(f"?tour={len(OF_STEP)}", viewport={"width": width, "height": 800}, reduced_motion="reduce")
    assert "The class it never saw" in caption(page)
    page.get_by_role("button", name="Bet on it").click()
    page.wait_for_function("document.activeElement.matches('#game input')")
    assert page.get_by_role("tab", name=TAB).get_attribute("aria-selected") == "true"
    assert step_of(page) is None
    page.go_back()
    page.locator("#tour").wait_for()
    assert step_of(page) == len(OF_STEP) and "The class it never saw" in caption(page)
