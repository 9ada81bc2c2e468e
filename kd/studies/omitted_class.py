"""Students with an omitted class: the two that ship, and what the studies found for each (`kd.studies.bias`)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from kd import checkpoint
from kd.checkpoint import CheckpointError
from kd.recipe import Recipe
from kd.studies.ledger import MeasuredArm, MeasuredStudy

FOLDER = "omitted-class"  # of the student that ships, beside teacher/, student/ and distilled/
CONTROL_FOLDER = "omitted-class-control"  # of the student that the labels alone taught, without the same class


def omitted_class_of(checkpoints: Path) -> str | None:
    """The omitted class of the student that lies beside the three; None where there is none.

    Raises:
        CheckpointError: its config.json is damaged, or it was shown every class.
    """
    folder = checkpoints / FOLDER
    if not folder.is_dir():
        return None
    config = checkpoint.load_config(folder)
    name = config["data"].get("omitted_class")
    if name not in config["classes"]:
        raise CheckpointError(f"{folder} was shown every class: put a student there that was not")
    return name


class OmittedClassRun(NamedTuple):
    """A run of an arm with an omitted class, and what was measured of that class (see `kd.studies.bias.measure`).

    Attributes:
        weights: their digest; None in a file from before it was stored.
    """

    arm: MeasuredArm
    seed: int
    bias: float
    before: dict
    after: dict
    weights: str | None

    @property
    def temperature(self) -> float | None:
        """The T of its soft targets; None for a student alone."""
        return self.arm.recipe["temperature"] if self.arm.role == "distilled" else None


def runs_of(study: MeasuredStudy) -> list[OmittedClassRun]:
    """The runs of a study that were measured on an omitted class, in the study's order."""
    return [
        OmittedClassRun(
            arm=arm,
            seed=run["seed"],
            bias=found["bias"],
            before=found["before"],
            after=found["after"],
            weights=run.get("weights"),
        )
        for arm in study.arms
        if arm.omitted_class
        for run in arm.runs
        if (found := run.get("omitted_class"))
    ]


def told_temperature(runs: Iterable[OmittedClassRun]) -> float:
    """The T whose students are told of: the only one that was run, else the recipes' own.

    The test images may not choose it.
    """
    tried = {run.temperature for run in runs} - {None}
    return tried.pop() if len(tried) == 1 else Recipe.temperature


def told_runs(study: MeasuredStudy) -> dict[str, tuple[list[OmittedClassRun], list[OmittedClassRun]]]:
    """What is told of each omitted class, in the study's order: students distilled at `told_temperature`, and controls.

    Where there are controls, a study that is under way has of both the seeds that both have, in the same order.
    """
    told, runs = {}, runs_of(study)
    for name in dict.fromkeys(run.arm.omitted_class for run in runs):
        of_class = sorted((run for run in runs if run.arm.omitted_class == name), key=lambda run: run.seed)
        temperature = told_temperature(of_class)
        taught, controls = ([run for run in of_class if run.temperature == each] for each in (temperature, None))
        if controls:
            both = {run.seed for run in taught} & {run.seed for run in controls}
            taught, controls = ([run for run in each if run.seed in both] for each in (taught, controls))
        told[name] = (taught, controls)
    return told


class Found(NamedTuple):
    """What a study found for a student, and for its control.

    Attributes:
        study: the one that measured it.
        run: the student's own.
        control: the run of the same omitted class and seed that the labels alone taught; None where there is none.
    """

    study: MeasuredStudy
    run: OmittedClassRun
    control: OmittedClassRun | None


def study_of(config: dict, studies: Mapping[str, MeasuredStudy]) -> Found | None:
    """What the studies found for the student of this config.json, see `is_of`."""
    for study in studies.values():
        runs = runs_of(study)
        for run in runs:
            if is_of(config, run):
                alike = (other for other in runs if (other.temperature, other.seed) == (None, run.seed))
                control = next((other for other in alike if other.arm.omitted_class == run.arm.omitted_class), None)
                return Found(study, run, control)
    return None


def is_of(config: dict, run: OmittedClassRun) -> bool:
    """Whether a run's weights are those of this config.json, or those that `train.halve` made them of."""
    return run.weights is not None and run.weights in (checkpoint.digest(config), checkpoint.made_of(config))
