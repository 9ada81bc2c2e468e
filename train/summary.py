"""Measure the runs of a finished study and put them side by side: what NAME.json of a study holds."""

import statistics
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor

from kd import checkpoint, evaluation, models
from kd.augment import augment, draw
from kd.cifar10 import LabelledImages, read_test_set
from kd.processes import machine
from kd.recipe import as_config
from kd.significance import mcnemar, paired_difference
from train.studies import Arm, Run, Study

AUGMENTATION_SEED = 0  # of the augmented test images, the same for every network
METRICS = ("accuracy", "nll", "ece", "agreement", "accuracy_augmented", "validation_accuracy", "validation_loss")


def summarise(name: str, study: Study, runs: list[Run], data_dir: Path, device: torch.device) -> dict:
    """Measure every run, and compare the arms.

    Args:
        name: of the study.
        runs: finished; those of an arm in the order of their seeds.
        data_dir: where the test images are; not looked at where the study is measured on validation.

    Returns:
        The content of the study's JSON: question, arms (each with its recipe, its runs' metrics and their mean,
        sd and n), comparisons, data, versions and the machine that measured.

    Raises:
        CheckpointError: a run is missing or damaged.
        DataError: the test set is missing or damaged.
    """
    test = read_test_set(data_dir) if study.measured_on == "test" else None
    arms: list[dict] = []
    right: dict[str, list[Tensor]] = {}  # by arm, which test images each run has right
    teacher_logits: dict[Path, Tensor] = {}
    for arm in study.arms:
        measured = []
        for run in (run for run in runs if run.arm == arm):
            config = checkpoint.load_config(run.folder)
            metrics = {key: config["metrics"][key] for key in ("validation_accuracy", "validation_loss")}
            if test:
                logits = test_logits(run, test, device)
                if arm.role == "teacher":
                    teacher_logits[run.folder] = logits
                metrics |= measure(logits, test.labels, teacher_of(run, runs, teacher_logits))
                right.setdefault(arm.name, []).append(logits.argmax(dim=1) == test.labels)
                if arm.augmented_test:
                    metrics["accuracy_augmented"] = evaluation.accuracy(
                        test_logits(run, test, device, augmented=True), test.labels
                    )
            measured.append(describe_run(run, config) | metrics)
        arms.append(describe_arm(arm, study, [run for run in runs if run.arm == arm], measured))
    return {
        "study": name,
        "question": study.question,
        "measured_on": study.measured_on,
        "arms": arms,
        "comparisons": compare(study, arms, right),
        "data": test.description if test else checkpoint.load_config(runs[0].folder)["data"],
        "machine": machine(device),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
    }


def measure(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> dict:
    """A run's metrics on the test images; agreement where there is a teacher to agree with."""
    metrics = {
        "accuracy": evaluation.accuracy(logits, labels),
        "nll": evaluation.negative_log_likelihood(logits, labels),
        "ece": evaluation.calibration_error(logits, labels),
        "reliability": evaluation.reliability(logits, labels),
    }
    if teacher_logits is not None:
        metrics["agreement"] = evaluation.agreement(logits, teacher_logits)
    return metrics


def test_logits(run: Run, test: LabelledImages, device: torch.device, augmented: bool = False) -> Tensor:
    """A run's logits for the test images, float32, (N, 10), on the CPU; `augmented` as in its training."""
    network, config = checkpoint.load(run.folder)
    network.to(device, memory_format=torch.channels_last)
    if not augmented:
        return evaluation.predict(network, test.images.to(device), checkpoint.normalisation_of(config))
    drawn = draw(len(test), run.recipe, np.random.default_rng(AUGMENTATION_SEED))
    logits = []
    with torch.inference_mode():
        for rows in torch.arange(len(test)).split(1000):
            images = augment(test.images[rows].to(device), drawn[rows].to(device), run.recipe)
            logits.append(network(images).cpu())
    return torch.cat(logits)


def teacher_of(run: Run, runs: list[Run], teacher_logits: dict[Path, Tensor]) -> Tensor | None:
    """The test logits of the network that taught a run; for one that learnt alone, of the study's plain teacher."""
    if run.teacher:
        return teacher_logits.get(run.teacher)
    plain = [other.folder for other in runs if other.arm.name == "teacher"]
    return teacher_logits.get(plain[0]) if plain and run.arm.role == "student" else None


def describe_run(run: Run, config: dict) -> dict:
    """How a run came about."""
    history = checkpoint.read_history(run.folder)
    return {
        "seed": run.recipe.seed,
        "epochs_done": config["epochs_done"],
        "trained_on": config["data"]["trained_on"],
        "machine": config["machine"],
        "minutes": round(sum(epoch["seconds"] for epoch in history) / 60, 1),
    }


def describe_arm(arm: Arm, study: Study, runs: list[Run], measured: list[dict]) -> dict:
    """An arm with its runs and their means; "median_seed" is the run to ship, by validation accuracy."""
    description: dict = {"name": arm.name, "role": arm.role, "runs": measured}
    if arm.name in study.published:
        description["published_accuracy"] = study.published[arm.name]
    if measured:
        architecture, recipe = models.ARCHITECTURE_OF_ROLE[arm.role], runs[0].recipe
        config = as_config(runs[0].recipe_name, recipe)
        description |= {
            "architecture": architecture,
            "macs": models.count_macs(architecture, recipe.stem),
            "recipe": {key: value for key, value in config.items() if key != "seed"},
            "mean": {key: spread(run[key] for run in measured) for key in METRICS if key in measured[0]},
            "median_seed": sorted(measured, key=lambda run: run["validation_accuracy"])[(len(measured) - 1) // 2][
                "seed"
            ],
        }
    return description


def median_run(measured: list[dict]) -> dict:
    """The run of median validation accuracy: the one that stands for its arm. Of an even number, the lower one."""
    return sorted(measured, key=lambda run: run["validation_accuracy"])[(len(measured) - 1) // 2]


def spread(values: Iterable[float]) -> dict:
    """Mean, standard deviation (null for a single value) and number."""
    values = list(values)
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
    }


def compare(study: Study, arms: list[dict], right: dict[str, list[Tensor]]) -> list[dict]:
    """Each arm against its baseline: by seed (paired t-test) and, on the test images, by image (McNemar)."""
    metric = "accuracy" if study.measured_on == "test" else "validation_accuracy"
    by_name = {arm["name"]: arm for arm in arms}
    comparisons = []
    for arm in study.arms:
        ours, theirs = (by_name[name]["runs"] if name else [] for name in (arm.name, arm.baseline))
        pairs = list(zip(ours, theirs, strict=False))
        if not pairs:
            continue
        difference = paired_difference(*zip(*((one[metric], other[metric]) for one, other in pairs), strict=True))
        comparison = {
            "arm": arm.name,
            "baseline": arm.baseline,
            "metric": metric,
            **difference._asdict(),
            "verdict": difference.verdict,
        }
        if right:
            images = list(zip(right[arm.name], right[arm.baseline], strict=False))
            counts = [(int((one & ~other).sum()), int((other & ~one).sum())) for one, other in images]
            comparison["by_image"] = [
                {"seed": one["seed"], "only_arm_right": a, "only_baseline_right": b, "p": mcnemar(a, b)}
                for (one, _), (a, b) in zip(pairs, counts, strict=True)
            ]
        comparisons.append(comparison)
    return comparisons
