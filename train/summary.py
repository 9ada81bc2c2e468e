"""Measure the runs of a study and put them side by side: what NAME.json of a study holds.

The file is a ledger: a run that stands in it is measured, for good. It is not looked at again, so that the test images
are asked once, and its checkpoint may be gone: a study can go on elsewhere with the file alone.
"""

import base64
import statistics
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor

from kd import checkpoint, evaluation, models
from kd.cifar10 import LabelledImages, read_test_set, read_training_set, split_indices
from kd.corruptions import corrupted
from kd.device import machine
from kd.recipe import as_config, from_config
from kd.significance import mcnemar, paired_difference
from train import human_doubt, never_seen
from train.studies import Arm, Run, Study

METRICS = ("accuracy", "nll", "ece", "agreement", "validation_accuracy", "validation_loss", "corrupted_accuracy")


def summarise(
    name: str,
    study: Study,
    runs: list[Run],
    data_dir: Path,
    device: torch.device,
    cifar10h: Path | None = None,
    ledger: dict | None = None,
) -> dict:
    """Measure every run that the ledger lacks, and compare the arms.

    Args:
        name: of the study.
        runs: finished, or in the ledger; those of an arm in the order of their seeds.
        data_dir: where the test images are; not looked at where the study is measured on validation.
        cifar10h: CIFAR-10H's counts, for a study that asks for them.
        ledger: what the study's JSON holds so far.

    Returns:
        The content of the study's JSON: question, arms (each with its recipe, its runs' metrics and their mean,
        sd and n), comparisons, data, versions, the machine that measured, and the study's own analysis, if any.

    Raises:
        CheckpointError: a run is missing or damaged.
        DataError: the test set or the counts are missing or damaged.
    """
    test = read_test_set(data_dir) if study.measured_on == "test" else None
    known = [recorded(run, runs, study, ledger) for run in runs]
    fresh = [run for run, found in zip(runs, known, strict=True) if not found]
    asked = {run.folder for run in fresh} | {folder for run in fresh if (folder := teacher_of(run, runs))}
    answers = {run.folder: predict(run, test, device) for run in runs if run.folder in asked} if test else {}
    arms = []
    for arm in study.arms:
        own, measured = [], []
        for run, found in zip(runs, known, strict=True):
            if run.arm != arm:
                continue
            own.append(run)
            if not found:
                found = describe_run(run)
                if test:
                    teacher = teacher_of(run, runs)
                    found |= measure(answers[run.folder], test.labels, answers[teacher] if teacher else None)
                if study.analysis == "corruptions":
                    found |= measure_corrupted(run, data_dir, device)
            measured.append(found)
        arms.append(describe_arm(arm, study, own, measured))
    if test:
        data = test.description
    else:
        data = checkpoint.load_config(fresh[0].folder)["data"] if fresh else ledger["data"]
    summary = {
        "study": name,
        "question": study.question,
        "measured_on": study.measured_on,
        "arms": arms,
        "comparisons": compare(study, arms),
        "data": data,
        "machine": machine(device),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
    }
    if study.analysis == "human-doubt":
        summary["human_doubt"] = human_doubt.analyse(runs, answers, test.labels, cifar10h)
    if study.analysis == "never-seen" and not fresh:
        summary["never_seen"] = ledger["never_seen"]
    elif study.analysis == "never-seen":
        analysed = [run for run in runs if run.folder in asked]
        found = measure_never_seen(analysed, answers, test.labels, data_dir, device)
        kept = [(run.arm.name, run.recipe.seed) for run, recorded in zip(runs, known, strict=True) if recorded]
        before = ledger["never_seen"]["runs"] if ledger else []
        new = [run for run in found["runs"] if (run["arm"], run["seed"]) not in kept]
        summary["never_seen"] = found | {"runs": [run for run in before if (run["arm"], run["seed"]) in kept] + new}
    return summary


def measure_never_seen(
    runs: list[Run], answers: dict[Path, Tensor], labels: Tensor, data_dir: Path, device: torch.device
) -> dict:
    """What `never_seen.analyse` finds, with the bias corrected on the validation images."""
    everything = read_training_set(data_dir)
    validation = everything[split_indices(everything.labels)[1]]
    of_validation = {run.folder: predict(run, validation, device) for run in runs}
    return never_seen.analyse(runs, of_validation, validation.labels, answers, labels)


def recorded(run: Run, runs: list[Run], study: Study, ledger: dict | None) -> dict | None:
    """What the ledger says of this very run: the same recipe, seed and teacher; None where it does not.

    A study that compares the networks with people needs all their answers, and reads no ledger.
    """
    if not ledger or study.analysis == "human-doubt" or ledger["measured_on"] != study.measured_on:
        return None
    for arm in ledger["arms"]:
        if (arm["name"], arm["role"], arm["withheld"]) != (run.arm.name, run.arm.role, dict(run.arm.withheld)):
            continue
        for found in arm["runs"]:
            same = found["seed"] == run.recipe.seed and "weights" in found
            if same and from_config(arm["recipe"] | {"seed": found["seed"]}) == (run.recipe_name, run.recipe):
                return found if found["taught_by"] == teachers_digest(run, runs, study, ledger) else None
    return None


