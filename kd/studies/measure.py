"""Measure the runs of a study and put them side by side: what goes into its JSON (`kd.studies.ledger`)."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor

from kd import checkpoint, evaluation, models
from kd.corruptions import corrupted
from kd.dataset import DataSet, LabelledImages
from kd.device import machine
from kd.files import write_json
from kd.recipe import as_config
from kd.significance import mcnemar, paired_difference
from kd.studies import bias, human_labels
from kd.studies.declared import CORRUPTIONS, HUMAN_LABELS, METRIC_OF, Arm, Study
from kd.studies.known import recorded, to_measure
from kd.studies.ledger import MeasuredArm, MeasuredStudy, bits_as_text, bits_of_text, paired_runs
from kd.studies.runs import Run, teacher_of

METRICS = ("accuracy", "nll", "ece", "agreement", "validation_accuracy", "validation_loss", "corrupted_accuracy")


def summarise(
    name: str,
    study: Study,
    runs: list[Run],
    data: DataSet,
    device: torch.device,
    *,
    command: str,
    cifar10h: Path | None = None,
    ledger: MeasuredStudy | None = None,
    looked: dict[tuple[Path, str], Tensor] | None = None,
) -> MeasuredStudy:
    """Measure every run that the ledger lacks, and compare the arms.

    A student with an omitted class gets its bias written into its own config.json.

    Args:
        name: of the study.
        runs: finished, or in the ledger; those of an arm in the order of their seeds.
        data: its test images are not asked for where the study is measured on validation.
        command: what carries the study out.
        cifar10h: CIFAR-10H's counts, for a study that asks for them.
        ledger: what is measured so far, as the study's JSON holds it or others do (`kd.studies.known`).
        looked: logits by a run's folder and "test" or "validation"; what is missing is added, for the next call.

    Raises:
        CheckpointError: a run is missing or damaged.
        DataError: the test set or the counts are missing or damaged.
    """
    known = [recorded(run, runs, study, ledger) for run in runs]
    fresh = [run for run, found in zip(runs, known, strict=True) if not found]
    looked = {} if looked is None else looked
    asked = to_measure(runs, study, ledger)
    test = validation = None
    if study.measured_on == "test":
        test = look("test", data.test(), asked, device, looked)
        if study.analysis == HUMAN_LABELS or any(run.arm.omitted_class for run in fresh):
            validation = look("validation", data.split()[1], asked, device, looked)
    to_corrupt = data.split()[1] if study.analysis == CORRUPTIONS else None

    found = [
        already or measured(run, teacher_of(run, runs), test, validation, to_corrupt, device)
        for run, already in zip(runs, known, strict=True)
    ]
    for run, new in zip(runs, found, strict=True):
        if run in fresh and "omitted_class" in new:
            keep_bias(run, new["omitted_class"]["bias"])
    arms: list[MeasuredArm] = []
    for arm in study.arms:
        own = [(run, each) for run, each in zip(runs, found, strict=True) if run.arm == arm]
        arms.append(describe_arm(arm, study.arms, arms, own, len(data.classes)))

    compared_with_people = None
    if study.analysis == HUMAN_LABELS:
        compared_with_people = human_labels.analyse(
            study.arms, runs, test.logits, test.labels, validation.logits, validation.labels, cifar10h
        )
    return MeasuredStudy(
        study=name,
        question=study.question,
        measured_on=study.measured_on,
        arms=tuple(arms),
        comparisons=tuple(compare(study.measured_on, arms)),
        data=described(data, study.measured_on),
        machine=machine(device),
        versions={"torch": torch.__version__, "torchvision": torchvision.__version__},
        command=command,
        human_labels=compared_with_people,
    )


def described(data: DataSet, measured_on: str) -> dict:
    """What a study's figures are of: the test images, or the split, of which the validation images are measured on."""
    if measured_on == "test":
        return data.test().description
    training, validation = data.split()
    return training.description | {"trained_on": len(training), "validated_on": len(validation)}


class Looked(NamedTuple):
    """Images, and the logits of the runs that were shown them, (N, K), by the run's folder."""

    images: LabelledImages
    logits: dict[Path, Tensor]

    @property
    def labels(self) -> Tensor:
        return self.images.labels


def look(
    part: str, images: LabelledImages, runs: list[Run], device: torch.device, looked: dict[tuple[Path, str], Tensor]
) -> Looked:
    """Show the runs' networks the images of a part, each network once: what is missing is added to `looked`."""
    for run in runs:
        if (run.folder, part) not in looked:
            looked[run.folder, part] = evaluation.checkpoint_logits(run.folder, images, device)
    return Looked(images, {folder: logits for (folder, of_part), logits in looked.items() if of_part == part})


def measured(
    run: Run,
    teacher: Path | None,
    test: Looked | None,
    validation: Looked | None,
    to_corrupt: LabelledImages | None,
    device: torch.device,
) -> dict:
    """How a run came about, and its metrics on the test images where the study asks for them.

    Args:
        teacher: the folder of the network whose predictions its own are compared with (see `teacher_of`).
        validation: wanted for a student with an omitted class, to find its bias.
        to_corrupt: the validation images, where the study asks how the network does on them corrupted.
    """
    found = describe_run(run)
    if test:
        found |= metrics(test.logits[run.folder], test.labels, test.logits[teacher] if teacher else None)
    if test and run.arm.omitted_class and teacher:
        found["omitted_class"] = bias.measure(
            run.arm.omitted_class, test.logits[run.folder], test.labels,
            validation.logits[run.folder], validation.logits[teacher], validation.labels, test.images.classes,
        )  # fmt: skip
    if to_corrupt:
        found |= measure_corrupted(run, to_corrupt, device)
    return found


