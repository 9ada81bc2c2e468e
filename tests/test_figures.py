"""What the figures share with the rest of the page."""

import re

from kd.demo.figures import ROLE_COLOURS
from tests.serving import ROOT


def test_a_network_has_the_same_colour_in_figures_and_views():
    found = {}
    for path in (ROOT / "kd" / "demo").rglob("*.css"):
        for role, colour in re.findall(r"--(teacher|student|distilled): (#\w+);", path.read_text("utf-8")):
            found.setdefault((path.name, role), colour)  # the light theme's stands first
    assert {role for _, role in found} == set(ROLE_COLOURS)
    assert found == {(name, role): ROLE_COLOURS[role] for name, role in found}
