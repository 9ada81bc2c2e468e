"""Doubt compared with people's: how far a network's distribution over the classes is from what people say.

CIFAR-10H (Peterson et al. 2019, arXiv 1908.07086) counts how about fifty people labelled each of CIFAR-10's test
images. It has no others, so the T at which a network is compared is not fitted to people at all, but to the labels of
the validation images. Distributions are float64, (N, K), with rows that sum to 1.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kd import evaluation
from kd.cifar10 import CLASSES
from kd.dataset import DataError
from kd.significance import paired_difference
from kd.studies.declared import Arm
from kd.studies.runs import Run

TEMPERATURES = tuple(round(0.25 * 2 ** (k / 8), 4) for k in range(49))  # .25 to 16, eight to a doubling


def analyse(
    arms: Sequence[Arm],
    runs: list[Run],
    logits_of_run: dict[Path, Tensor],
    labels: Tensor,
    validation_logits: dict[Path, Tensor],
    validation_labels: Tensor,
    counts: Path,
) -> dict:
    """Compare every run's distributions with people's, as a function of T.

    Args:
        arms: of the study.
        logits_of_run, labels: the logits of the test images by the run's folder, and the labels of these.
        validation_logits, validation_labels: the same of the validation images, to which a run's T is fitted.
        counts: CIFAR-10H's cifar10h-counts.npy.

    Returns:
        temperatures; people_entropy (mean, nats); temperature_from ("validation"); for each arm in "arms" its position
        and the means over its runs: kl at each temperature, its fitted temperature, kl_at_temperature and
        rank_correlation; "inherited" (see `inheritance`).

    Raises:
        DataError: the counts are missing or damaged.
    """
    people = read_people(counts, labels)
    people_entropy = entropy(people)
    measured: dict[int, list[dict]] = {}
    for run in runs:
        logits = logits_of_run[run.folder]
        kl = [cross_entropy(people, logits, t) - people_entropy.mean().item() for t in TEMPERATURES]
        fitted = fitted_temperature(validation_logits[run.folder], validation_labels)
        measured.setdefault(arms.index(run.arm), []).append(
            {
                "seed": run.recipe.seed,
                "kl": kl,
                "temperature": fitted,
                "kl_at_temperature": kl[TEMPERATURES.index(fitted)],
                "rank_correlation": rank_correlation(doubts(logits), people_entropy),
            }
        )
    return {
        "people": "CIFAR-10H (Peterson et al. 2019, arXiv 1908.07086), read for measuring, not included",
        "temperatures": list(TEMPERATURES),
        "temperature_from": "validation",
        "people_entropy": people_entropy.mean().item(),
        "arms": [{"arm": arm} | mean_of(own) for arm, own in measured.items()],
        "inherited": inheritance(runs, logits_of_run, labels),
    }


def fitted_temperature(logits: Tensor, labels: Tensor) -> float:
    """The one of `TEMPERATURES` at which the labels are likeliest (temperature scaling, Guo 2017, arXiv 1706.04599).

    Args:
        logits, labels: (N, K) and (N,), of images that the network was not trained on.
    """
    return min(TEMPERATURES, key=lambda t: evaluation.negative_log_likelihood(logits.double() / t, labels))


def mean_of(measured: list[dict]) -> dict:
    """The runs of an arm, and the means over them."""
    single = ("temperature", "kl_at_temperature", "rank_correlation")
    return {
        "kl": [statistics.fmean(values) for values in zip(*(run["kl"] for run in measured), strict=True)],
        **{key: statistics.fmean(run[key] for run in measured) for key in single},
        "runs": [{key: run[key] for key in ("seed", *single)} for run in measured],
    }


def inheritance(runs: list[Run], logits_of_run: dict[Path, Tensor], labels: Tensor) -> dict | None:
    """Whether the distilled student has its teacher's doubts on images that all get right.

    For each seed: the rank correlation of a student's entropy with the teacher's over those images alone that teacher,
    student alone and distilled student all have right, so that errors play no part; the distilled student's less the
    other's, with a paired t-test over the seeds. None where the study lacks one of the three.
    """
    by_role = {(run.arm.role, run.recipe.seed): run for run in runs}
    teacher = next((run for run in runs if run.arm.role == "teacher"), None)
    seeds = [seed for role, seed in by_role if role == "distilled" and ("student", seed) in by_role]
    if not teacher or not seeds:
        return None
    correlations: dict[str, list[float]] = {"student": [], "distilled": []}
    images = []
    for seed in seeds:
        networks = {role: logits_of_run[by_role[role, seed].folder] for role in correlations}
        teachers = logits_of_run[teacher.folder]
        right = teachers.argmax(dim=1) == labels
        for logits in networks.values():
            right = right & (logits.argmax(dim=1) == labels)
        images.append(int(right.sum()))
        for role, logits in networks.items():
            correlations[role].append(rank_correlation(doubts(logits)[right], doubts(teachers)[right]))
    difference = paired_difference(correlations["distilled"], correlations["student"])
    return {"seeds": seeds, "images": images, "rank_correlation": correlations, **difference._asdict()}


def read_people(path: str | Path, labels: Tensor) -> Tensor:
    """Read people's distributions from CIFAR-10H's counts.

    Args:
        path: cifar10h-counts.npy, integers, (N, 10), in the order of the test images.
        labels: the test images' labels, (N,), which the counts have to fit.

    Raises:
        DataError: the file is missing, damaged, or belongs to other images.
    """
    try:
        counts = np.load(path, allow_pickle=False)
    except (EOFError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): give --cifar10h the file cifar10h-counts.npy") from error
    shape = getattr(counts, "shape", None)  # an archive of arrays has none
    if shape != (len(labels), len(CLASSES)) or counts.min() < 0 or not counts.sum(axis=1).all():
        raise DataError(f"{path} does not hold counts of ten classes for {len(labels):,} images: is it CIFAR-10H's?")
    people = torch.from_numpy(counts / counts.sum(axis=1, keepdims=True))
    agreeing = (people.argmax(dim=1) == labels).double().mean().item()
    if agreeing < 0.9:  # people have 99 % of CIFAR-10 right
        raise DataError(f"{path} agrees with {agreeing:.0%} of the labels: its images are in another order")
    return people


def entropy(distributions: Tensor) -> Tensor:
    """Entropy of each row in nats, (N,)."""
    return torch.special.entr(distributions).sum(dim=1)


def doubts(logits: Tensor) -> Tensor:
    """A network's entropy at T = 1 for each image, in nats, (N,)."""
    return entropy(F.softmax(logits.double(), dim=1))


def cross_entropy(people: Tensor, logits: Tensor, temperature: float) -> float:
    """Mean of -sum(people log softmax(logits / T)) over the images, in nats.

    The Kullback-Leibler divergence from people to the network is this less people's mean entropy.
    """
    return -(people * F.log_softmax(logits.double() / temperature, dim=1)).sum(dim=1).mean().item()


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation of two lists of numbers, (N,), equal values sharing their mean rank; -1 to 1."""
    ranks = torch.stack([_ranks(one), _ranks(other)])
    return torch.corrcoef(ranks)[0, 1].item()


def _ranks(values: Tensor) -> Tensor:
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]
