"""For everybody: axe-core's checks, keyboard alone, a phone, 200 % zoom."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from kd.cifar10 import CLASSES
from tests.browser import answered_anew, choose_example, see_curves, table

# Gradio's own parts that we cannot mend from here.
NOT_OURS = [
    ["footer"],  # its links' grey has a contrast of 2.4
    ["#curves .empty"],  # gr.Plot's placeholder, until the curves come: an aria-label on an element without a role
]
SETTINGS = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True},
    "zoomed to 200 %": {"viewport": {"width": 640, "height": 500}},
}

TABS = {  # and what to wait for there
    "Many images": "#gallery-folder",
    "Results": "#training-curves .js-plotly-plot .main-svg",
    "The class it never saw": "#unseen-table tbody tr",
}


def findings(page):
    """What axe-core finds serious or critical, with the elements."""
    violations = Axe().run(page, {"exclude": NOT_OURS}).response["violations"]
    return [
        (violation["id"], [node["target"] for node in violation["nodes"]])
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("setting", SETTINGS)
def test_axe_finds_nothing_serious(visit, setting):
    page = visit("?ghost=on", **SETTINGS[setting])
    choose_example(page, CLASSES.index("horse"))
    see_curves(page)
    assert findings(page) == []
    for tab, selector in TABS.items():
        open_tab(page, tab)
        page.locator(selector).first.wait_for()
        assert findings(page) == [], tab


def open_tab(page, name):
    """Open a tab, from Gradio's menu of tabs where the window is too narrow for it."""
    tab = page.get_by_role("tab", name=name)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.click()


def test_axe_would_find_a_button_without_a_name(visit):
    page = visit()
    page.evaluate("document.querySelector('#play').textContent = ''")
    assert findings(page) == [("button-name", [["#play"]])]


def tab_to(page, selector):
    """Press Tab until an element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} cannot be reached by Tab")


def test_the_keyboard_alone_reaches_and_works_every_control(visit):
    page = visit()
    tab_to(page, "#examples button[title=deer]")
    answered_anew(page, lambda: page.keyboard.press("Enter"))
    assert page.locator("#label").input_value() == "deer"
    tab_to(page, "#temperature-number")
    page.keyboard.type("3")
    tab_to(page, "#play")
    tab_to(page, "#temperature-slider")
    before = table(page)["temperature"]
    page.keyboard.press("ArrowRight")
    assert table(page)["temperature"] > before
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
    tab_to(page, "#save-svg")


def test_the_focus_can_be_seen_on_every_control_of_ours(visit):
    page = visit()
    for selector in ("#examples button", "#temperature-number", "#play", "#order", "#log-scale", "#save-svg"):
        page.locator(selector).first.focus()
        page.keyboard.press("Shift")  # now the focus counts as the keyboard's
        outline = page.locator(selector).first.evaluate("(node) => getComputedStyle(node).outlineWidth")
        assert float(outline.removesuffix("px")) >= 2, selector


@pytest.mark.parametrize("setting", ["phone", "zoomed to 200 %"])
def test_everything_fits_the_width_and_nothing_is_cut_off(visit, setting):
    page = visit("?ghost=on", **SETTINGS[setting])
    choose_example(page, CLASSES.index("frog"))
    width = SETTINGS[setting]["viewport"]["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in (".card", "section", "button", "select", "#soft-targets-table :is(th, td)", "#loss :is(th, td)"):
        for part in page.locator(f"#live {selector}").all():
            box = part.bounding_box()
            if box:  # what is hidden has none
                assert box["x"] >= 0 and box["x"] + box["width"] <= width, (selector, box)
                assert part.evaluate("(node) => node.scrollWidth - node.clientWidth") <= 1, part.inner_text()


def test_the_slider_stays_in_sight_of_the_chart_on_a_phone(visit):
    page = visit(**SETTINGS["phone"])
    page.locator("#soft-targets-table tfoot").scroll_into_view_if_needed()
    page.mouse.wheel(0, 200)
    page.wait_for_timeout(300)
    slider = page.locator("#temperature-slider").bounding_box()
    assert 0 <= slider["y"] < 200
    page.locator("#temperature-slider").tap(position={"x": slider["width"] * 0.9, "y": slider["height"] / 2})
    assert table(page)["temperature"] > 8
