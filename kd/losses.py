"""Soft targets and the response-based distillation losses: pure functions of logits.

Conventions of this module:
    student_logits, teacher_logits: (N, K), any float type; all arithmetic is in float32.
    labels: int64 (N,). An image that is labelled `UNLABELLED` is taught by the teacher alone; "dkd" needs every label.
    temperature: T > 0; logits are divided by it before the softmax.
    Losses are scalars, averaged over the batch: KL divergences summed over the classes, `logit_mse` and the second
        term of `dist` averaged over them, `hard_loss` averaged over the images that have a label.

A distillation loss is

    (1 - soft_weight) CE(labels, student) + soft_weight D(teacher, student)

with one of the distances D of `DISTANCES`. Papers that write CE + b D weigh the same two terms: it
is their loss with soft_weight = b / (1 + b), scaled by 1 / (1 + b).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

UNLABELLED = -1  # in the place of a label that is not known
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 1000  # of every T that comes in: from a recipe, a program, a visitor


class DistillationLoss(NamedTuple):
    """A loss and the two terms it was made of, before their weights; scalars."""

    total: Tensor
    hard: Tensor
    soft: Tensor


def soft_targets(logits: Tensor, temperature: float) -> Tensor:
    """softmax(logits / T): the distribution that a teacher passes on (Hinton 2015, arXiv 1503.02531, eq. 1).

    Returns:
        (N, K) float32, rows summing to 1; T = 1 is the plain softmax, a higher T is softer.
    """
    return F.softmax(logits.float() / temperature, dim=-1)


def check_temperature(temperature: float) -> None:
    """Raise ValueError unless T is between `MIN_TEMPERATURE` and `MAX_TEMPERATURE`."""
    if not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:  # false for NaN as well
        raise ValueError(f"temperature {temperature} is not between {MIN_TEMPERATURE} and {MAX_TEMPERATURE}")


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    loss: str = "kd",
    temperature: float = 4.0,
    soft_weight: float = 0.9,
) -> DistillationLoss:
    """(1 - soft_weight) cross-entropy with the labels + soft_weight distance from the teacher.

    With loss "kd" this is Hinton 2015 (arXiv 1503.02531, section 2). The student alone learns: no
    gradient reaches the teacher's logits.

    Args:
        loss: a key of `DISTANCES`.
        soft_weight: 0 to 1; 0 is the plain cross-entropy.
    """
    hard = hard_loss(student_logits, labels)
    soft = DISTANCES[loss](student_logits, teacher_logits.detach(), labels, temperature)
    return DistillationLoss((1 - soft_weight) * hard + soft_weight * soft, hard, soft)


def hard_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the labels, in nats, averaged over the images that have one; 0 where none has."""
    total = F.cross_entropy(logits.float(), labels, ignore_index=UNLABELLED, reduction="sum")
    return total / (labels != UNLABELLED).sum().clamp(min=1)


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(softmax(t / T) || softmax(s / T)), in nats."""
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    student = F.log_softmax(student_logits.float() / temperature, dim=1)
    # Both as logarithms: nothing is -inf, however far apart the logits. "batchmean" because the
    # default "mean" would divide by the number of classes as well.
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def kd(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(t / T) || softmax(s / T)) (Hinton 2015, arXiv 1503.02531, section 2).

    The gradient of the KL with respect to the logits shrinks as 1 / T^2; the factor T^2 keeps the
    two terms' relative weight when T changes.
    """
    return temperature**2 * kl_divergence(teacher_logits, student_logits, temperature)


def logit_mse(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """mean((t - s)^2), over batch and classes (Kim 2021, arXiv 2105.08919). T plays no part."""
    return F.mse_loss(student_logits.float(), teacher_logits.float())


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    alpha: float = 1.0,
    beta: float = 2.0,
) -> Tensor:
    """T^2 (alpha TCKD + beta NCKD): decoupled distillation (Zhao 2022, arXiv 2203.08679, eq. 7).

    TCKD is the KL between the two-way distributions (labelled class, all others); NCKD is the KL
    between the distributions over the other classes alone. KD is TCKD + (1 - teacher's probability
    of the labelled class) NCKD. On CIFAR-100 the authors ramp the whole term up over 20 epochs; this does not.

    Args:
        alpha: weight of TCKD.
        beta: weight of NCKD, which the authors choose by the pair of networks: 2 to 8 on CIFAR-100, .5 or 2 on
            ImageNet (the configurations in their repository megvii-research/mdistiller).
    """
    labelled = F.one_hot(labels, student_logits.shape[1]).bool()

    def split(logits: Tensor) -> tuple[Tensor, Tensor]:
        logits = logits.float() / temperature
        # The two-way distribution's logits: the labelled class against the log-sum-exp of the rest.
        rest = logits[~labelled].view(len(logits), -1)
        return torch.stack([logits[labelled], rest.logsumexp(dim=1)], dim=1), rest

    (teacher_pair, teacher_rest), (student_pair, student_rest) = split(teacher_logits), split(student_logits)
    tckd = kl_divergence(teacher_pair, student_pair)
    nckd = kl_divergence(teacher_rest, student_rest)
    return temperature**2 * (alpha * tckd + beta * nckd)


def dist(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """inter + intra: distances between relations (Huang 2022, arXiv 2205.10536, eq. 8-10, beta = gamma = 1).

    inter is 1 - the Pearson correlation of an image's two distributions over the classes, averaged
    over the images; intra is 1 - the correlation of a class's two columns over the batch, averaged
    over the classes. A correlation does not change with scale, so no factor T^2 is due; where other code has one, its
    soft term weighs T^2 times as much.
    """
    teacher, student = soft_targets(teacher_logits, temperature), soft_targets(student_logits, temperature)
    inter = 1 - _pearson(student, teacher).mean()
    intra = 1 - _pearson(student.T, teacher.T).mean()
    return inter + intra


def standardised_kd(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """KD between logits that were standardised row by row (Sun 2024, arXiv 2403.01427, algorithm 1).

    z = (logits - mean) / standard deviation over the classes, for both networks, so that the
    student is free in the shift and the scale of its logits. With K classes no z exceeds
    sqrt(K - 1), 3 for ten: T = 1 to 1.5 is soft enough there.
    """
    return kd(_standardise(student_logits), _standardise(teacher_logits), labels, temperature)


DISTANCES = {
    "kd": kd,
    "logit-mse": logit_mse,
    "dkd": dkd,
    "dist": dist,
    "standardised-kd": standardised_kd,
}
OF_SOFT_TARGETS = ("kd", "dkd", "dist")  # those that compare softmax(z / T) of the logits as they are


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation of matching rows; 0 where a row is constant."""
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    return F.cosine_similarity(a, b, dim=1)


def _standardise(logits: Tensor) -> Tensor:
    logits = logits.float()
    deviation = logits.std(dim=1, correction=0, keepdim=True)
    return (logits - logits.mean(dim=1, keepdim=True)) / (deviation + 1e-7)
