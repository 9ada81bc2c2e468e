"""The results in short: what each study claims, by its own numbers."""

import re
import statistics
from dataclasses import replace

import pytest
import torch

from kd.demo.results_tab import chip
from kd.recipe import RECIPES
from kd.studies.claims import _CLAIMS, Claim, Shown, claims
from kd.studies.declared import STUDIES
from kd.studies.figures import drawings_of
from kd.studies.ledger import bits_as_text, read_studies
from kd.studies.report import SHORT_RUNS_OF
from tests.serving import ROOT
from tests.studies import make_human_labels, make_main, make_omitted_class


@pytest.fixture(scope="module")
def studies():
    return read_studies(ROOT / "checkpoints")


@pytest.fixture(scope="module")
def main():
    return make_main()


def compared(study, **difference):
    """The study with another outcome of its only comparison."""
    (found,) = study.comparisons
    return replace(study, comparisons=(found | difference,))


def mean_accuracy(study, role):
    (arm,) = [arm for arm in study.arms if arm.role == role]
    return statistics.fmean(run["accuracy"] for run in arm.runs)


def test_every_claim_is_of_a_study_that_is_declared_and_short_runs_are_of_a_preset_that_there_is():
    assert {study for study, *_ in _CLAIMS} <= STUDIES.keys()
    assert SHORT_RUNS_OF in RECIPES


def test_every_verdict_of_a_claim_has_its_colour(studies):
    rules = (ROOT / "kd" / "demo" / "claims.css").read_text("utf-8")
    for verdict in Shown:
        kind = re.search(r'class="(chip [a-z-]+)"', chip(Claim(verdict, "", studies["main"])))[1]
        assert "." + kind.replace(" ", ".") in rules


def test_the_first_claim_tells_both_students_mean_accuracies(studies):
    claim = claims(studies)[0]
    assert claim.study.study == "main"
    for role in ("student", "distilled"):
        assert f"{mean_accuracy(claim.study, role):.1%}" in claim.sentence


def test_while_a_study_is_under_way_both_means_are_of_the_seeds_that_are_compared(main):
    arms = [replace(arm, runs=arm.runs[:1]) if arm.role == "distilled" else arm for arm in main.arms]
    one_seed = replace(compared(main, n=1, low=None, high=None, p=None), arms=tuple(arms))
    helps, _, calibrates = (claim.sentence for claim in claims({"main": one_seed}))
    alone, distilled = (next(arm for arm in main.arms if arm.role == role).runs[0] for role in ("student", "distilled"))
    assert f"{distilled['accuracy']:.1%}" in helps and f"{alone['accuracy']:.1%}" in helps
    right, images = (sum(distilled["reliability"][key]) for key in ("right", "images"))
    assert f"right {right / images:.1%} of the time" in calibrates and f"{distilled['ece']:.1%}" in calibrates


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        ({"mean": 0.02, "low": 0.01, "high": 0.03, "p": 0.01, "n": 3}, Shown.SHOWN),
        ({"mean": 0.02, "low": -0.01, "high": 0.05, "p": 0.1, "n": 3}, Shown.NOT_SHOWN),
        ({"mean": 0.0, "low": -0.001, "high": 0.001, "p": 0.9, "n": 3}, Shown.NOT_SHOWN),
        ({"mean": -0.02, "low": -0.03, "high": -0.01, "p": 0.01, "n": 3}, Shown.WORSE),
        ({"mean": 0.02, "low": None, "high": None, "p": None, "n": 1}, Shown.ONE_SEED),
    ],
)
def test_a_claim_is_shown_only_where_the_difference_is_more_than_chance(main, difference, verdict):
    claim = claims({"main": compared(main, **difference)})[0]
    assert claim.verdict == verdict
    assert f"{difference['mean'] * 100:+.1f} points" in claim.sentence
    assert ("one seed" in claim.sentence) == (verdict == Shown.ONE_SEED)


def of_runs(study, metric, alone, distilled):
    """The study with other values of a metric, seed by seed."""
    told = {"student": alone, "distilled": distilled}
    arms = [
        replace(arm, runs=tuple(run | {metric: value} for run, value in zip(arm.runs, told[arm.role], strict=False)))
        if arm.role in told
        else arm
        for arm in study.arms
    ]
    return replace(study, arms=tuple(arms))


@pytest.mark.parametrize(
    ("metric", "alone", "distilled", "verdict", "points"),
    [
        ("agreement", [0.80, 0.81], [0.90, 0.912], Shown.SHOWN, "+10.1 points"),
        ("agreement", [0.90, 0.91], [0.80, 0.811], Shown.WORSE, "-9.9 points"),
        ("agreement", [0.80, 0.81], [0.80, 0.912], Shown.NOT_SHOWN, "+5.1 points"),
        ("ece", [0.04, 0.05], [0.01, 0.0201], Shown.SHOWN, "-3.0 points"),
        ("ece", [0.01, 0.02], [0.04, 0.0501], Shown.WORSE, "+3.0 points"),
    ],
)
def test_agreement_and_calibration_are_judged_by_the_runs_that_were_compared(
    main, metric, alone, distilled, verdict, points
):
    changed = of_runs(of_runs(main, "agreement", [0.8, 0.8], [0.8, 0.9]), "ece", [0.1, 0.1], [0.1, 0.2])
    found = {claim.figure: claim for claim in claims({"main": of_runs(changed, metric, alone, distilled)})}
    claim = found["agreement" if metric == "agreement" else "calibration-error"]
    assert claim.verdict == verdict and points in claim.sentence
    assert f"{statistics.fmean(distilled):.1%}" in claim.sentence and f"{statistics.fmean(alone):.1%}" in claim.sentence


