"""Every loss against its formula, written again in numpy and float64, and against the traps of published code."""

import itertools
import math

import numpy as np
import pytest
import torch

from kd.losses import DISTANCES, distillation_loss, dkd, kd, kl_divergence, soft_targets

TEMPERATURES = [0.5, 1.0, 4.0, 20.0]


def make_logits(seed=0, count=16, scale=3.0):
    """Student's logits, teacher's logits, labels."""
    random = torch.Generator().manual_seed(seed)
    student, teacher = scale * torch.randn(2, count, 10, generator=random)
    return student, teacher, torch.randint(0, 10, (count,), generator=random)


# The formulas


def softmax(z):
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def kl_in_numpy(p, q):
    """KL(p || q): summed over the classes, averaged over the rows."""
    return (p * np.log(p / q)).sum(axis=1).mean()


def cross_entropy_in_numpy(s, labels):
    return -np.log(softmax(s)[np.arange(len(s)), labels]).mean()


def kd_in_numpy(s, t, labels, temperature):
    return temperature**2 * kl_in_numpy(softmax(t / temperature), softmax(s / temperature))


def logit_mse_in_numpy(s, t, labels, temperature):
    return ((t - s) ** 2).mean()


def tckd_and_nckd_in_numpy(s, t, label, temperature):
    """Both terms for one image, by way of probabilities."""
    (p,), (q,) = softmax(t[None] / temperature), softmax(s[None] / temperature)
    pair_p, pair_q = np.array([p[label], 1 - p[label]]), np.array([q[label], 1 - q[label]])
    rest_p, rest_q = np.delete(p, label) / (1 - p[label]), np.delete(q, label) / (1 - q[label])
    return kl_in_numpy(pair_p[None], pair_q[None]), kl_in_numpy(rest_p[None], rest_q[None])


def dkd_in_numpy(s, t, labels, temperature, alpha=1.0, beta=2.0):
    terms = np.mean([tckd_and_nckd_in_numpy(*image, temperature) for image in zip(s, t, labels, strict=True)], axis=0)
    return temperature**2 * (alpha * terms[0] + beta * terms[1])


def dist_in_numpy(s, t, labels, temperature):
    p, q = softmax(t / temperature), softmax(s / temperature)
    inter = np.mean([1 - np.corrcoef(p[row], q[row])[0, 1] for row in range(len(p))])
    intra = np.mean([1 - np.corrcoef(p[:, column], q[:, column])[0, 1] for column in range(10)])
    return inter + intra


def standardised_kd_in_numpy(s, t, labels, temperature):
    s, t = ((x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True) for x in (s, t))
    return kd_in_numpy(s, t, labels, temperature)


IN_NUMPY = {
    "kd": kd_in_numpy,
    "logit-mse": logit_mse_in_numpy,
    "dkd": dkd_in_numpy,
    "dist": dist_in_numpy,
    "standardised-kd": standardised_kd_in_numpy,
}


