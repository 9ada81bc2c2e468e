"""Sentences, tables and figures of the studies' own analyses say what their JSON holds."""

from dataclasses import replace

import pytest

from kd.colours import ROLE_COLOURS
from kd.studies.declared import DISTILLED, STUDENT, TEACHER, Arm
from kd.studies.figures import (
    doubt_over_temperature,
    omitted_class_recognised,
    over_labels,
)
from kd.studies.findings import findings, omitted_class_sentence
from kd.studies.ledger import as_json, from_json
from tests.studies import made_study, make_few_labels, make_human_labels, make_omitted_class, measured, trial

# Omitted classes


def test_omitted_classes_are_told_at_the_t_fixed_beforehand_with_their_controls_and_not_at_the_best():
    sentence, table = findings(make_omitted_class())
    assert "70.0% of the class frog at T = 4 (1.0% before; a student alone 5.0%)" in sentence
    assert "30.0% of the class cat at T = 4 (0.0% before; a student alone 11.0%)" in sentence
    assert "as often as the teacher does" in sentence
    assert "90.0%" not in sentence
    assert "| frog | nobody (student alone) | 0 | 0.0% | 5.0% | 80.0% | 70.0% | +9.00 |" in table
    assert len(table.splitlines()) == 2 + 5


def test_the_only_t_that_was_run_is_told():
    found = make_omitted_class()
    found = replace(found, arms=tuple(arm for arm in found.arms if arm.temperature != 4))
    assert "90.0% of the class frog at T = 20 (2.0% before; a student alone" in omitted_class_sentence(found)


def test_figure_of_the_omitted_class_has_a_bar_before_and_after_for_each_arm():
    before, after = omitted_class_recognised(make_omitted_class()).data
    assert list(before.y) == [0.0, 0.01, 0.02, 0.0, 0.0]
    assert list(after.y) == [0.05, 0.7, 0.9, 0.11, 0.3]
    assert [list(level) for level in after.x] == [
        ["no frog", "no frog", "no frog", "no cat", "no cat"],
        ["Student alone", *(f"distilled,<br>T = {t}" for t in (4, 20)), "Student alone", "distilled,<br>T = 4"],
    ]


def test_the_bar_and_the_sentence_of_an_arm_with_several_seeds_tell_the_mean_of_its_runs():
    found = make_omitted_class()
    _, alone, taught, *_ = found.arms

    def more(arm, *afters):
        runs = [
            arm.runs[0] | {"seed": seed, "omitted_class": {"bias": 3.0, "before": {"omitted": 0.03, "others": 0.8},
                                                           "after": {"omitted": after, "others": 0.7}}}
            for seed, after in enumerate(afters, start=1)
        ]  # fmt: skip
        return replace(arm, runs=(*arm.runs, *runs))

    longer = {id(taught): more(taught, 0.5), id(alone): more(alone, 0.15)}
    found = replace(found, arms=tuple(longer.get(id(arm), arm) for arm in found.arms))
    before, after = omitted_class_recognised(found).data
    assert (before.y[1], after.y[1]) == (pytest.approx(0.02), pytest.approx(0.6))
    assert len(after.y) == 5
    sentence, table = findings(found)
    told = "60.0% of the class frog at T = 4 (2.0% before; a student alone 10.0%, mean of 2 seeds)"
    assert told in sentence
    further = more(taught, 0.5, 0.9)  # the control's third seed is still to be run
    under_way = replace(found, arms=tuple(further if arm is longer[id(taught)] else arm for arm in found.arms))
    assert told in findings(under_way)[0]
    assert "| frog | the teacher, T = 4 | 1 | 3.0% | 50.0% |" in table


# People's labels


def test_human_labels_are_told_with_what_was_shown_of_nearness_and_what_was_inherited():
    table, nearness, compared, inherited = findings(make_human_labels())
    assert "| distilled | 0.300 | 0.200 | 4.000 | 0.400 |" in table and "fitted T" in table
    assert "student alone 0.250, distilled 0.200" in nearness and "no T is fitted to people" in nearness
    assert "The distilled student is not shown to differ" in compared  # by as much for every seed: no spread is known
    assert (
        "correlation of 0.750, that of the student alone with 0.550: +0.200 (BETTER, 95% interval +0.100 to +0.300, "
        "2 seeds)" in inherited
    )
    _, _, compared, inherited = findings(make_human_labels(seeds=1))
    assert "is not shown to differ from the student alone" in compared and "nats, one seed" in compared
    assert "(one seed, which proves nothing)" in inherited


def test_nothing_is_told_at_a_t_that_was_chosen_on_the_test_images():
    with pytest.raises(ValueError, match="chosen on the test images"):
        from_json(as_json(make_human_labels(temperature_from="test")))


