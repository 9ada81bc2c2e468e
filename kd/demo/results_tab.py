"""The results tab: what was measured, read from the files that the commands wrote.

A file may be missing, damaged, of another version, or name what is gone since. Then its own table or figure is
replaced by a sentence, the log says why, and all else is shown.
"""

import logging
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import TypeVar

import gradio as gr

from kd import checkpoint
from kd.demo import figures, study_figures
from kd.recipe import ROLES
from kd.results import RESULTS, ROLE_NAMES, load_results, results_table
from kd.studies.ledger import STUDIES_FOLDER, MeasuredStudy, read_study, study_files
from kd.studies.report import is_short, study_table

NO_RESULTS = "No results have been measured for these checkpoints yet: `python -m train.evaluate` writes them."

Shown = TypeVar("Shown")
_log = logging.getLogger(__name__)


def build_results(checkpoints: Path) -> None:
    """The results tab: the table and the training curves, read from the checkpoints' files."""

    def table() -> str:
        results = load_results(checkpoints)
        return results_table(results) if results else NO_RESULTS

    scrollable(attempt(RESULTS, table) or sentence(RESULTS), elem_id="results")
    files = study_files(checkpoints / STUDIES_FOLDER)
    for path in sorted(files, key=lambda path: path.stem != "main"):
        study = attempt(path.name, lambda path=path: read_study(path))
        if study is None:
            gr.Markdown(sentence(path.name))
        elif not is_short(study):
            build_study(study, path.name)
    gr.Markdown("## Accuracy while training")
    histories = {role: history_of(checkpoints / role, role) for role in ROLES}
    gr.Plot(figures.training_curves(histories), show_label=False, elem_id="training-curves")


def build_study(study: MeasuredStudy, file: str) -> None:
    """A study's question, its table with the verdicts, and the figures that its measurements allow."""
    gr.Markdown(f"## {study.question}")
    scrollable(attempt(f"{file}, its table", lambda: study_table(study)) or sentence(file))
    for drawing in study_figures.drawings_of(study):
        gr.Markdown(f"### {drawing.title}")
        figure = attempt(f"{file}, the figure {drawing.name}", lambda drawing=drawing: drawing.figure(study))
        if figure is None:
            gr.Markdown(sentence(file))
        else:
            gr.Plot(figure, show_label=False)


def history_of(folder: Path, role: str) -> list[dict]:
    """The epochs of a run that tell their accuracies; where others do not, the page says so."""
    file = f"{role}/{checkpoint.HISTORY}"
    history = attempt(file, lambda: checkpoint.read_history(folder))
    told = [epoch for epoch in history or [] if all(isinstance(epoch.get(key), Real) for key in figures.CURVE_KEYS)]
    if history is None:
        gr.Markdown(sentence(file))
    elif len(told) < len(history):
        untold = f"{len(history) - len(told)} of {len(history)} epochs do not tell how they went"
        _log.warning("%s: %s", file, untold)
        gr.Markdown(f"{ROLE_NAMES[role]}: {untold}.")
    return told


def attempt(what: str, make: Callable[[], Shown]) -> Shown | None:
    """What `make` returns; None where a file that it reads does not allow it, which the log then explains."""
    try:
        return make()
    except Exception as error:  # what an old or damaged file may lead to has no end; nothing of it may stop the page
        _log.warning("%s cannot be shown: %r", what, error)
        return None


def sentence(file: str) -> str:
    """What the page shows in place of what a file does not allow."""
    return f"*What stands in `{file}` cannot be shown here: it is damaged, or of another version of this program.*"


def scrollable(markdown: str, elem_id: str | None = None) -> gr.Markdown:
    """Tables that a phone scrolls sideways, and that take the focus, so that the keyboard can scroll them too."""
    html = f'<div tabindex="0">\n\n{markdown}\n</div>'
    return gr.Markdown(html, sanitize_html=False, elem_id=elem_id, elem_classes="scrollable")
