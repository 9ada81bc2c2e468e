"""What the figures share with the rest of the page."""

import itertools

import pytest

from kd.colours import COLOURS, ROLE_COLOURS
from kd.demo.omitted_class import TAB
from kd.figures import PALETTE
from kd.models import ROLES
from tests.serving import ROOT


def test_the_networks_colours_are_stated_in_one_place():
    styles = [path for path in (ROOT / "kd").rglob("*.*") if path.suffix in (".css", ".js", ".html", ".py")]
    for shade in itertools.chain(*COLOURS.values()):
        assert [path.name for path in styles if shade in path.read_text("utf-8")] == ["colours.py"], shade
    assert not set(PALETTE) & set(ROLE_COLOURS.values())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_network_has_the_same_colour_on_the_stage_in_the_game_and_in_figures(visit, theme):
    page = visit(f"?__theme={theme}")
    page.get_by_role("tab", name=TAB).click()
    page.wait_for_selector("#game .bets")
    for selector in ("#stage", "#game"):
        for role in ROLES:
            shown = page.locator(selector).evaluate(f"(node) => getComputedStyle(node).getPropertyValue('--{role}')")
            assert shown.strip() == getattr(COLOURS[role], theme)