def test_how_much_of_the_agreement_is_being_right_is_told(main):
    """Of 16 images the teacher has 8 right; of these each student alone has 2, the distilled ones 4 and 6."""
    main = replace(main, data=main.data | {"images": 16})
    right = {"teacher": [range(8)], "student": [[0, 1, 8], [2, 3, 9]], "distilled": [[*range(4), 10], range(6)]}
    arms: dict = {}
    for arm in main.arms:
        had = [bits_as_text(torch.tensor([image in images for image in range(16)])) for images in right[arm.role]]
        told = [{"weights": arm.role, "taught_by": "teacher", "right": bits} for bits in had]
        runs = tuple(run | new for run, new in zip(arm.runs, told, strict=False))
        arms[arm.role] = replace(arm, runs=runs, teacher=arm.teacher and arms["teacher"])
    changed = of_runs(replace(main, arms=tuple(arms.values())), "agreement", [0.5, 0.6], [0.8, 0.9])
    told = {claim.figure: claim.sentence for claim in claims({"main": changed})}
    assert told["agreement"].endswith("Of these points 18.8 are images that student and teacher both get right.")
    fewer = of_runs(changed, "agreement", [0.5, 0.6], [0.6, 0.7])
    told = {claim.figure: claim.sentence for claim in claims({"main": fewer})}
    assert "both get right" not in told["agreement"]  # it is more than all points
    without = [replace(arm, runs=tuple({**run, "taught_by": "another"} for run in arm.runs)) for arm in changed.arms]
    told = {claim.figure: claim.sentence for claim in claims({"main": replace(changed, arms=tuple(without))})}
    assert "both get right" not in told["agreement"]


def test_calibration_is_told_with_its_direction(main):
    """Of 40 images in two runs 30 are right; the sum of the confidences is 36."""
    diagrams = [
        {"images": [10, 10], "confidence": [8.0, 10.0], "right": [5, 10]},
        {"images": [0, 20], "confidence": [0.0, 18.0], "right": [0, 15]},
    ]
    two_runs = of_runs(main, "ece", [0.01, 0.02], [0.15, 0.1501])
    changed = of_runs(two_runs, "reliability", diagrams[::-1], diagrams)
    shortened = [replace(arm, runs=arm.runs[:2]) for arm in changed.arms]
    told = {claim.figure: claim.sentence for claim in claims({"main": replace(changed, arms=tuple(shortened))})}
    assert "is 90.0% sure, on average, and right 75.0% of the time" in told["calibration-error"]


def test_two_judgements_of_the_same_runs_are_corrected_for_one_another(main):
    barely = ([0.80, 0.80], [0.802, 0.8022])  # p = .03 alone
    unsure = of_runs(main, "ece", [0.1, 0.1], [0.1, 0.2])
    weak = of_runs(of_runs(main, "ece", [0.1, 0.1], [0.08, 0.0803]), "agreement", *barely)
    verdicts = [
        {claim.figure: claim.verdict for claim in claims({"main": study})}["agreement"]
        for study in (of_runs(unsure, "agreement", *barely), weak)
    ]
    assert verdicts == [Shown.NOT_SHOWN, Shown.SHOWN]


def test_the_figure_of_every_claim_is_one_of_its_study(studies):
    for claim in claims(studies):
        assert claim.figure in {drawing.name for drawing in drawings_of(claim.study)}


def test_a_class_that_was_omitted_is_told_with_its_control_and_as_one_seed():
    study = replace(make_omitted_class(), study="omitted-class")
    (claim,) = claims({"omitted-class": study})
    first = next(arm.omitted_class for arm in study.arms if arm.omitted_class)
    recognised = {
        (arm.role, arm.recipe["temperature"]): f"{run['omitted_class']['after']['omitted']:.1%}"
        for arm in study.arms for run in arm.runs if arm.omitted_class == first
    }  # fmt: skip
    assert claim.verdict == Shown.ONE_SEED
    assert recognised["distilled", 4] in claim.sentence and recognised["student", 4] in claim.sentence
    others = {told for (_, temperature), told in recognised.items() if temperature != 4}
    assert others and not any(told in claim.sentence for told in others)  # the T that is told was fixed beforehand


def test_inherited_doubts_are_told_by_their_rank_correlations():
    (claim,) = claims({"human-doubt": replace(make_human_labels(), study="human-doubt")})
    for values in claim.study.human_labels["inherited"]["rank_correlation"].values():
        assert f"{statistics.fmean(values):.2f}" in claim.sentence
    assert claim.verdict == Shown.SHOWN


def test_short_runs_and_studies_that_are_missing_claim_nothing(studies):
    assert claims({"few-labels": studies["few-labels-original"]}) == []
    assert claims({}) == []


def test_a_study_without_its_comparison_claims_nothing(studies, main):
    assert claims({"main": replace(main, comparisons=())}) == []
    assert claims({"human-doubt": replace(studies["human-doubt"], human_labels=None)}) == []
