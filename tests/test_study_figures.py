"""The studies' figures show the summary's own numbers."""

import plotly.graph_objects as go
import pytest

from kd.demo.study_figures import (
    accuracy_against_work,
    accuracy_of_arms,
    agreement_with_teacher,
    figures_of,
    reliability_diagram,
    rounded,
    validation_accuracy_over,
)
from kd.studies import PUBLISHED
from tests.test_findings import make_few_labels, make_human_doubt, make_never_seen


def make_run(seed, accuracy):
    # Of 100 answers 40 are 55 % sure and 60 are 95 % sure.
    intervals = {"images": [0, 40, 60], "confidence": [0.0, 22.0, 57.0], "right": [0.0, 20.0, 50.0 + seed]}
    return {
        "seed": seed, "epochs_done": 24, "machine": "an abacus", "reliability": intervals,
        "accuracy": accuracy, "validation_accuracy": accuracy - 0.01,
    }  # fmt: skip


def make_arm(name, role, accuracies, **recipe):
    mean = sum(accuracies) / len(accuracies)
    spread = {"mean": mean, "sd": 0.01 if len(accuracies) > 1 else None, "n": len(accuracies)}
    return {
        "name": name, "role": role, "macs": 6e6, "withheld": {}, "recipe": {"name": "seed"} | recipe,
        "runs": [make_run(*run) for run in enumerate(accuracies)],
        "mean": {"accuracy": spread, "validation_accuracy": spread, "ece": spread}
        | ({"agreement": spread} if role != "teacher" else {}),
    }  # fmt: skip


@pytest.fixture
def study():
    arms = [
        make_arm("teacher", "teacher", [0.8]),
        make_arm("student alone", "student", [0.77, 0.79]),
        make_arm("distilled", "distilled", [0.78, 0.80]),
        {"name": "left out", "role": "distilled", "runs": [], "withheld": {}},
    ]
    return {"measured_on": "test", "arms": arms}


def test_every_seed_is_a_dot_and_the_mean_has_its_spread(study):
    traces = accuracy_of_arms(study).data
    assert [list(trace.x) for trace in traces] == [[0.8], [0.8], [0.77, 0.79], [0.78], [0.78, 0.8], [0.79]]
    assert [trace.error_x.array[0] for trace in traces[1::2]] == [0, 0.01, 0.01]
    assert "left out" not in {name for trace in traces for name in trace.y}


def test_settings_in_an_arms_name_stand_below_it(study):
    study["arms"] = [make_arm("dkd (soft weight 1)", "distilled", [0.6])]
    for figure in (accuracy_of_arms(study), agreement_with_teacher(study)):
        assert list(figure.data[0].y) == ["dkd<br>(soft weight 1)"]


def test_accuracy_is_that_of_what_the_study_is_measured_on(study):
    figure = accuracy_of_arms(study | {"measured_on": "validation"})
    assert list(figure.data[2].x) == [0.76, 0.78]
    assert figure.layout.xaxis.title.text == "validation accuracy"


def test_reliability_pools_the_seeds_and_leaves_out_empty_intervals(study):
    diagonal, _, alone, _ = reliability_diagram(study).data
    assert list(diagonal.x) == list(diagonal.y) == [0, 1]
    assert list(alone.x) == pytest.approx([0.55, 0.95])
    assert list(alone.y) == pytest.approx([0.5, 101 / 120])
    assert list(alone.customdata) == [80, 120]


def test_agreement_is_shown_for_those_who_have_a_teacher(study):
    (bars,) = agreement_with_teacher(study).data
    assert list(bars.y) == ["student alone", "distilled"]


def test_published_networks_stand_beside_the_studys_own(study):
    *own, published = accuracy_against_work(study).data
    assert [trace.name for trace in own] == ["teacher", "student alone", "distilled"]
    assert list(own[0].x) == [6] and list(own[0].y) == [0.8]
    assert list(published.y) == [network.accuracy for network in PUBLISHED]
    assert all(network.source in text for network, text in zip(PUBLISHED, published.customdata, strict=True))


def test_choice_on_validation_images_has_a_line_a_network_over_the_field_that_was_varied(study):
    study["measured_on"] = "validation"
    study["arms"] += [
        make_arm("alone, weight decay 0.0001", "student", [0.7], weight_decay=1e-4),
        make_arm("alone, weight decay 0.0005", "student", [0.6], weight_decay=5e-4),
        make_arm("distilled, weight decay 0.0001", "distilled", [0.8], weight_decay=1e-4),
        make_arm("distilled, temperature 2", "distilled", [0.9], temperature=2.0),
        make_arm("dkd, weight decay 0.0001", "distilled", [0.4], weight_decay=1e-4),
    ]
    alone, distilled, dkd = validation_accuracy_over(study, "weight_decay").data
    assert [alone.name, distilled.name, dkd.name] == ["student alone", "distilled", "dkd"]
    assert list(alone.x) == [1e-4, 5e-4] and list(alone.y) == [0.7, 0.6]
    assert list(validation_accuracy_over(study, "weight_decay").layout.xaxis.ticktext) == ["0.0001", "0.0005"]
    assert list(distilled.x) == [1e-4] and list(distilled.y) == [0.8] and list(dkd.y) == [0.4]
    assert [figure.name for figure in figures_of(study)] == ["weight-decay", "temperature"]


def test_every_study_gets_the_figures_that_its_measurements_allow(study):
    assert [figure.name for figure in figures_of(make_never_seen())] == ["unseen"]
    assert [figure.name for figure in figures_of(make_human_doubt())] == ["doubt"]
    assert [figure.name for figure in figures_of(make_few_labels())] == ["accuracy", "calibration"]
    assert [figure.name for figure in figures_of(study)] == ["accuracy", "calibration", "agreement", "work"]
    assert [figure.name for figure in figures_of(study | {"measured_on": "validation"})] == ["accuracy"]
    study["arms"].append(make_arm("another way", "distilled", [0.7]))
    assert [figure.name for figure in figures_of(study)] == ["accuracy", "calibration", "agreement"]


def test_every_figure_says_how_the_students_were_trained(study):
    for figure in figures_of(study):
        assert figure.figure.layout.title.text == "Recipe seed, 24 epochs, 2 seeds<br>an abacus"


def test_figures_numbers_have_six_decimals_and_texts_stay():
    figure = rounded(go.Figure(go.Bar(x=["a", "b"], y=[1 / 3, 2], error_y={"array": [1e-9, 2 / 3]})))
    (bar,) = figure.data
    assert (list(bar.x), list(bar.y), list(bar.error_y.array)) == (["a", "b"], [0.333333, 2], [0.0, 0.666667])
