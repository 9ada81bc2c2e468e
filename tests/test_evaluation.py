"""The metrics in cases that can be done in one's head."""

import math
from types import SimpleNamespace

import pytest
import torch

from kd import evaluation
from kd.cifar10 import CLASSES, NORMALISATIONS
from kd.evaluation import (
    accuracy,
    agreement,
    calibration_error,
    energy_score,
    largest_logit,
    measure,
    negative_log_likelihood,
    per_class_accuracy,
    predict,
)


@pytest.fixture(scope="module")
def answers():
    """Logits of 2,000 images at all levels of confidence, about half of them right; labels."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (2000,), generator=random)
    logits = torch.randn(2000, 10, generator=random) * 4 * torch.rand(2000, 1, generator=random)
    logits[torch.arange(2000), labels] += 2
    return logits, labels


def sure_of(classes, logit=100.0):
    return logit * torch.eye(10)[torch.tensor(classes)]


# Logits of many images


def by_hand(network, images):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMALISATIONS["cifar10"])
    with torch.no_grad():
        return network((images / 255 - mean) / std)


def test_predict_equals_a_forward_pass_in_evaluation_mode(make_network, subset):
    network, images = make_network().eval(), subset[0].images[:70]
    logits = predict(network, images, NORMALISATIONS["cifar10"])
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, by_hand(network, images), rtol=1e-4, atol=1e-5)
    # Neither batch norm nor anything else looks at an image's neighbours.
    torch.testing.assert_close(
        predict(network, images, NORMALISATIONS["cifar10"], batch_size=16), logits, rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(predict(network, images, NORMALISATIONS["seed-project"]), logits, rtol=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_predict_leaves_the_network_as_it_was(make_network, subset, training):
    network = make_network().train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = predict(network, subset[0].images[:50], NORMALISATIONS["cifar10"])
    assert torch.equal(first, predict(network, subset[0].images[:50], NORMALISATIONS["cifar10"]))  # no dropout
    assert [module.training for module in network.modules()] == [training] * len(list(network.modules()))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


# Accuracy and agreement


def test_accuracy_is_the_share_of_right_answers():
    logits = sure_of([0, 1, 2, 3])
    assert accuracy(logits, torch.tensor([0, 1, 2, 9])) == 0.75
    assert accuracy(logits, torch.tensor([0, 1, 2, 3])) == 1
    assert accuracy(logits, torch.tensor([9, 9, 9, 9])) == 0


def test_accuracy_per_class_divides_by_the_images_of_the_class():
    labels = torch.tensor([*range(10), 3, 3, 3])
    answers = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 3, 5, 5])
    assert per_class_accuracy(sure_of(answers.tolist()), labels, CLASSES) == {
        name: {"cat": 0.5, "truck": 0.0}.get(name, 1.0) for name in CLASSES
    }


def test_agreement_asks_for_the_same_answer_right_or_wrong():
    assert agreement(sure_of([0, 1, 2, 3]), sure_of([0, 1, 5, 5], logit=1.0)) == 0.5
    assert agreement(sure_of([0, 1]), sure_of([0, 1])) == 1


# Likelihood


def test_likelihood_of_answers_that_can_be_done_by_hand():
    labels = torch.tensor([4, 7])
    assert negative_log_likelihood(torch.zeros(2, 10), labels) == pytest.approx(math.log(10), rel=1e-12)
    assert negative_log_likelihood(sure_of([4, 7]), labels) == pytest.approx(0, abs=1e-12)
    assert negative_log_likelihood(sure_of([4, 1]), labels) == pytest.approx(50, rel=1e-6)  # mean of 0 and 100


# Calibration


def test_images_are_sorted_into_intervals_that_are_open_below_and_closed_above():
    confidences = [1 / (1 + math.exp(-logit)) for logit in (0.0, 0.25, 0.5, 0.75)]  # .5, .56, .62 and .68
    logits = torch.full((4, 10), -1000.0)
    logits[:, :2] = torch.tensor([[0.0, 0.0], [0.25, 0.0], [0.5, 0.0], [0.75, 0.0]])
    labels = torch.tensor([0, 1, 0, 1])  # right, wrong, right, wrong
    half, first, second, third = confidences
    gaps = [1 - half, first + second + third - 1]  # (0, .5] and (.5, 1]
    assert calibration_error(logits, labels, bins=2) == pytest.approx(sum(gaps) / 4, rel=1e-12)
    gaps = [1 - half, first, second + third - 1]  # (.4, .5], (.5, .6] and (.6, .7]
    assert calibration_error(logits, labels, bins=10) == pytest.approx(sum(gaps) / 4, rel=1e-12)


def test_calibration_error_has_15_bins_unless_told_otherwise(answers):
    assert calibration_error(*answers) == calibration_error(*answers, bins=15)
    assert calibration_error(*answers) != calibration_error(*answers, bins=10)


def test_sure_and_right_is_perfectly_calibrated_and_sure_and_wrong_not_at_all():
    logits = sure_of([0, 1, 2, 3])
    assert calibration_error(logits, torch.tensor([0, 1, 2, 3])) == pytest.approx(0, abs=1e-12)
    assert calibration_error(logits, torch.tensor([1, 2, 3, 4])) == pytest.approx(1, abs=1e-12)
    assert calibration_error(logits, torch.tensor([0, 1, 3, 4])) == pytest.approx(0.5, abs=1e-12)


def test_saying_half_and_being_right_half_of_the_time_is_perfectly_calibrated():
    logits = torch.full((4, 10), -1000.0)
    logits[:, :2] = torch.tensor([0.01, 0.0])  # .5025 for class 0
    labels = torch.tensor([0, 1, 0, 1])
    assert calibration_error(logits, labels) == pytest.approx(0.0025, abs=1e-6)


def test_gaps_in_opposite_directions_do_not_cancel_out_between_bins():
    # Sure and wrong once; undecided (a tenth each) and right once: the mean confidence is near the accuracy.
    logits = torch.cat([sure_of([3]), torch.zeros(1, 10)])
    labels = torch.tensor([4, 0])
    assert calibration_error(logits, labels) == pytest.approx((1.0 + 0.9) / 2, rel=1e-6)


def test_measure_gathers_all_metrics_of_one_network(answers):
    assert measure(*answers) == {
        "accuracy": accuracy(*answers),
        "nll": negative_log_likelihood(*answers),
        "ece": calibration_error(*answers),
    }
    assert all(isinstance(value, float) for value in measure(*answers).values())


def test_the_largest_logit_is_counted_from_the_mean_of_its_image_either_way():
    logits = torch.tensor([[100.0, 101.0, 102.0], [4.0, 4.0, -8.0], [0.0, 0.0, 3.0]])
    assert largest_logit(logits) == 8


# Images outside the classes


def test_the_energy_score_is_the_logarithm_of_the_sum_of_powers_and_does_not_overflow():
    logits = torch.tensor([[1000.0, 0.0, 0.0], [-1000.0, -1000.0, -2000.0], [0.0, 1.0, 2.0]])
    expected = [1000, math.log(2) - 1000, math.log(1 + math.e + math.e**2)]
    assert energy_score(logits).tolist() == pytest.approx(expected, rel=1e-12)


def test_latency_is_the_median_in_milliseconds_on_one_core_after_the_warm_up(monkeypatch):
    ticks = iter([0, 9, 0, 9, 0, 0.001, 0, 0.005, 0, 0.002])
    monkeypatch.setattr(evaluation, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    monkeypatch.setattr(evaluation, "LATENCY_WARM_UP", 2)
    monkeypatch.setattr(evaluation, "LATENCY_RUNS", 3)
    before, threads = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        found = evaluation.latencies({"a": lambda _: threads.append(torch.get_num_threads())}, torch.zeros(1, 3, 4, 4))
        assert found == {"a": 2.0} and set(threads) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