def keep_bias(run: Run, value: float) -> None:
    """Write the bias of a student with an omitted class into its own config.json, with which it ships."""
    config = checkpoint.load_config(run.folder)
    write_json(run.folder / checkpoint.CONFIG, config | {checkpoint.BIAS: value})


def measure_corrupted(run: Run, validation: LabelledImages, device: torch.device) -> dict:
    """A run's accuracy on the corrupted validation images: corrupted_accuracy, and corruptions, by kind."""
    by_kind = {
        name: evaluation.accuracy(
            evaluation.checkpoint_logits(run.folder, replace(validation, images=images), device), validation.labels
        )
        for name, images in corrupted(validation.images)
    }
    return {"corrupted_accuracy": statistics.fmean(by_kind.values()), "corruptions": by_kind}


def metrics(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> dict:
    """A run's metrics on the test images; agreement where there is a teacher to agree with."""
    found = {
        **evaluation.measure(logits, labels),
        "reliability": evaluation.reliability(logits, labels),
        "right": bits_as_text(logits.argmax(dim=1) == labels),
    }
    if teacher_logits is not None:
        found["agreement"] = evaluation.agreement(logits, teacher_logits)
    return found


def describe_run(run: Run) -> dict:
    """How a run came about, and what was measured after its last epoch."""
    config, history = checkpoint.load_config(run.folder), checkpoint.read_history(run.folder)
    if config.get("metrics") is None:
        raise checkpoint.CheckpointError(f"{run.folder} does not say how well it did: train it anew, or delete it")
    return {
        "seed": run.recipe.seed,
        "commit": config.get("commit"),
        "weights": checkpoint.digest(config),
        "taught_by": checkpoint.digest(checkpoint.load_config(run.teacher)) if run.teacher else None,
        "epochs_done": config["epochs_done"],
        "epochs_before": checkpoint.epochs_before(config),
        "trained_on": config["data"]["trained_on"],
        "data": config["data"].get("sha256"),
        "machine": config["machine"],
        "minutes": round(sum(epoch.get("seconds", 0) for epoch in history) / 60, 1),
        **{key: config["metrics"][key] for key in checkpoint.METRICS},
    }


def describe_arm(
    arm: Arm, declared: Sequence[Arm], before: list[MeasuredArm], own: list[tuple[Run, dict]], classes: int
) -> MeasuredArm:
    """An arm with its runs and their means.

    Args:
        declared: all arms of the study.
        before: those of them that come before this one, measured.
        own: the arm's runs, each with what was measured of it.
        classes: the number of the network's logits.
    """
    values = {entry.name: getattr(arm, entry.name) for entry in fields(Arm)}
    for key in ("teacher", "baseline"):
        values[key] = before[declared.index(values[key])] if values[key] else None
    if not own:
        return MeasuredArm(**values)
    first = own[0][0]
    architecture = first.recipe.architecture(arm.role)
    recipe = as_config(first.recipe_name, first.recipe)
    return MeasuredArm(
        **values,
        architecture=architecture,
        macs=models.count_macs(architecture, first.recipe.stem, classes=classes, image_size=first.recipe.image_size),
        recipe={key: value for key, value in recipe.items() if key != "seed"},
        runs=tuple(found for _, found in own),
        mean={
            key: spread(found[key] for _, found in own)
            for key in METRICS
            if all(key in found for _, found in own)  # another study may have measured more of one
        },
    )


def spread(values: Iterable[float]) -> dict:
    """Mean, standard deviation (null for a single value) and number."""
    values = list(values)
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
    }


def compare(measured_on: str, arms: Sequence[MeasuredArm]) -> list[dict]:
    """Each arm against its baseline: by seed (paired t-test) and, on the test images, by image (McNemar)."""
    metric, comparisons = METRIC_OF[measured_on], []
    for place, arm in enumerate(arms):
        if arm.baseline is None:
            continue
        pairs = paired_runs(arm, arm.baseline)
        if not pairs:
            continue
        difference = paired_difference(*zip(*((one[metric], other[metric]) for one, other in pairs), strict=True))
        comparisons.append(
            {"arm": place, "baseline": arms.index(arm.baseline), "metric": metric, **difference._asdict()}
        )
        if measured_on == "test":
            comparisons[-1]["by_image"] = [
                {"seed": one["seed"], **by_image(bits_of_text(one["right"]), bits_of_text(other["right"]))}
                for one, other in pairs
            ]
    return comparisons


def by_image(ours: Tensor, theirs: Tensor) -> dict:
    """McNemar's test of two runs; the arguments say which images each has right, bool, (N,)."""
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return {"only_arm_right": only_ours, "only_baseline_right": only_theirs, "p": mcnemar(only_ours, only_theirs)}
