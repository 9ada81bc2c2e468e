"""For everybody: axe-core's checks, keyboard alone, a phone, 200 % zoom."""

import pytest

from kd.cifar10 import CLASSES
from kd.demo.omitted_class import TAB
from tests.axe import SETTINGS, findings
from tests.browser import EXAMPLES, answered_anew, choose_example, example_shown, opened, settle, table, upload

PHONE_AND_SLOW_THREE = [
    pytest.param(setting, marks=() if setting == "phone" else pytest.mark.slow) for setting in SETTINGS
]

TABS = {  # and what to wait for there
    "Many images": "#gallery-folder",
    "Results": ".claim .main-svg:visible",
    TAB: "#cards li",
    "Use it": "#use pre",
}


@pytest.mark.parametrize("setting", PHONE_AND_SLOW_THREE)
def test_axe_finds_nothing_serious_on_the_stage(visit, setting):
    page = visit("?ghost=on", **SETTINGS[setting])
    choose_example(page, CLASSES.index("horse"))
    for view in ("#map", "#replay"):
        page.locator(f"{view} > summary").click()
        page.locator(f"{view} .panel").wait_for()
    assert findings(page) == []
    upload(page, EXAMPLES / "ship.png")
    assert findings(page) == [], "a visitor's photo"
    page.evaluate("document.querySelector('#play').textContent = ''")
    assert findings(page) == [("button-name", [["#play"]])], "what would be found"


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_axe_finds_nothing_serious_in_the_other_tabs(visit, setting):
    page = visit(**SETTINGS[setting])
    for tab, selector in TABS.items():
        page.get_by_role("tab", name=tab).click()
        page.locator(selector).first.wait_for()
        assert findings(page) == [], tab


def tab_to(page, selector):
    """Press Tab until an element has the focus; returns how often."""
    for presses in range(1, 61):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return presses
    raise AssertionError(f"{selector} cannot be reached by Tab")


def test_the_keyboard_alone_reaches_and_works_every_control(visit):
    page = visit()
    assert tab_to(page, "#temperature-slider") <= 8
    before = table(page)["temperature"]
    page.keyboard.press("ArrowRight")
    assert table(page)["temperature"] > before
    tab_to(page, "#temperature-number")
    page.keyboard.type("3")
    tab_to(page, "#play")
    tab_to(page, "#own-photo")
    tab_to(page, "#examples button")
    shown = example_shown(page)
    page.keyboard.press("ArrowRight")
    answered_anew(page, lambda: page.keyboard.press("Enter"))
    assert example_shown(page) == CLASSES[(CLASSES.index(shown) + 1) % 10]
    tab_to(page, "#order")
    page.keyboard.press("ArrowDown")
    assert page.locator("#order").input_value() == "class"
    for box in ("#log-scale", "#ghost"):
        tab_to(page, box)
        page.keyboard.press("Space")
        assert page.locator(box).is_checked()
    tab_to(page, "#save-png")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename.endswith(".png")
    for control in ("#save-svg", ".word", "#pulled", "#lower-slider", "#without-square", "#take-step", "#start-again"):
        tab_to(page, control)


def test_the_focus_can_be_seen_on_every_control_of_ours(visit):
    page = visit()
    for selector in (
        "#examples button",
        "#own-photo",
        "#temperature-number",
        "#play",
        "#order",
        "#log-scale",
        "#save-svg",
        ".word",
    ):
        page.locator(selector).first.focus()
        page.keyboard.press("Shift")  # now the focus counts as the keyboard's
        outline = page.locator(selector).first.evaluate("(node) => getComputedStyle(node).outlineWidth")
        assert float(outline.removesuffix("px")) >= 2, selector


# The parts of the stage, of these kinds, that reach beyond this width or whose content does not fit them; hidden ones
# have no size.
MISFITS = """([parts, width]) => parts.flatMap((selector) =>
    [...document.querySelectorAll(`#stage ${selector}`)].filter((part) => {
        const box = part.getBoundingClientRect();
        const fits = box.x >= 0 && box.right <= width && part.scrollWidth - part.clientWidth <= 1;
        return box.width > 0 && !fits;
    }).map((part) => `${selector}: ${part.innerText}`))"""


@pytest.mark.parametrize("setting", ["phone", "zoomed to 200 %"])
def test_everything_fits_the_width_and_nothing_is_cut_off(visit, setting):
    page = visit("?ghost=on", **SETTINGS[setting])
    choose_example(page, CLASSES.index("frog"))
    width = SETTINGS[setting]["viewport"]["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#all-numbers").check()
    parts = (
        ".answer",
        "#temperature-slider",
        "section",
        "button",
        "select",
        "#soft-targets-table :is(th, td)",
        "#pulls :is(th, td)",
    )
    assert page.evaluate(MISFITS, [parts, width]) == []


@pytest.mark.parametrize("width", [768, 960, 1024])
def test_the_bars_have_room_and_nothing_is_cut_off_on_a_tablet(visit, width):
    page = visit("?T=4", viewport={"width": width, "height": 1024})
    bars = page.locator("#soft-targets .room").first
    assert bars.bounding_box()["width"] > 150
    if page.locator("#all-numbers").is_visible():
        page.locator("#all-numbers").check()
        assert bars.bounding_box()["width"] > 60
    opened(page, "replay")
    assert page.locator("#replay-table .room").first.bounding_box()["width"] > 150
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    parts = (".answer", "section", "button", ":is(#soft-targets-table, #replay-table) :is(th, td)")
    assert page.evaluate(MISFITS, [parts, width]) == []


def test_the_marks_of_the_slider_never_run_into_one_another(visit):
    page = visit()
    for width in (320, 390, 768, 1023, 1024, 1100, 1279, 1280, 1366):
        page.set_viewport_size({"width": width, "height": 800})
        settle(page)
        boxes = [mark.bounding_box() for mark in page.locator("#temperature-ticks button:visible").all()]
        assert len(boxes) >= 4
        for one, other in zip(boxes, boxes[1:], strict=False):
            assert one["x"] + one["width"] <= other["x"], width


def test_the_pulls_have_a_slider_of_their_own_under_the_finger(visit):
    page = visit(**SETTINGS["phone"])
    lower = page.locator("#lower-slider")
    lower.scroll_into_view_if_needed()
    box = lower.bounding_box()
    lower.tap(position={"x": box["width"] * 0.9, "y": box["height"] / 2})
    assert table(page)["temperature"] > 8
