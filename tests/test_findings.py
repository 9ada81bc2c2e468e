"""Sentences, tables and figures of the studies' own analyses say what their JSON holds."""

import pytest

from kd.demo.study_figures import (
    accuracy_over_labels,
    calibration_over_labels,
    doubt_over_temperature,
    unseen_class_recognised,
)
from kd.findings import findings, never_seen_sentence

RUN = {"epochs_done": 8, "machine": "a CPU"}


def make_never_seen():
    def run(unseen, temperature, before, after, bias):
        return {
            "arm": "?", "seed": 0, "unseen": unseen, "temperature": temperature, "bias": bias,
            "before": {"unseen": before, "seen": 0.8}, "after": {"unseen": after, "seen": 0.7},
        }  # fmt: skip

    runs = [
        run("frog", None, 0.0, 0.05, 9.0), run("frog", 4.0, 0.01, 0.7, 3.0), run("frog", 20.0, 0.02, 0.9, 2.5),
        run("cat", None, 0.0, 0.11, 8.0), run("cat", 4.0, 0.0, 0.3, 2.0),
    ]  # fmt: skip
    arm = {"name": "no frog, alone", "role": "student", "runs": [RUN], "withheld": {}, "recipe": {"name": "seed"}}
    return {"never_seen": {"rule": "as often as the teacher", "runs": runs}, "arms": [arm], "comparisons": []}


def make_human_doubt(seeds=2):
    def arm(kl):
        runs = [{"seed": seed, "kl_at_best": kl + seed / 1000} for seed in range(seeds)]
        return {"kl": [kl + 0.2, kl + 0.1, kl], "kl_at_best": kl, "best_temperature": 4.0, "rank_correlation": 0.4,
                "runs": runs}  # fmt: skip

    inherited = {
        "seeds": [0, 1], "rank_correlation": {"student alone": [0.5, 0.6], "distilled": [0.7, 0.8]},
        "mean": 0.2, "low": 0.1, "high": 0.3, "p": 0.01 if seeds > 1 else None, "n": seeds,
    }  # fmt: skip
    arms = {"teacher": arm(0.3), "student alone": arm(0.25), "distilled": arm(0.2)}
    return {
        "human_doubt": {
            "temperatures": [0.5, 1.0, 4.0], "people_entropy": 0.05, "arms": arms, "inherited": inherited,
        },
        "arms": [{"name": name, "role": role, "runs": [RUN], "withheld": {}, "recipe": {"name": "seed"}}
                 for name, role in zip(arms, ("teacher", "student", "distilled"), strict=True)],
        "comparisons": [],
    }  # fmt: skip


def test_classes_never_seen_are_told_at_the_t_fixed_beforehand_with_their_controls_and_not_at_the_best():
    sentence, table = findings(make_never_seen())
    assert "70.0% of the frog images at T = 4 (1.0% before; taught by the labels alone 5.0%)" in sentence
    assert "30.0% of the cat images at T = 4 (0.0% before; taught by the labels alone 11.0%)" in sentence
    assert "as often as the teacher" in sentence
    assert "90.0%" not in sentence
    assert "| frog | the labels alone | 0.0% | 5.0% | 80.0% | 70.0% | +9.00 |" in table
    assert len(table.splitlines()) == 2 + 5


def test_one_class_never_seen_is_told_by_itself():
    sentence = never_seen_sentence(make_never_seen()["never_seen"], "cat")
    assert "cat" in sentence and "frog" not in sentence


def test_the_only_t_that_was_run_is_told():
    found = make_never_seen()["never_seen"]
    found["runs"] = [run for run in found["runs"] if run["temperature"] != 4]
    assert "90.0% of the frog images at T = 20 (2.0% before; taught" in never_seen_sentence(found)


def test_human_doubt_is_told_with_what_was_shown_of_nearness_and_what_was_inherited():
    table, nearness, compared, inherited = findings(make_human_doubt())
    assert "| distilled | 0.300 | 0.200 | 4.000 | 0.400 |" in table
    assert "student alone 0.250, distilled 0.200" in nearness and "chosen on the same images" in nearness
    assert "The distilled student is nearer to people than the student alone" in compared  # by as much for every seed
    assert (
        "correlation of 0.750, the student's alone at 0.550: +0.200 (BETTER, 95 % interval +0.100 to +0.300, 2 seeds)"
        in inherited
    )
    _, _, compared, inherited = findings(make_human_doubt(seeds=1))
    assert "is not shown to differ from the student alone" in compared and "with one seed" in compared
    assert "(one seed, which proves nothing)" in inherited


