"""The studies' own analyses: human doubt and the class never seen, on answers made by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kd.cifar10 import CLASSES
from kd.doubt import TEMPERATURES
from kd.recipe import Recipe
from train import human_doubt, never_seen
from train.studies import DISTILLED, STUDENT, TEACHER, Arm, Run

LABELS = torch.arange(200) % 10


def make_run(arm, seed=0, **changes):
    teacher = Path("teacher") if arm.role == "distilled" else None
    folder = Path("teacher") if arm.role == "teacher" else Path(f"{arm.name} {seed}")
    return Run(arm, "seed", Recipe(seed=seed, **changes), folder, teacher)


def people_like(logits, temperature, answers=1_000_000):
    """Counts of people who answer as the network doubts at a temperature."""
    return (torch.softmax(logits.double() / temperature, dim=1) * answers).round().long().numpy()


@pytest.fixture
def doubt(tmp_path):
    """The analysis of a teacher, two students alone and two distilled; people doubt as the teacher does at T = 2."""
    torch.manual_seed(0)
    teacher = torch.randn(200, 10) + 6 * torch.nn.functional.one_hot(LABELS, 10)
    runs = [make_run(TEACHER), *(make_run(arm, seed) for arm in (STUDENT, DISTILLED) for seed in (0, 1))]
    noise = {STUDENT.name: 2.0, DISTILLED.name: 0.3}
    answers = {
        run.folder: teacher if run.arm == TEACHER else teacher + noise[run.arm.name] * torch.randn(200, 10)
        for run in runs
    }
    np.save(tmp_path / "counts.npy", people_like(teacher, 2.0))
    return human_doubt.analyse(runs, answers, LABELS, tmp_path / "counts.npy"), answers


def test_temperature_at_which_a_network_doubts_like_people_is_found(doubt):
    found, _ = doubt
    teacher = found["arms"]["teacher"]
    assert teacher["best_temperature"] == 2.0
    assert teacher["kl_at_best"] == pytest.approx(0, abs=1e-4)
    assert teacher["rank_correlation"] > 0.9
    assert found["temperatures"] == list(TEMPERATURES)


def test_divergence_is_cross_entropy_less_peoples_entropy_at_every_temperature(doubt):
    found, _ = doubt
    for arm in found["arms"].values():
        assert arm["kl"] == pytest.approx([cross - found["people_entropy"] for cross in arm["cross_entropy"]])
        assert min(arm["kl"]) >= 0


def test_arms_figures_are_means_over_its_runs(doubt):
    found, _ = doubt
    for name in ("student alone", "distilled"):
        arm = found["arms"][name]
        assert [run["seed"] for run in arm["runs"]] == [0, 1]
        for key in ("best_temperature", "kl_at_best", "rank_correlation"):
            assert arm[key] == pytest.approx(sum(run[key] for run in arm["runs"]) / 2)


def test_inheritance_compares_over_images_that_all_three_have_right(doubt):
    found, answers = doubt
    inherited = found["inherited"]
    for seed, images in zip(inherited["seeds"], inherited["images"], strict=True):
        right = torch.ones(200, dtype=torch.bool)
        for folder in (Path("teacher"), Path(f"student alone {seed}"), Path(f"distilled {seed}")):
            right &= answers[folder].argmax(dim=1) == LABELS
        assert images == right.sum()
    alone, distilled = (inherited["rank_correlation"][name] for name in ("student alone", "distilled"))
    assert min(distilled) > max(alone)
    assert inherited["mean"] == pytest.approx(sum(distilled) / 2 - sum(alone) / 2)


def test_study_without_one_of_the_three_says_nothing_of_inheritance():
    assert human_doubt.inheritance([make_run(TEACHER)], {}, LABELS) is None


def test_student_that_ranks_the_unseen_class_right_but_low_is_corrected():
    unseen = CLASSES.index("truck")
    arm = Arm("no truck, T = 4", "distilled", withheld={"without_class": "truck"}, teacher="teacher")
    blind = Arm("no truck, alone", "student", withheld={"without_class": "truck"})
    runs = [make_run(TEACHER), make_run(arm), make_run(blind)]
    torch.manual_seed(0)

    def answers(noise_seed):
        torch.manual_seed(noise_seed)
        teacher = torch.randn(200, 10) + 4 * torch.nn.functional.one_hot(LABELS, 10)
        student, other = teacher + 0.1 * torch.randn(200, 10), torch.randn(200, 10)
        student[:, unseen] -= 8
        other = teacher.clone()
        other[:, unseen] = -20 + torch.randn(200)  # it knows nothing of the class
        return {runs[0].folder: teacher, runs[1].folder: student, runs[2].folder: other}

    found = never_seen.analyse(runs, answers(1), LABELS, answers(2), LABELS)
    distilled, alone = found["runs"]
    assert (distilled["unseen"], distilled["temperature"]) == ("truck", 4.0)
    assert distilled["before"]["unseen"] == alone["before"]["unseen"] == 0
    assert 7 < distilled["bias"] < 9
    assert distilled["after"]["unseen"] > 0.8
    assert distilled["after"]["seen"] > 0.8
    assert alone["temperature"] is None
    assert alone["after"]["unseen"] < 0.3


def test_bias_is_found_without_the_unseen_classes_images():
    """Whatever a student says of images of the class, the bias is the same."""
    unseen = CLASSES.index("cat")
    runs = [make_run(TEACHER), make_run(Arm("no cat", "student", withheld={"without_class": "cat"}))]
    torch.manual_seed(0)
    validation, test = ({run.folder: torch.randn(200, 10) for run in runs} for _ in range(2))
    before = never_seen.analyse(runs, validation, LABELS, test, LABELS)["runs"][0]["bias"]
    for answers in validation.values():
        answers[LABELS == unseen] = 100 * torch.randn(20, 10)
    assert never_seen.analyse(runs, validation, LABELS, test, LABELS)["runs"][0]["bias"] == before
