"""The results tab: what was measured, read from the files that the commands wrote."""

from collections.abc import Callable
from pathlib import Path

import gradio as gr
import plotly.graph_objects as go

from kd import checkpoint
from kd.demo import figures, study_figures
from kd.recipe import ROLES
from kd.results import read_results, results_table
from kd.studies import read_studies, study_table

NO_RESULTS = "No results have been measured for these checkpoints yet: `python -m train.evaluate` writes them."


def build_results(checkpoints: Path) -> None:
    """The results tab: the table and the training curves, read from the checkpoints' files."""
    results = read_results(checkpoints)
    scrollable(results_table(results) if results else NO_RESULTS, elem_id="results")
    for study in sorted(read_studies(checkpoints).values(), key=lambda study: study["study"] != "main"):
        build_study(study)
    histories = {role: checkpoint.read_history(checkpoints / role) for role in ROLES}
    gr.Markdown("## Accuracy while training")
    gr.Plot(figures.training_curves(histories), show_label=False, elem_id="training-curves")


def build_study(study: dict) -> None:
    """A study's question, its table with the verdicts, and the figures that its measurements allow."""
    gr.Markdown(f"## {study['question']}")
    scrollable(study_table(study))
    for title, figure in figures_of(study):
        gr.Markdown(f"### {title}")
        gr.Plot(figure(study), show_label=False)


def scrollable(markdown: str, elem_id: str | None = None) -> gr.Markdown:
    """Tables that a phone scrolls sideways, and that take the focus, so that the keyboard can scroll them too."""
    html = f'<div tabindex="0">\n\n{markdown}\n</div>'
    return gr.Markdown(html, sanitize_html=False, elem_id=elem_id, elem_classes="scrollable")


def figures_of(study: dict) -> list[tuple[str, Callable[[dict], go.Figure]]]:
    """The figures that suit a study, each with its title."""
    if "never_seen" in study:
        return [("The class it never saw", study_figures.unseen_class_recognised)]
    if "human_doubt" in study:
        return [("Distance from people's doubts", study_figures.doubt_over_temperature)]
    if any("label_fraction" in arm["withheld"] for arm in study["arms"]):
        return [("Accuracy over the labels that are known", study_figures.accuracy_over_labels)]
    suited = [("Accuracy: every seed, mean and standard deviation", study_figures.accuracy_of_arms)]
    if study["measured_on"] == "test":
        suited += [
            ("Calibration: how often it is right when it is that sure", study_figures.reliability_diagram),
            ("Agreement with the teacher", study_figures.agreement_with_teacher),
            ("Accuracy against multiply-accumulates", study_figures.accuracy_against_work),
        ]
    return suited
