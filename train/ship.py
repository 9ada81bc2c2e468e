"""What ships of a study: the runs of one seed, as the checkpoints of their roles (`train.study --ship DIR`)."""

from pathlib import Path

from kd import checkpoint
from kd.checkpoint import BIAS
from kd.studies import omitted_class
from kd.studies.declared import Arm
from kd.studies.runs import Run, StudyError, is_finished
from train.halve import halve

SHIPPED_SEED = 0  # fixed beforehand: no run is chosen


def check_shipping(runs: list[Run]) -> None:
    """Raise StudyError unless each folder to ship to has one arm: else it is not clear which to ship."""
    arms = [run.arm for run in runs if run.recipe.seed == SHIPPED_SEED]
    if len({shipped_as(arm) for arm in arms}) < len(arms):
        raise StudyError("--ship wants one arm a role: name the arms to ship with --arms")


def shipped_as(arm: Arm) -> str:
    """The folder of an arm's checkpoint among those that ship."""
    if arm.omitted_class:
        return omitted_class.FOLDER if arm.role == "distilled" else omitted_class.CONTROL_FOLDER
    return arm.role


def is_made_of(shipped: Path, folder: Path) -> bool:
    """Whether a checkpoint that ships was made of the one in a folder, and of an omitted class has the same bias."""
    if not (shipped / checkpoint.CONFIG).exists():
        return False
    ships, run = checkpoint.load_config(shipped), checkpoint.load_config(folder)
    return checkpoint.made_of(ships) == checkpoint.digest(run) and ships.get(BIAS) == run.get(BIAS)


def ship(runs: list[Run], checkpoints: Path, data_dir: Path) -> None:
    """Store those of `SHIPPED_SEED` that are finished as the checkpoints of their roles, with the recordings they have.

    They replace what lies there, unless it was made of this very run with the same bias. A teacher that was given is no
    run of the study. Weights are float16 where accuracy allows (`train.halve`).

    Args:
        runs: measured, so that their checkpoints may be gone; such a one stays what it was.
        checkpoints: the folder of those that ship.
        data_dir: of the validation images, by which the precision is chosen.
    """
    for run in runs:
        folder = checkpoints / shipped_as(run.arm)
        if run.given or run.recipe.seed != SHIPPED_SEED or not is_finished(run) or is_made_of(folder, run.folder):
            continue
        precision = halve(run.folder, folder, data_dir)
        print(f"{folder}: {run.title}, {precision['weights']}", flush=True)