def test_figure_of_doubt_has_a_curve_for_each_network():
    traces = doubt_over_temperature(make_human_labels()).data
    assert [trace.name for trace in traces] == ["Teacher", "Student alone", "Distilled student"]
    assert list(traces[2].x) == [0.5, 1.0, 4.0] and list(traces[2].y) == pytest.approx([0.4, 0.3, 0.2])


# Few labels


def test_few_labels_are_told_at_the_share_fixed_beforehand_for_both_teachers():
    (sentence,) = findings(make_few_labels())
    assert "With 4% of the labels a student alone has 45.0% of the test images right" in sentence
    assert (
        "add +25.0 points where the full teacher gives them (BETTER, 95% interval +24.0 to +26.0, 3 seeds)" in sentence
    )
    assert "and +2.0 points where a teacher that has no other labels itself gives them (BETTER" in sentence


def test_few_labels_without_the_share_that_is_told_are_not_told():
    study = make_few_labels()
    assert findings(replace(study, comparisons=study.comparisons[:1])) == []


def test_what_an_arm_is_labelled_changes_no_sentence_and_no_line_of_a_figure():
    study = make_few_labels()
    told, drawn = findings(study), over_labels(study, "accuracy").to_json()
    study = replace(study, arms=tuple(replace(arm, label=f"arm {n}") for n, arm in enumerate(study.arms)))
    assert findings(study) == told and over_labels(study, "accuracy").to_json() == drawn


def test_figure_of_few_labels_has_a_line_for_each_way_of_teaching():
    traces = {trace.name: trace for trace in over_labels(make_few_labels(), "accuracy").data}
    ways = {"all images, full teacher", "all images, starved teacher"}
    assert set(traces) == {"teacher", "student alone", *ways}
    assert list(traces["student alone"].x) == [0.01, 0.04, 1] and list(traces["student alone"].y) == [0.3, 0.45, 0.8]
    assert list(traces["all images, full teacher"].y) == [0.6, 0.7]


def test_lines_of_few_labels_have_their_roles_colours_and_differ_from_one_another():
    starved, arms = Arm("teacher", label_fraction=0.01), []
    taught = [
        Arm("distilled", teacher=teacher, label_fraction=0.01, keep_unlabelled=everything)
        for teacher in (TEACHER, starved)
        for everything in (False, True)
    ]
    for arm in (TEACHER, starved, Arm("student", label_fraction=0.01), *taught):
        arms.append(measured(arm, before=arms))
    traces = over_labels(made_study(*arms), "accuracy").data
    assert {trace.name: trace.line.color for trace in traces} == {
        "teacher": ROLE_COLOURS["teacher"],
        "starved teacher": ROLE_COLOURS["teacher"],
        "student alone": ROLE_COLOURS["student"],
        "same images, full teacher": ROLE_COLOURS["distilled"],
        "all images, full teacher": ROLE_COLOURS["distilled"],
        "same images, starved teacher": ROLE_COLOURS["distilled"],
        "all images, starved teacher": ROLE_COLOURS["distilled"],
    }
    assert len({(trace.line.color, trace.line.dash, trace.marker.symbol) for trace in traces}) == len(traces)


def test_figure_of_calibration_has_the_same_lines():
    traces = {trace.name: trace for trace in over_labels(make_few_labels(), "ece").data}
    assert list(traces["student alone"].y) == pytest.approx([0.03, 0.045, 0.08])


# The choice of settings


def test_choice_on_the_validation_images_is_told_for_each_student_and_field():
    arms = [
        measured(TEACHER, (0.9,)), trial(STUDENT, 0.61, weight_decay=1e-4), trial(STUDENT, 0.6, weight_decay=5e-4),
        trial(STUDENT, 0.5, learning_rate=0.1), trial(DISTILLED, 0.7, temperature=2.0),
        trial(DISTILLED, 0.72, temperature=8.0), trial(DISTILLED, None, temperature=16.0),
        trial(DISTILLED, 0.8, "dkd", soft_weight=0.5),
        measured(replace(DISTILLED, changes={"ema": 0.99}, label="moving average"), (0.99,)),
    ]  # fmt: skip
    (paragraph,) = findings(made_study(*arms, measured_on="validation"))
    assert paragraph.splitlines()[2:] == [
        "- student alone: weight decay 0.0001 (61.00%), learning rate 0.1 (50.00%)",
        "- distilled: T = 8 (72.00%)",
        "- dkd: soft weight 0.5 (80.00%)",
    ]
    assert findings(made_study(*arms)) == []


def test_study_without_an_analysis_has_no_findings():
    assert findings(made_study()) == []
