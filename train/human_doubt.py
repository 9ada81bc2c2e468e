"""The study `human-doubt`: networks' doubts beside those of the people who labelled CIFAR-10H."""

import statistics
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from kd.significance import paired_difference
from kd.studies.declared import Run
from kd.studies.human_labels import TEMPERATURES, cross_entropy, entropy, rank_correlation, read_people


def analyse(runs: list[Run], answers: dict[Path, Tensor], labels: Tensor, counts: Path) -> dict:
    """Compare every run's distributions with people's, as a function of T.

    Args:
        answers: the logits for the test images, by the run's folder.
        labels: of the test images.
        counts: CIFAR-10H's cifar10h-counts.npy.

    Returns:
        temperatures; people_entropy (mean, nats); for each arm in "arms" the mean over its runs of cross_entropy and
        kl at each temperature, of best_temperature, kl_at_best and rank_correlation; "inherited" (see `inheritance`).

    Raises:
        DataError: the counts are missing or damaged.
    """
    people = read_people(counts, labels)
    people_entropy = entropy(people)
    arms: dict[str, list[dict]] = {}
    for run in runs:
        logits = answers[run.folder]
        crosses = [cross_entropy(people, logits, temperature) for temperature in TEMPERATURES]
        best = min(range(len(TEMPERATURES)), key=crosses.__getitem__)
        arms.setdefault(run.arm.name, []).append(
            {
                "seed": run.recipe.seed,
                "cross_entropy": crosses,
                "best_temperature": TEMPERATURES[best],
                "kl_at_best": crosses[best] - people_entropy.mean().item(),
                "rank_correlation": rank_correlation(doubts(logits), people_entropy),
            }
        )
    return {
        "people": "CIFAR-10H (Peterson et al. 2019, arXiv 1908.07086), read for measuring, not included",
        "temperatures": list(TEMPERATURES),
        "people_entropy": people_entropy.mean().item(),
        "arms": {name: mean_of(measured, people_entropy.mean().item()) for name, measured in arms.items()},
        "inherited": inheritance(runs, answers, labels),
    }


def doubts(logits: Tensor) -> Tensor:
    """A network's entropy at T = 1 for each image, in nats, (N,)."""
    return entropy(F.softmax(logits.double(), dim=1))


def mean_of(measured: list[dict], people_entropy: float) -> dict:
    """The runs of an arm, and the means over them."""
    curve = [statistics.fmean(values) for values in zip(*(run["cross_entropy"] for run in measured), strict=True)]
    single = ("best_temperature", "kl_at_best", "rank_correlation")
    return {
        "cross_entropy": curve,
        "kl": [value - people_entropy for value in curve],
        **{key: statistics.fmean(run[key] for run in measured) for key in single},
        "runs": [{key: run[key] for key in ("seed", *single)} for run in measured],
    }


def inheritance(runs: list[Run], answers: dict[Path, Tensor], labels: Tensor) -> dict | None:
    """Whether the distilled student has its teacher's doubts beyond what its accuracy explains.

    For each seed: the rank correlation of a student's entropy with the teacher's over those images alone that teacher,
    student alone and distilled student all have right, so that accuracy plays no part; the distilled student's less the
    other's, with a paired t-test over the seeds. None where the study lacks one of the three.
    """
    by_name = {(run.arm.name, run.recipe.seed): run for run in runs}
    teacher = by_name.get(("teacher", 0))
    seeds = [seed for name, seed in by_name if name == "distilled" and ("student alone", seed) in by_name]
    if not teacher or not seeds:
        return None
    correlations: dict[str, list[float]] = {"student alone": [], "distilled": []}
    images = []
    for seed in seeds:
        networks = {name: answers[by_name[name, seed].folder] for name in correlations}
        teachers = answers[teacher.folder]
        right = teachers.argmax(dim=1) == labels
        for logits in networks.values():
            right = right & (logits.argmax(dim=1) == labels)
        images.append(int(right.sum()))
        for name, logits in networks.items():
            correlations[name].append(rank_correlation(doubts(logits)[right], doubts(teachers)[right]))
    difference = paired_difference(correlations["distilled"], correlations["student alone"])
    return {
        "seeds": seeds,
        "images": images,
        "rank_correlation": correlations,
        **difference._asdict(),
    }
