"""The results as the page shows them, in real Chromium: claims with verdicts and figures, everything else folded."""

import pytest

from kd.studies.claims import claims
from kd.studies.ledger import read_studies
from tests.browser import PATIENCE, assert_serves_document
from tests.serving import ROOT


@pytest.fixture(scope="module")
def tab(visit_for_all):
    page = visit_for_all(viewport={"width": 1280, "height": 720})
    page.get_by_role("tab", name="Results").click()
    page.wait_for_selector(".claim .js-plotly-plot .main-svg", state="attached", timeout=PATIENCE)
    return page


def test_each_claim_stands_with_its_verdict_beside_a_figure(tab):
    expected = claims(read_studies(ROOT / "checkpoints"))
    tab.wait_for_function("(n) => document.querySelectorAll('.claim').length === n", arg=len(expected))
    for row, claim in zip(tab.locator(".claim").all(), expected, strict=True):
        assert row.locator(".chip").inner_text() == claim.verdict
        assert claim.sentence in row.inner_text()
        figure = row.locator(".js-plotly-plot").locator("visible=true")
        figure.wait_for(timeout=PATIENCE)
        assert figure.locator(".g-gtitle text").bounding_box()["y"] >= figure.bounding_box()["y"]


def test_the_tab_links_to_the_documentation_which_the_page_serves_as_text(tab):
    assert_serves_document(tab, "studies.md")


def test_all_of_it_takes_less_than_three_screens_until_it_is_unfolded(tab):
    height = "document.documentElement.scrollHeight"
    for width, screen in ((1280, 720), (1366, 657), (390, 844), (1280, 720)):
        tab.set_viewport_size({"width": width, "height": screen})
        tab.wait_for_function(f"(most) => {height} < most", arg=3 * screen)  # figures follow a new width a little later
        folded = tab.evaluate(height)
        assert folded > screen
    tab.locator(".claim").first.get_by_role("button", name="Details").click()
    tab.wait_for_selector(".claim .scrollable table", timeout=PATIENCE)
    assert tab.evaluate(height) > folded
    assert tab.get_by_text("Points are percentage points.").first.is_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_figures_that_are_unfolded_take_the_width_of_their_box(tab, width):
    tab.set_viewport_size({"width": width, "height": 720})
    if not tab.locator(".claim .scrollable table").first.is_visible():
        tab.locator(".claim").first.get_by_role("button", name="Details").click()
    drawn = """() => [...document.querySelector('.claim').querySelectorAll('.js-plotly-plot')].map((figure) => [
        figure.querySelector('.main-svg').getBoundingClientRect().width, figure.getBoundingClientRect().width])"""
    tab.wait_for_function(f"({drawn})().length > 1 && ({drawn})().every(([own, box]) => own > 0 && own <= box + 1)")
    assert all(0 < own <= box + 1 for own, box in tab.evaluate(drawn))