def teachers_digest(run: Run, runs: list[Run], study: Study, ledger: dict) -> str | None:
    """Which weights teach a run: those in its teacher's folder or, where that is gone, those that the ledger names."""
    if not run.teacher:
        return None
    if (run.teacher / checkpoint.CONFIG).exists():
        return checkpoint.digest(checkpoint.load_config(run.teacher))
    (teacher,) = [other for other in runs if other.folder == run.teacher and other.arm.name == run.arm.teacher]
    found = recorded(teacher, runs, study, ledger)
    return found["weights"] if found else "not there yet"


def predict(run: Run, images: LabelledImages, device: torch.device) -> Tensor:
    """A run's logits, float32, (N, 10), on the CPU."""
    network, config = checkpoint.load(run.folder)
    network.to(device, memory_format=torch.channels_last)
    return evaluation.predict(network, images.images.to(device), checkpoint.normalisation_of(config))


def measure_corrupted(run: Run, data_dir: Path, device: torch.device) -> dict:
    """A run's accuracy on the damaged validation images: corrupted_accuracy, and corruptions, by kind of damage."""
    everything = read_training_set(data_dir)
    validation = everything[split_indices(everything.labels)[1]]
    by_kind = {
        name: evaluation.accuracy(predict(run, replace(validation, images=images), device), validation.labels)
        for name, images in corrupted(validation.images)
    }
    return {"corrupted_accuracy": statistics.fmean(by_kind.values()), "corruptions": by_kind}


def measure(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> dict:
    """A run's metrics on the test images; agreement where there is a teacher to agree with."""
    metrics = {
        "accuracy": evaluation.accuracy(logits, labels),
        "nll": evaluation.negative_log_likelihood(logits, labels),
        "ece": evaluation.calibration_error(logits, labels),
        "reliability": evaluation.reliability(logits, labels),
        "right": packed(logits.argmax(dim=1) == labels),
    }
    if teacher_logits is not None:
        metrics["agreement"] = evaluation.agreement(logits, teacher_logits)
    return metrics


def teacher_of(run: Run, runs: list[Run]) -> Path | None:
    """The folder of the network that taught a run; for one that learnt alone, of the study's plain teacher."""
    if run.teacher or run.arm.role == "teacher":
        return run.teacher
    plain = [other.folder for other in runs if other.arm.name == "teacher"]
    return plain[0] if plain else None


def describe_run(run: Run) -> dict:
    """How a run came about, and what was measured after its last epoch."""
    config, history = checkpoint.load_config(run.folder), checkpoint.read_history(run.folder)
    return {
        "seed": run.recipe.seed,
        "commit": config.get("commit"),
        "weights": checkpoint.digest(config),
        "taught_by": checkpoint.digest(checkpoint.load_config(run.teacher)) if run.teacher else None,
        "epochs_done": config["epochs_done"],
        "trained_on": config["data"]["trained_on"],
        "machine": config["machine"],
        "minutes": round(sum(epoch["seconds"] for epoch in history) / 60, 1),
        **{key: config["metrics"][key] for key in ("validation_accuracy", "validation_loss")},
    }


def describe_arm(arm: Arm, study: Study, runs: list[Run], measured: list[dict]) -> dict:
    """An arm with its runs and their means."""
    description: dict = {"name": arm.name, "role": arm.role, "withheld": dict(arm.withheld), "runs": measured}
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
        }
    return description


def spread(values: Iterable[float]) -> dict:
    """Mean, standard deviation (null for a single value) and number."""
    values = list(values)
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
    }


def compare(study: Study, arms: list[dict]) -> list[dict]:
    """Each arm against its baseline: by seed (paired t-test) and, on the test images, by image (McNemar)."""
    on_test = study.measured_on == "test"
    metric = "accuracy" if on_test else "validation_accuracy"
    measured = {arm["name"]: {run["seed"]: run for run in arm["runs"]} for arm in arms}
    comparisons = []
    for arm in study.arms:
        ours, theirs = measured[arm.name], measured.get(arm.baseline, {})
        pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
        if not pairs:
            continue
        difference = paired_difference(*zip(*((one[metric], other[metric]) for one, other in pairs), strict=True))
        comparisons.append({"arm": arm.name, "baseline": arm.baseline, "metric": metric, **difference._asdict()})
        if on_test:
            comparisons[-1]["by_image"] = [
                {"seed": one["seed"], **by_image(unpacked(one["right"]), unpacked(other["right"]))}
                for one, other in pairs
            ]
    return comparisons


def packed(right: Tensor) -> str:
    """Which images a run has right, bool, (N,): a bit an image, as base64 text."""
    return base64.b64encode(np.packbits(right.numpy()).tobytes()).decode()


def unpacked(text: str) -> Tensor:
    """What `packed` has made a text of, up to zeros at the end that fill the last byte."""
    return torch.from_numpy(np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8)).astype(bool))


def by_image(ours: Tensor, theirs: Tensor) -> dict:
    """McNemar's test of two runs; the arguments say which images each has right, bool, (N,)."""
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return {"only_arm_right": only_ours, "only_baseline_right": only_theirs, "p": mcnemar(only_ours, only_theirs)}
