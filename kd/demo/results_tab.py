"""The results tab: what was measured, read from the files that the commands wrote."""

from pathlib import Path

import gradio as gr

from kd import checkpoint
from kd.demo import figures, study_figures
from kd.recipe import ROLES
from kd.results import read_results, results_table
from kd.studies.report import is_short, read_studies, study_table

NO_RESULTS = "No results have been measured for these checkpoints yet: `python -m train.evaluate` writes them."


def build_results(checkpoints: Path) -> None:
    """The results tab: the table and the training curves, read from the checkpoints' files."""
    results = read_results(checkpoints)
    scrollable(results_table(results) if results else NO_RESULTS, elem_id="results")
    for study in sorted(read_studies(checkpoints).values(), key=lambda study: study["study"] != "main"):
        if not is_short(study):
            build_study(study)
    histories = {role: checkpoint.read_history(checkpoints / role) for role in ROLES}
    gr.Markdown("## Accuracy while training")
    gr.Plot(figures.training_curves(histories), show_label=False, elem_id="training-curves")


def build_study(study: dict) -> None:
    """A study's question, its table with the verdicts, and the figures that its measurements allow."""
    gr.Markdown(f"## {study['question']}")
    scrollable(study_table(study))
    for _, title, figure in study_figures.figures_of(study):
        gr.Markdown(f"### {title}")
        gr.Plot(figure, show_label=False)


def scrollable(markdown: str, elem_id: str | None = None) -> gr.Markdown:
    """Tables that a phone scrolls sideways, and that take the focus, so that the keyboard can scroll them too."""
    html = f'<div tabindex="0">\n\n{markdown}\n</div>'
    return gr.Markdown(html, sanitize_html=False, elem_id=elem_id, elem_classes="scrollable")
