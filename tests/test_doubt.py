"""People's doubt and networks': every figure against NumPy, image by image."""

import numpy as np
import pytest
import torch

from kd.cifar10 import DataError
from kd.doubt import TEMPERATURES, cross_entropy, entropy, rank_correlation, read_people

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


@pytest.mark.parametrize("damage", ["missing", "text", "pickle", "shape", "empty row", "order"])
def test_file_that_is_not_cifar_10h_is_refused_by_name(tmp_path, damage):
    path, labels = tmp_path / "counts.npy", torch.arange(10)
    counts = np.eye(10, dtype=int) * 50
    if damage == "text":
        path.write_text("counts")
    elif damage == "pickle":
        np.save(path, np.array([{}]), allow_pickle=True)
    elif damage != "missing":
        if damage == "empty row":
            counts[3] = 0
        np.save(path, counts[:, :9] if damage == "shape" else counts[::-1] if damage == "order" else counts)
    with pytest.raises(DataError, match=r"counts\.npy"):
        read_people(path, labels)
