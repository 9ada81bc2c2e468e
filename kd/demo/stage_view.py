"""The stage: the part of the page that answers while the hand moves, joined from the files in stage/.

All of it runs in the browser. What is shown of the examples comes with the page; its value is what is shown of
a photo (`page.show`), {"problem": a sentence}, or nothing.
"""

import re
from pathlib import Path

import gradio as gr

from kd.demo.recordings import Recorded
from kd.photo import Crop
from kd.results import warning_rates

STAGE = Path(__file__).parent / "stage"
# In this order they are one function: each file declares functions, and stage.js calls them all.
SCRIPTS = (
    "elements", "mathematics", "sentence", "source", "chart", "predictions", "measures", "temperature", "photo",
    "examples", "pulls", "words", "address", "saving", "connection", "tabs", "tour", "recordings", "stage",
)  # fmt: skip
# What the views over recordings need besides; it comes with what was recorded.
LATER_SCRIPTS = ("confusion", "confused", "places", "map-line", "map", "replay")
STYLES = ("stage", "tour", "recordings")
VIEWS = {"map": "a map of the classes", "replay": "a replay of the training"}  # over recordings
SLIDER_MIN, SLIDER_MAX, SLIDER_START = 0.5, 20.0, 1.0  # temperatures; kd.losses allows more


def script(name: str, folder: Path = STAGE) -> str:
    """One of the stage's scripts, or of another folder, as it is sent: without comments; no text has " // " in it."""
    text = re.sub(r"^\s*//.*\n", "", (folder / f"{name}.js").read_text("utf-8") + "\n", flags=re.MULTILINE)
    return re.sub(r"\s+// .*$", "", text, flags=re.MULTILINE)


def later_script() -> str:
    """What the views over recordings need besides the stage's own scripts."""
    return "".join(map(script, LATER_SCRIPTS))


def style(path: Path) -> str:
    """The rules of a file, as they are sent: without comments."""
    return re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)


def stage_view(
    examples: list[dict],
    image_size: int,
    first_example: int,
    note: str,
    recorded: Recorded,
    stage_tab: str,
    *,
    taught_at: float,
    loss: str,
    by_soft_targets: bool,
    alike: bool,
    omitted_class: str | None = None,
    game_tab: str | None = None,
    another_teacher: bool = False,
) -> gr.HTML:
    """The component, around what is built within it; triggers `crop` (as `kd.demo.crop` reads it), `example` and
    `recordings`.

    Args:
        examples: what is shown of the examples (`page.show`), at most one of each class, in class order.
        image_size: of the network input, pixels both ways.
        first_example: the position of the one that is shown first.
        note: what stands under the photo.
        recorded: what the views over recordings show; sent when the component asks for it, by triggering `recordings`,
            with the scripts that show it (`later_script`).
        stage_tab: the label of its own tab, which Back opens.
        taught_at: the temperature at which the distilled student was taught.
        loss: by which distillation loss (`kd.losses.DISTANCES`); what it pulls is shown of Hinton's alone.
        by_soft_targets: whether it learnt from what is shown, the teacher's softmax(z / T).
        alike: whether both students are one network that began alike and saw the same images.
        omitted_class: of one student, where there is a game about it.
        game_tab: the label of that game's tab.
        another_teacher: whether another teacher than the one shown taught that student.
    """
    views = [name for name, view in recorded.views.items() if view]
    folded = "".join((STAGE / f"{name}.html").read_text("utf-8") for name in views)
    section = f'<section id="recordings" aria-label="Recordings of the networks">\n{folded}</section>' if views else ""
    if left_out := [VIEWS[name] for name, view in recorded.views.items() if not view]:
        section += f'\n<p class="explanation">No recording of these networks gives {" or ".join(left_out)}.</p>'
    return gr.HTML(
        None,
        html_template=(STAGE / "stage.html").read_text("utf-8").replace("<!-- recordings -->", section),
        css_template="\n".join(style(STAGE / f"{name}.css") for name in STYLES),
        js_on_load="".join(map(script, SCRIPTS)),
        apply_default_css=False,
        elem_id="stage",
        classes=examples[0]["classes"],
        image_size=image_size,
        min_side=Crop.MIN_SIDE,
        min_temperature=min(SLIDER_MIN, taught_at),
        max_temperature=max(SLIDER_MAX, taught_at),
        start_temperature=SLIDER_START,
        taught_at=taught_at,
        loss=loss,
        by_soft_targets=by_soft_targets,
        alike=alike,
        note=note,
        omitted_class=omitted_class,
        stage_tab=stage_tab,
        game_tab=game_tab,
        another_teacher=another_teacher,
        examples=examples,
        first_example=first_example,
        recordings=None,
        pictures=recorded.pictures,
    )


WARNING = "This may be none of the ten classes, and the networks know no eleventh answer."


def warning(out_of_class: dict) -> dict[str, str]:
    """The warning: its "sentence", and the "rates" at which it is right and wrong (`results.json`), shown on demand."""
    return {"sentence": WARNING, "rates": warning_rates(out_of_class)}
