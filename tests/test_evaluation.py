"""The metrics against slow loops and against cases that can be done in one's head."""

import math

import pytest
import torch

from kd.cifar10 import CLASSES, NORMALISATIONS
from kd.evaluation import (
    accuracy,
    agreement,
    calibration_error,
    energy_score,
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
    assert per_class_accuracy(sure_of(answers.tolist()), labels) == {
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


def test_likelihood_equals_a_loop(answers):
    logits, labels = answers
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        losses.append(math.log(sum(math.exp(logit) for logit in row)) - row[label])
    assert negative_log_likelihood(logits, labels) == pytest.approx(sum(losses) / len(losses), rel=1e-9)


# Calibration


def calibration_error_by_loop(logits, labels, bins):
    probabilities = logits.double().softmax(dim=1)
    error = 0.0
    for number in range(bins):
        right, confidence = [], []
        for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
            top = max(row)
            if number / bins < top <= (number + 1) / bins:
                right.append(row.index(top) == label)
                confidence.append(top)
        if right:
            gap = abs(sum(right) / len(right) - sum(confidence) / len(confidence))
            error += len(right) / len(labels) * gap
    return error


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_equals_a_loop_over_bins(answers, bins):
    expected = calibration_error_by_loop(*answers, bins)
    assert expected > 0.01
    assert calibration_error(*answers, bins) == pytest.approx(expected, rel=1e-9)


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
        "per_class_accuracy": per_class_accuracy(*answers),
    }
    assert all(isinstance(value, float) for name, value in measure(*answers).items() if name != "per_class_accuracy")


# Images outside the classes


def test_the_energy_score_equals_a_loop_and_does_not_overflow(answers):
    logits = answers[0]
    by_loop = [math.log(sum(math.exp(logit) for logit in row)) for row in logits[:50].double().tolist()]
    assert energy_score(logits[:50]).tolist() == pytest.approx(by_loop, rel=1e-12)
    assert energy_score(torch.tensor([[1000.0, 0.0], [-1000.0, -1000.0]])).tolist() == pytest.approx(
        [1000, math.log(2) - 1000], rel=1e-12
    )
