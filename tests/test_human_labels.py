"""People's doubt and networks': every figure against NumPy, image by image."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kd.dataset import DataError
from kd.recipe import Recipe
from kd.studies.declared import DISTILLED, STUDENT, TEACHER
from kd.studies.human_labels import (
    TEMPERATURES,
    analyse,
    cross_entropy,
    entropy,
    fitted_temperature,
    inheritance,
    rank_correlation,
    read_people,
)
from kd.studies.runs import Run

LABELS = torch.arange(200) % 10

COUNTS = np.array([[48, 2, 0], [25, 25, 0], [1, 9, 40], [50, 0, 0]])
SPEARMAN = 0.8207826816681234
PEOPLE = COUNTS / COUNTS.sum(axis=1, keepdims=True)
LOGITS = np.array([[3.0, 1.0, -2.0], [0.5, 0.4, 0.3], [-1.0, 2.0, 2.5], [9.0, -9.0, 0.0]])


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_cross_entropy_and_divergence_are_numpys(temperature):
    expected, divergence = [], []
    for people, logits in zip(PEOPLE, LOGITS, strict=True):
        network = softmax(logits / temperature)
        expected.append(-sum(p * np.log(q) for p, q in zip(people, network, strict=True)))
        divergence.append(sum(p * np.log(p / q) for p, q in zip(people, network, strict=True) if p > 0))
    people, logits = torch.from_numpy(PEOPLE), torch.from_numpy(LOGITS)
    found = cross_entropy(people, logits, temperature)
    assert found == pytest.approx(np.mean(expected), rel=1e-12)
    assert found - entropy(people).mean().item() == pytest.approx(np.mean(divergence), rel=1e-12)


def test_entropy_is_numpys_and_certainty_has_none():
    expected = [-sum(p * np.log(p) for p in row if p > 0) for row in PEOPLE]
    assert entropy(torch.from_numpy(PEOPLE)).tolist() == pytest.approx(expected)
    assert entropy(torch.from_numpy(PEOPLE))[3] == 0


def test_rank_correlation_is_scipys_with_equal_values():
    # scipy.stats.spearmanr([1, 2, 2, 5, 0], [3, 1, 4, 5, 0])
    one, other = torch.tensor([1.0, 2, 2, 5, 0]), torch.tensor([3.0, 1, 4, 5, 0])
    assert rank_correlation(one, other) == pytest.approx(SPEARMAN)
    assert rank_correlation(one, one) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one.exp(), other) == pytest.approx(SPEARMAN)  # ranks alone count


def test_temperatures_double_every_eight():
    assert TEMPERATURES[0] == 0.25 and TEMPERATURES[-1] == 16 and 1.0 in TEMPERATURES and 4.0 in TEMPERATURES
    assert all(
        b / a == pytest.approx(2 ** (1 / 8), rel=1e-3) for a, b in zip(TEMPERATURES, TEMPERATURES[1:], strict=False)
    )


def test_people_are_read_as_shares(tmp_path):
    counts = np.zeros((3, 10), dtype=int)
    counts[[0, 1, 2], [4, 7, 7]] = 40
    counts[0, 5] = 10
    np.save(tmp_path / "counts.npy", counts)
    people = read_people(tmp_path / "counts.npy", torch.tensor([4, 7, 7]))
    assert people[0, 4] == 0.8 and people[0, 5] == 0.2
    assert people.sum(dim=1).tolist() == [1, 1, 1]


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "archive", "pickle", "shape", "empty row", "order"])
def test_file_that_is_not_cifar_10h_is_refused_by_name(tmp_path, damage):
    path, labels = tmp_path / "counts.npy", torch.arange(10)
    counts = np.eye(10, dtype=int) * 50
    if damage == "text":
        path.write_text("counts")
    elif damage == "empty":
        path.touch()
    elif damage == "archive":
        with open(path, "wb") as file:
            np.savez(file, counts=counts)
    elif damage == "pickle":
        np.save(path, np.array([{}]), allow_pickle=True)
    elif damage != "missing":
        if damage == "empty row":
            counts[3] = 0
        np.save(path, counts[:, :9] if damage == "shape" else counts[::-1] if damage == "order" else counts)
    with pytest.raises(DataError, match=r"counts\.npy"):
        read_people(path, labels)


# The study


def make_run(arm, seed=0):
    teacher = Path("teacher") if arm.role == "distilled" else None
    folder = Path("teacher") if arm.role == "teacher" else Path(f"{arm.role} {seed}")
    return Run(arm, "seed", Recipe(seed=seed), folder, teacher)


def people_like(logits, temperature, answers=1_000_000):
    """Counts of people who answer as the network doubts at a temperature."""
    return (torch.softmax(logits.double() / temperature, dim=1) * answers).round().long().numpy()


@pytest.fixture
def doubt(tmp_path):
    """The analysis of a teacher, two students alone and two distilled; people doubt as the teacher does at T = 2.

    Of the validation images each network's logits are four times too large.
    """
    torch.manual_seed(0)
    teacher = torch.randn(200, 10) + 6 * torch.nn.functional.one_hot(LABELS, 10)
    # The teacher's seed is its own affair: the one that ships has another than its students.
    runs = [make_run(TEACHER, seed=1), *(make_run(arm, seed) for arm in (STUDENT, DISTILLED) for seed in (0, 1))]
    noise = {"student": 2.0, "distilled": 0.3}
    answers = {
        run.folder: teacher if run.arm == TEACHER else teacher + noise[run.arm.role] * torch.randn(200, 10)
        for run in runs
    }
    np.save(tmp_path / "counts.npy", people_like(teacher, 2.0))
    validated, labels = calibrated(runs, scale=4.0)
    found = analyse((TEACHER, STUDENT, DISTILLED), runs, answers, LABELS, validated, labels, tmp_path / "counts.npy")
    return found, answers


def calibrated(runs, scale):
    """Logits and labels of validation images: at T = scale the labels are as likely as the softmax says."""
    logits = 2 * torch.randn(20_000, 10)
    labels = torch.multinomial(torch.softmax(logits, dim=1), 1)[:, 0]
    return {run.folder: scale * logits for run in runs}, labels


def test_networks_are_compared_at_the_t_that_their_validation_images_want_and_not_the_test_images(doubt):
    found, _ = doubt
    assert found["temperature_from"] == "validation"
    teacher = found["arms"][0]
    assert teacher["arm"] == 0 and teacher["temperature"] == pytest.approx(4, rel=0.1)
    curve = dict(zip(found["temperatures"], teacher["kl"], strict=True))
    assert min(curve, key=curve.get) == 2.0 and curve[2.0] == pytest.approx(0, abs=1e-4)  # which is not looked for
    assert teacher["kl_at_temperature"] == curve[teacher["temperature"]] > 0.05
    assert teacher["rank_correlation"] > 0.9
    assert found["temperatures"] == list(TEMPERATURES)


def test_fitted_temperature_is_the_one_at_which_the_labels_are_likeliest():
    torch.manual_seed(0)
    answers, labels = calibrated([make_run(TEACHER)], scale=2.0)
    (logits,) = answers.values()
    fitted = fitted_temperature(logits, labels)

    def nll(temperature):
        return torch.nn.functional.cross_entropy(logits / temperature, labels)

    assert fitted == pytest.approx(2, rel=0.1) and nll(fitted) == min(map(nll, TEMPERATURES))


def test_arms_figures_are_means_over_its_runs(doubt):
    found, _ = doubt
    for arm in found["arms"][1:]:
        assert [run["seed"] for run in arm["runs"]] == [0, 1]
        for key in ("temperature", "kl_at_temperature", "rank_correlation"):
            assert arm[key] == pytest.approx(sum(run[key] for run in arm["runs"]) / 2)


def test_inheritance_compares_over_images_that_all_three_have_right(doubt):
    found, answers = doubt
    inherited = found["inherited"]
    for seed, images in zip(inherited["seeds"], inherited["images"], strict=True):
        right = torch.ones(200, dtype=torch.bool)
        for folder in (Path("teacher"), Path(f"student {seed}"), Path(f"distilled {seed}")):
            right &= answers[folder].argmax(dim=1) == LABELS
        assert images == right.sum()
    alone, distilled = (inherited["rank_correlation"][name] for name in ("student", "distilled"))
    assert min(distilled) > max(alone)
    assert inherited["mean"] == pytest.approx(sum(distilled) / 2 - sum(alone) / 2)


def test_study_without_one_of_the_three_says_nothing_of_inheritance():
    assert inheritance([make_run(TEACHER)], {}, LABELS) is None