def test_few_labels_are_told_at_the_share_fixed_beforehand_for_both_teachers():
    (sentence,) = findings(make_few_labels())
    assert "With 4% of the labels a student alone has 45.0% of the test images right" in sentence
    assert (
        "add +25.0 points where the full teacher gives them (BETTER, 95 % interval +24.0 to +26.0, 3 seeds)" in sentence
    )
    assert "and +2.0 points where a teacher that has no other labels itself gives them (BETTER" in sentence


def test_few_labels_without_the_share_that_is_told_are_not_told():
    study = make_few_labels()
    study["arms"] = [arm for arm in study["arms"] if not arm["name"].startswith("4%, alone")]
    assert findings(study) == []


def test_choice_on_the_validation_images_is_told_for_each_student_and_field():
    def trial(name, accuracy, runs=1):
        mean = {"validation_accuracy": {"mean": accuracy}}
        return {"name": name, "role": "student", "withheld": {}, "recipe": {}, "runs": [RUN] * runs, "mean": mean}

    arms = [
        trial("teacher", 0.9), trial("alone, weight decay 0.0001", 0.61), trial("alone, weight decay 0.0005", 0.6),
        trial("alone, learning rate 0.1", 0.5), trial("distilled, temperature 2", 0.7),
        trial("distilled, temperature 8", 0.72), trial("distilled, temperature 16", 0.9, runs=0),
        trial("dkd, soft weight 0.5", 0.8), trial("moving average, decay .99", 0.9),
    ]  # fmt: skip
    (paragraph,) = findings({"arms": arms, "comparisons": [], "measured_on": "validation"})
    assert paragraph.splitlines()[2:] == [
        "- alone: weight decay 0.0001 (61.00%), learning rate 0.1 (50.00%)",
        "- distilled: temperature 8 (72.00%)",
        "- dkd: soft weight 0.5 (80.00%)",
    ]
    assert findings({"arms": arms, "comparisons": [], "measured_on": "test"}) == []


def test_study_without_an_analysis_has_no_findings():
    assert findings({"arms": [], "comparisons": [], "measured_on": "test"}) == []


def test_figure_of_the_unseen_class_has_a_bar_before_and_after_for_each_run():
    before, after = unseen_class_recognised(make_never_seen()).data
    assert list(before.y) == [0.0, 0.01, 0.02, 0.0, 0.0]
    assert list(after.y) == [0.05, 0.7, 0.9, 0.11, 0.3]
    assert [list(level) for level in after.x] == [
        ["no frog", "no frog", "no frog", "no cat", "no cat"],
        ["alone", "T = 4", "T = 20", "alone", "T = 4"],
    ]


def test_figure_of_doubt_has_a_curve_for_each_network():
    traces = doubt_over_temperature(make_human_doubt()).data
    assert [trace.name for trace in traces] == ["teacher", "student alone", "distilled"]
    assert list(traces[2].x) == [0.5, 1.0, 4.0] and list(traces[2].y) == pytest.approx([0.4, 0.3, 0.2])


def make_few_labels():
    def arm(name, share, mean, runs=1):
        withheld = {"label_fraction": share} if share < 1 else {}
        return {
            "name": name,
            "role": "student",
            "withheld": withheld,
            "runs": [RUN] * runs,
            "recipe": {"name": "seed"},
            "mean": {"accuracy": {"mean": mean, "sd": 0.01, "n": 3}, "ece": {"mean": mean / 10, "sd": None}},
        }

    def gain(arm, mean):
        return {"arm": arm, "mean": mean, "low": mean - 0.01, "high": mean + 0.01, "n": 3, "p": 0.001}

    return {
        "measured_on": "test",
        "arms": [
            arm("1%, alone", 0.01, 0.3), arm("1%, all images, full teacher", 0.01, 0.6), arm("4%, alone", 0.04, 0.45),
            arm("4%, all images, full teacher", 0.04, 0.7), arm("student alone", 1.0, 0.8),
            arm("25%, alone", 0.25, 0.7, runs=0),
        ],
        "comparisons": [gain("1%, all images, full teacher", 0.3), gain("4%, all images, full teacher", 0.25),
                        gain("4%, all images, starved teacher", 0.02)],
    }  # fmt: skip


def test_figure_of_few_labels_has_a_line_for_each_way_of_teaching():
    traces = {trace.name: trace for trace in accuracy_over_labels(make_few_labels()).data}
    assert set(traces) == {"alone", "all images, full teacher"}
    assert list(traces["alone"].x) == [0.01, 0.04, 1] and list(traces["alone"].y) == [0.3, 0.45, 0.8]
    assert list(traces["all images, full teacher"].y) == [0.6, 0.7]


def test_figure_of_calibration_has_the_same_lines():
    traces = {trace.name: trace for trace in calibration_over_labels(make_few_labels()).data}
    assert list(traces["alone"].y) == pytest.approx([0.03, 0.045, 0.08])
