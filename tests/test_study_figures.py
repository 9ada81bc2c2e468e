"""The studies' figures show the summary's own numbers."""

from dataclasses import replace

import plotly.graph_objects as go
import pytest

from kd.studies.declared import DISTILLED, STUDENT, TEACHER
from kd.studies.figures import (
    PUBLISHED,
    accuracy_against_work,
    agreement_with_teacher,
    drawings_of,
    metric_of_arms,
    reliability_diagram,
    rounded,
    validation_accuracy_over,
)
from tests.studies import made_study, make_few_labels, make_human_labels, make_omitted_class, measured, trial


@pytest.fixture
def study():
    return made_study(
        measured(TEACHER, [0.8]),
        measured(STUDENT, [0.77, 0.79]),
        measured(DISTILLED, [0.78, 0.80]),
        measured(replace(DISTILLED, label="left out"), []),
    )


def names(study):
    return [drawing.name for drawing in drawings_of(study)]


def test_every_seed_is_a_dot_and_the_mean_has_its_spread(study):
    traces = metric_of_arms(study, "accuracy").data
    assert [list(trace.x) for trace in traces] == [[0.8], [0.8], [0.77, 0.79], [0.78], [0.78, 0.8], [0.79]]
    assert [trace.error_x.array[0] for trace in traces[1::2]] == [0, 0.01, 0.01]
    assert "left out" not in {name for trace in traces for name in trace.y}


def test_settings_of_an_arm_stand_below_it():
    study = made_study(measured(replace(DISTILLED, changes={"loss": "dkd", "soft_weight": 1.0}), [0.6]))
    for figure in (metric_of_arms(study, "accuracy"), agreement_with_teacher(study)):
        assert list(figure.data[0].y) == ["dkd<br>soft weight 1"]


def test_accuracy_is_that_of_what_the_study_is_measured_on(study):
    figure = metric_of_arms(study, "validation_accuracy")
    assert list(figure.data[2].x) == [0.76, 0.78]
    assert figure.layout.xaxis.title.text == "validation accuracy"


def test_calibration_errors_are_drawn_in_the_same_way(study):
    figure = metric_of_arms(study, "ece")
    assert list(figure.data[2].x) == pytest.approx([0.077, 0.079]) and list(figure.data[3].x) == pytest.approx([0.078])
    assert figure.layout.xaxis.title.text == "calibration error"


def test_reliability_pools_the_seeds_and_leaves_out_empty_intervals(study):
    diagonal, _, alone, _ = reliability_diagram(study).data
    assert list(diagonal.x) == list(diagonal.y) == [0, 1]
    assert list(alone.x) == pytest.approx([0.55, 0.95])
    assert list(alone.y) == pytest.approx([0.5, 101 / 120])
    assert list(alone.customdata) == [80, 120]


def test_agreement_is_shown_for_those_who_have_a_teacher(study):
    (bars,) = agreement_with_teacher(study).data
    assert list(bars.y) == ["Student alone", "Distilled student"]


def test_published_networks_stand_beside_the_studys_own_where_both_are_cifar10s(study):
    *own, published = accuracy_against_work(study).data
    assert [trace.name for trace in own] == ["Teacher", "Student alone", "Distilled student"]
    assert list(own[0].x) == [6] and list(own[0].y) == [0.8]
    assert list(published.y) == [network.accuracy for network in PUBLISHED]
    assert all(network.source in text for network, text in zip(PUBLISHED, published.customdata, strict=True))
    of_digits = accuracy_against_work(replace(study, data=study.data | {"name": "scikit-learn's digits"}))
    assert [trace.name for trace in of_digits.data] == [trace.name for trace in own]


def test_choice_on_validation_images_has_a_line_a_network_over_the_field_that_was_varied(study):
    study = made_study(
        *study.arms,
        trial(STUDENT, 0.7, weight_decay=1e-4),
        trial(STUDENT, 0.6, weight_decay=5e-4),
        trial(DISTILLED, 0.8, weight_decay=1e-4),
        trial(DISTILLED, 0.9, temperature=2.0),
        trial(DISTILLED, 0.4, "dkd", weight_decay=1e-4),
        measured_on="validation",
    )
    alone, distilled, dkd = validation_accuracy_over(study, "weight_decay").data
    assert [alone.name, distilled.name, dkd.name] == ["student alone", "distilled", "dkd"]
    assert list(alone.x) == [1e-4, 5e-4] and list(alone.y) == pytest.approx([0.7, 0.6])
    assert list(validation_accuracy_over(study, "weight_decay").layout.xaxis.ticktext) == ["0.0001", "0.0005"]
    assert list(distilled.x) == [1e-4] and list(distilled.y) == [0.8] and list(dkd.y) == [0.4]
    assert names(study) == ["weight-decay", "temperature"]


def test_every_study_gets_the_figures_that_its_measurements_allow(study):
    assert names(make_omitted_class()) == ["recognised"]
    assert names(make_human_labels()) == ["inherited", "doubt"]
    assert names(make_few_labels()) == ["accuracy", "calibration"]
    assert names(study) == ["accuracy", "calibration-error", "calibration", "agreement", "work"]
    assert names(replace(study, measured_on="validation")) == ["accuracy"]
    another = measured(replace(DISTILLED, label="another way"), [0.7])
    assert names(replace(study, arms=(*study.arms, another))) == [
        "accuracy",
        "calibration-error",
        "calibration",
        "agreement",
    ]


def test_every_figure_says_how_the_students_were_trained(study):
    for drawing in drawings_of(study):
        assert drawing.figure(study).layout.title.text == "Recipe seed, 24 epochs, 2 seeds"


def test_figures_numbers_have_six_decimals_and_texts_stay():
    figure = rounded(go.Figure(go.Bar(x=["a", "b"], y=[1 / 3, 2], error_y={"array": [1e-9, 2 / 3]})))
    (bar,) = figure.data
    assert (list(bar.x), list(bar.y), list(bar.error_y.array)) == (["a", "b"], [0.333333, 2], [0.0, 0.666667])
