"""The results tab: what was measured, read from the files that the commands wrote."""

from pathlib import Path

import gradio as gr

from kd import checkpoint
from kd.demo import figures, study_figures
from kd.recipe import ROLES
from kd.results import read_results, results_table
from kd.studies import read_studies, study_table

NO_RESULTS = "No results have been measured for these checkpoints yet: `python -m train.evaluate` writes them."


def build_results(checkpoints: Path) -> None:
    """The results tab: the table and the training curves, read from the checkpoints' files."""
    results = read_results(checkpoints)
    gr.Markdown(results_table(results) if results else NO_RESULTS, elem_id="results")
    for study in read_studies(checkpoints).values():
        build_study(study)
    histories = {role: checkpoint.read_history(checkpoints / role) for role in ROLES}
    gr.Markdown("### Accuracy while training")
    gr.Plot(figures.training_curves(histories), show_label=False, elem_id="training-curves")


def build_study(study: dict) -> None:
    """A study's question, its table with the verdicts, and its figures."""
    gr.Markdown(f"### {study['question']}\n\n{study_table(study)}", elem_classes="study")
    gr.Plot(study_figures.accuracy_of_arms(study), label="Accuracy: every seed, mean and standard deviation")
    if study["measured_on"] == "test":
        gr.Plot(
            study_figures.reliability_diagram(study), label="Calibration: how often it is right when it is that sure"
        )
        gr.Plot(study_figures.agreement_with_teacher(study), label="Agreement with the teacher")
        gr.Plot(study_figures.accuracy_against_work(study), label="Accuracy against multiply-accumulates")
