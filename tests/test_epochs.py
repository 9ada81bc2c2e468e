"""What a teacher is worth in epochs: by the formula, in a sentence, in a figure."""

import math
from dataclasses import replace

import pytest

from kd.studies.claims import Shown, claims
from kd.studies.declared import DISTILLED, STUDENT
from kd.studies.figures import drawings_of
from kd.studies.findings import accuracy_by_epochs, epochs_for, epochs_sentences
from tests import studies


def epochs_study(alone, distilled, seeds=3):
    arms = [
        studies.measured(arm, [accuracy + 0.01 * seed for seed in range(seeds)], epochs)
        for arm, schedules in ((STUDENT, alone), (DISTILLED, distilled))
        for epochs, accuracy in schedules.items()
    ]
    return studies.made_study(*arms)


def test_epochs_lie_on_a_line_over_their_logarithm_between_two_schedules():
    measured = {4: 0.70, 8: 0.80, 24: 0.90}
    assert epochs_for(0.75, measured) == pytest.approx(math.sqrt(4 * 8))
    assert epochs_for(0.80, measured) == pytest.approx(8)
    assert epochs_for(0.825, measured) == pytest.approx(8 * 3**0.25)
    assert epochs_for(0.60, measured) == 4
    assert epochs_for(0.91, measured) is None


def test_sentence_tells_each_schedule_with_its_spread_over_the_seeds():
    (told,) = epochs_sentences(epochs_study({4: 0.70, 8: 0.80, 24: 0.90}, {4: 0.80, 8: 0.90, 24: 0.95}))
    assert (
        "for the 81.0% that 4 epochs with the teacher give, 8.0 epochs (standard deviation 0.0 over 3 seeds);" in told
    )
    assert (
        "for the 91.0% that 8 epochs with the teacher give, 24.0 epochs (standard deviation 0.0 over 3 seeds);" in told
    )
    assert "for the 96.0% that 24 epochs with the teacher give, more than the 24 that were tried" in told


def test_one_seed_is_told_as_such():
    (told,) = epochs_sentences(epochs_study({4: 0.70, 8: 0.80}, {4: 0.75, 8: 0.9}, seeds=1))
    assert "epochs with the teacher give, 5.7 (one seed)" in told


def test_what_lies_beyond_the_schedules_is_told_as_such_and_goes_into_no_mean():
    alone = {4: 0.70, 8: 0.80}
    (told,) = epochs_sentences(epochs_study(alone, {4: 0.65, 8: 0.85}))
    assert "for the 66.0% that 4 epochs with the teacher give, 4 or fewer (3 seeds)" in told
    assert "for the 86.0% that 8 epochs with the teacher give, more than the 8 that were tried (3 seeds)" in told
    study = epochs_study(alone, {4: 0.75, 8: 0.80})
    study.arms[2].runs[1]["accuracy"] = 0.60
    assert "epochs with the teacher give, 5.7, 4 or fewer, 5.7 (3 seeds)" in epochs_sentences(study)[0]


@pytest.mark.parametrize(
    ("distilled", "takes"),
    [
        ({4: 0.80, 8: 0.90}, " The student alone takes 8.0 ± 0.0 epochs for that, read off between its schedules; "),
        ({4: 0.95, 8: 0.96}, ""),
    ],
    ids=["between the schedules", "beyond them"],
)
def test_the_claim_is_of_the_shortest_schedule_and_what_it_takes_a_student_alone(distilled, takes):
    measured = {"metric": "accuracy", "mean": 0.1, "sd": 0.004, "low": 0.09, "high": 0.11, "n": 3, "p": 0.001}
    places = {4: {"arm": 2, "baseline": 0}, 8: {"arm": 3, "baseline": 1}}
    comparisons = [places[epochs] | measured | {"mean": epochs / 100} for epochs in (8, 4)]
    study = epochs_study({4: 0.70, 8: 0.80}, distilled)
    (claim,) = claims({"epochs": replace(study, study="epochs", comparisons=tuple(comparisons))})
    assert claim.verdict == Shown.SHOWN
    assert claim.sentence == (
        f"A teacher saves epochs: after 4 epochs the distilled student has {distilled[4] + 0.01:.1%} of the test "
        f"images right, the student alone 71.0% (+4.0 points, 95% interval +9.0 to +11.0, 3 seeds)."
        + (takes and f"{takes}the teacher's own time is not counted.")
    )


def test_while_a_further_schedule_is_under_way_the_claim_tells_what_all_its_seeds_take_or_nothing():
    measured = {"arm": 3, "baseline": 0, "metric": "accuracy", "mean": 0.1, "sd": 0.004, "low": 0.09, "high": 0.11}
    study = epochs_study({4: 0.70, 8: 0.80, 24: 0.90}, {4: 0.80, 8: 0.90})
    study.arms[2].runs[1]["seed"] = 7  # of 24 epochs alone the seed 1 is still to come
    study = replace(study, study="epochs", comparisons=(measured | {"n": 3, "p": 0.001},))
    (claim,) = claims({"epochs": study})
    assert claim.sentence.endswith("3 seeds).")


def test_study_with_one_schedule_has_no_such_sentence():
    study = epochs_study({24: 0.90}, {24: 0.95})
    assert accuracy_by_epochs(study) == {} and epochs_sentences(study) == []


def test_figure_has_a_curve_a_role_with_the_spread_over_the_seeds():
    study = epochs_study({4: 0.70, 8: 0.80}, {4: 0.80, 8: 0.90})
    (drawing,) = drawings_of(study)
    alone, distilled = drawing.figure(study).data
    assert (list(alone.x), list(alone.y)) == ([4, 8], pytest.approx([0.71, 0.81]))
    assert (distilled.name, list(distilled.error_y.array)) == ("Distilled student", pytest.approx([0.01, 0.01]))
