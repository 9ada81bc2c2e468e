"""The colours that mean something, stated here and nowhere else: styles have them as CSS variables, figures by role."""

from typing import NamedTuple

from kd.models import ROLES


class Colour(NamedTuple):
    """A colour in the light theme and in the dark one, as CSS has it."""

    light: str
    dark: str


COLOURS = {
    "teacher": Colour("#3b6fd4", "#7d9ff0"),
    "student": Colour("#c9741a", "#f0984a"),
    "distilled": Colour("#14866d", "#3cc2a0"),
    "bad": Colour("#b42318", "#ff8a7a"),  # a wrong prediction, an error, a warning
    "quiet": Colour("#566070", "#a8b0bd"),  # secondary text, in a contrast of at least 4.5 to the ground
    "border": Colour("#7b8494", "#7b8494"),  # of what can be pressed or filled in, in a contrast of at least 3
    "good": Colour("#0f6b5c", "#5fd0bb"),  # what is shown to be so
    "chosen": Colour("#10705b", "#10705b"),  # the ground of what is pressed or ticked, under white
}
ROLE_COLOURS = {role: COLOURS[role].light for role in ROLES}


def stylesheet() -> str:
    """CSS that makes a variable of each colour, `--teacher` and so on, which follows the theme."""
    return "".join(
        f"{selector} {{ {' '.join(f'--{name}: {getattr(colour, theme)};' for name, colour in COLOURS.items())} }}\n"
        for selector, theme in ((":root", "light"), (".dark", "dark"))
    )