def as_numpy(student, teacher, labels):
    return student.double().numpy(), teacher.double().numpy(), labels.numpy()


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("name", DISTANCES)
def test_each_distance_follows_its_formula(name, temperature):
    given = make_logits()
    expected = IN_NUMPY[name](*as_numpy(*given), temperature)
    # Correlations at a high T are close to each other: float32 leaves them fewer digits.
    assert DISTANCES[name](*given, temperature).item() == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("soft_weight", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("name", DISTANCES)
def test_loss_weighs_the_hard_and_the_soft_term(name, temperature, soft_weight):
    given = make_logits(seed=1)
    s, t, labels = as_numpy(*given)
    hard, soft = cross_entropy_in_numpy(s, labels), IN_NUMPY[name](s, t, labels, temperature)
    loss = distillation_loss(*given, loss=name, temperature=temperature, soft_weight=soft_weight)
    assert loss.hard.item() == pytest.approx(hard, rel=1e-5)
    assert loss.soft.item() == pytest.approx(soft, rel=1e-5)
    assert loss.total.item() == pytest.approx((1 - soft_weight) * hard + soft_weight * soft, rel=1e-5)


def test_every_loss_on_offer_is_held_against_its_formula():
    assert list(DISTANCES) == list(IN_NUMPY)


def test_dkd_weighs_its_two_terms():
    given = make_logits()
    for alpha, beta in [(1.0, 0.0), (0.0, 1.0), (0.5, 8.0)]:
        expected = dkd_in_numpy(*as_numpy(*given), 4.0, alpha, beta)
        assert dkd(*given, 4.0, alpha, beta).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kd_is_tckd_plus_nckd_weighed_by_what_the_teacher_leaves_to_other_classes(temperature):
    for s, t, label in zip(*make_logits(), strict=True):
        image = s[None], t[None], label[None]
        left = 1 - soft_targets(t[None], temperature)[0, label].item()
        assert dkd(*image, temperature, 1.0, left).item() == pytest.approx(kd(*image, temperature).item(), rel=1e-4)


# The weights at their ends


def test_soft_weight_1_leaves_the_labels_out_and_keeps_the_squared_temperature():
    student, teacher, labels = make_logits()
    loss = distillation_loss(student, teacher, labels, temperature=4, soft_weight=1)
    other = distillation_loss(student, teacher, labels.flip(0), temperature=4, soft_weight=1)
    expected = 16 * kl_in_numpy(*(softmax(z.double().numpy() / 4) for z in (teacher, student)))
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert other.hard != loss.hard
    assert other.total == loss.total


# Scale and direction


def test_kl_is_summed_over_the_classes_and_averaged_over_the_batch():
    certain, undecided = torch.zeros(6, 10), torch.zeros(6, 10)
    certain[:, 3] = 1000
    assert kl_divergence(certain, undecided).item() == pytest.approx(math.log(10), rel=1e-6)
    half = torch.cat([certain[:3], undecided[:3]])
    assert kl_divergence(half, undecided).item() == pytest.approx(math.log(10) / 2, rel=1e-6)


def test_kl_runs_from_the_teacher_to_the_student():
    certain, undecided = torch.tensor([[30.0, 0.0]]), torch.zeros(1, 2)
    # Of an undecided student, a certain teacher asks log 2; of a certain student, an undecided teacher asks 15 - log 2.
    assert kd(undecided, certain, torch.tensor([0]), 1.0).item() == pytest.approx(math.log(2), rel=1e-4)
    assert kd(certain, undecided, torch.tensor([0]), 1.0).item() == pytest.approx(15 - math.log(2), rel=1e-4)


@pytest.mark.parametrize("name", ["kd", "dkd", "standardised-kd"])
def test_student_and_teacher_cannot_be_exchanged(name):
    student, teacher, labels = make_logits()
    there, back = (DISTANCES[name](*pair, labels, 2.0).item() for pair in ((student, teacher), (teacher, student)))
    assert abs(there - back) > 0.001 * there


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_identical_logits_are_at_no_distance(name, temperature):
    student, _, labels = make_logits()
    assert DISTANCES[name](student, student.clone(), labels, temperature).item() == pytest.approx(0, abs=1e-5)


def gradient_of(name, student, teacher, labels, temperature):
    student = student.clone().requires_grad_()
    DISTANCES[name](student, teacher, labels, temperature).backward()
    return student.grad


def test_gradient_of_kd_is_the_difference_of_the_soft_targets_times_temperature():
    given = make_logits()
    s, t, _ = as_numpy(*given)
    expected = 4 * (softmax(s / 4) - softmax(t / 4)) / len(s)
    np.testing.assert_allclose(gradient_of("kd", *given, 4.0).numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["kd", "dkd", "standardised-kd"])
def test_size_of_the_gradient_hardly_depends_on_the_temperature(name):
    given = make_logits(scale=0.3)
    norms = [gradient_of(name, *given, temperature).norm().item() for temperature in (1, 2, 4, 8, 20)]
    # Without the factor T^2 the last would be 400 times smaller than the first. Standardised logits are not small.
    assert max(norms) < (3 if name == "standardised-kd" else 1.2) * min(norms)


@pytest.mark.parametrize("name", DISTANCES)
def test_gradient_depends_on_both_networks_answers(name):
    student, teacher, labels = make_logits()
    gradient = gradient_of(name, student, teacher, labels, 4.0)
    assert gradient.abs().max() > 1e-4
    assert not torch.allclose(gradient, gradient_of(name, student, teacher.flip(0), labels, 4.0), rtol=0.01)
    assert not torch.allclose(gradient, gradient_of(name, student.flip(0), teacher, labels, 4.0), rtol=0.01)


# Numbers that break careless code


def far_apart():
    signs, other_signs = torch.randn(2, 8, 10, generator=torch.Generator().manual_seed(0)).sign()
    return 1e4 * signs, 1e4 * other_signs


def constant_rows():
    return torch.zeros(8, 10), torch.ones(8, 10)


def one_hot_rows():
    return 1e4 * torch.eye(10)[:8], -1e4 * torch.eye(10)[:8]


@pytest.mark.parametrize("make", [far_apart, constant_rows, one_hot_rows], ids=lambda make: make.__name__)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("name", DISTANCES)
def test_extreme_logits_give_finite_losses_and_gradients(name, temperature, make):
    student, teacher = make()
    student.requires_grad_()
    loss = distillation_loss(student, teacher, torch.arange(8), loss=name, temperature=temperature)
    loss.total.backward()
    assert all(term.isfinite() for term in loss)
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", DISTANCES)
def test_the_student_alone_gets_a_gradient(name):
    student, teacher, labels = make_logits()
    student.requires_grad_()
    teacher.requires_grad_()
    distillation_loss(student, teacher, labels, loss=name).total.backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", DISTANCES)
def test_half_precision_logits_are_computed_with_in_float32(name, kind):
    student, teacher, labels = make_logits(scale=8.0)
    student, teacher = student.to(kind), teacher.to(kind)
    halved = distillation_loss(student, teacher, labels, loss=name)
    full = distillation_loss(student.float(), teacher.float(), labels, loss=name)
    assert [term.dtype for term in halved] == [torch.float32] * 3
    assert halved == full


# Soft targets


@pytest.mark.parametrize("temperature", [0.01, 1.0, 4.0, 1000.0])
def test_soft_targets_are_distributions(temperature):
    targets = soft_targets(make_logits()[1], temperature)
    assert targets.dtype == torch.float32
    assert targets.min() >= 0
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(16))


def test_soft_targets_melt_from_one_hot_to_uniform_as_the_temperature_rises():
    _, teacher, _ = make_logits()
    top = [soft_targets(teacher, temperature).max(dim=1).values for temperature in (0.01, 1, 4, 20, 1e5)]
    assert all((hotter < colder).all() for colder, hotter in itertools.pairwise(top))
    assert top[0].min() > 0.99
    assert (top[-1] - 0.1).abs().max() < 1e-4
    np.testing.assert_allclose(soft_targets(teacher, 1.0), softmax(teacher.double().numpy()), rtol=1e-5)
