"""The runs of a study: what each one trains, in which folder, and whether it is finished."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from kd import checkpoint
from kd.recipe import RECIPES, Recipe, RecipeError, from_config
from kd.studies.declared import Arm, Study
from kd.studies.words import arm_name


class StudyError(RuntimeError):
    """The study cannot be carried out or is not complete; the message says what is missing and the way on."""


@dataclass(frozen=True)
class Run:
    """One training run of an arm.

    Attributes:
        recipe: with the arm's changes and the run's seed put in.
        folder: of its checkpoint; it follows from all that the run depends on.
        teacher: the folder of its teacher's checkpoint.
        data: the sha256 of the training set's pixels; None where any will do.
        given: a checkpoint from elsewhere, to be taken as it is.
    """

    arm: Arm
    recipe_name: str
    recipe: Recipe
    folder: Path
    teacher: Path | None = None
    data: str | None = None
    given: bool = False

    @property
    def title(self) -> str:
        return f"{arm_name(self.arm)}, seed {self.recipe.seed}"

    @property
    def log(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")


def plan(
    study: Study,
    runs_dir: Path,
    *,
    recipe_name: str | None = None,
    seeds: int | None = None,
    settings: Mapping[str, object] | None = None,
    arms: Collection[Arm] | None = None,
    teacher: Path | None = None,
) -> list[Run]:
    """The runs of a study, teachers first.

    Args:
        runs_dir: folder of the runs' checkpoints.
        recipe_name, seeds: in place of the study's own.
        settings: fields of the recipe that all arms set otherwise, where their own changes do not say more.
        arms: those of the study's to run, none without its teacher; None for all.
        teacher: the checkpoint of the plain teacher, which is then not trained.

    Raises:
        CheckpointError: `teacher` is missing or damaged.
        RecipeError: a setting is out of its range.
        StudyError: `teacher` is no teacher, was not told all labels, or has a recipe that cannot be told of any more.
    """
    preset, settings = recipe_name or study.recipe, dict(settings or {})
    runs: list[Run] = []
    for arm in study.arms if arms is None else arms:
        if arm.is_plain_teacher and teacher:
            config = checkpoint.load_config(teacher)
            if config["role"] != "teacher" or config["data"].keys() & {"omitted_class", "label_fraction"}:
                raise StudyError(f"--teacher {teacher} is no teacher that was told everything: name another checkpoint")
            try:
                own = from_config(config["recipe"])
            except RecipeError as error:
                raise StudyError(f"--teacher {teacher}: {error}; name another checkpoint") from error
            runs.append(Run(arm, *own, teacher, given=True))
            continue
        folder_of_teacher = next((run.folder for run in runs if run.arm == arm.teacher), None)
        for seed in range(arm.seeds or seeds or study.seeds):
            recipe = RECIPES[preset][arm.role].changed(**settings | arm.changes, seed=seed)
            folder = runs_dir / folder_name(arm, preset, recipe, folder_of_teacher)
            runs.append(Run(arm, preset, recipe, folder, folder_of_teacher))
    return runs


def folder_name(arm: Arm, recipe_name: str, recipe: Recipe, teacher: Path | None) -> str:
    """What tells a run from all others; studies that have a run in common share its folder."""
    marks = [f"{name}={value}" for name, value in differing(arm, recipe_name, recipe).items()]
    if teacher:
        marks.append(f"teacher={hashlib.sha256(teacher.name.encode()).hexdigest()[:8]}")  # two full names are too long
    return "_".join([arm.role, recipe_name, *marks])


def differing(arm: Arm, recipe_name: str, recipe: Recipe) -> dict:
    """In what a run differs from its preset, by the names of the options: settings, the seed, what is withheld."""
    preset = RECIPES[recipe_name][arm.role]
    values = {entry.name: getattr(recipe, entry.name) for entry in fields(Recipe)}
    changed = {name: value for name, value in values.items() if value != getattr(preset, name) or name == "seed"}
    return changed | arm.withheld


def teacher_of(run: Run, runs: list[Run]) -> Path | None:
    """The folder of the network that taught a run; for one that learnt alone, of the study's plain teacher."""
    if run.teacher or run.arm.role == "teacher":
        return run.teacher
    return next((other.folder for other in runs if other.arm.is_plain_teacher), None)


def unique(runs: list[Run]) -> list[Run]:
    """Each folder's run once: arms of equal recipes share theirs."""
    return list({run.folder: run for run in runs}.values())


def image_size_of(runs: list[Run]) -> int:
    """The side of the images that all runs see, pixels; raises StudyError where they differ."""
    sizes = {run.recipe.image_size for run in runs}
    if len(sizes) > 1:
        raise StudyError(
            f"the runs see images of {' and '.join(map(str, sorted(sizes)))} pixels, and are measured side by side on "
            "images of one size: name another --teacher or --image-size"
        )
    return sizes.pop()


def is_finished(run: Run) -> bool:
    """Whether the run's folder holds exactly this run, all epochs of it, in whatever precision.

    Raises:
        StudyError: it holds a run of other data or of another teacher, or of one that is gone.
    """
    if run.given:
        return True
    if not (run.folder / checkpoint.CONFIG).exists():
        return False
    config = checkpoint.load_config(run.folder)
    for what, same in (("other data", _same_data(config, run)), ("another teacher", _same_teacher(config, run))):
        if not same:
            raise StudyError(f"{run.folder} holds a run of {what}: name another folder with --runs-dir")
    try:
        recipe = from_config(config["recipe"])
    except RecipeError:  # a field that is gone since
        return False
    return recipe == (run.recipe_name, run.recipe) and config["epochs_done"] == run.recipe.epochs


def _same_data(config: dict, run: Run) -> bool:
    """Whether a checkpoint was trained on the data of a run; those from before the digest was stored count."""
    return run.data is None or config["data"].get("sha256", run.data) == run.data


def _same_teacher(config: dict, run: Run) -> bool:
    """Whether the weights that teach a run have taught a checkpoint."""
    if not run.teacher:
        return True
    if not (run.teacher / checkpoint.CONFIG).exists():
        raise StudyError(
            f"{run.folder} holds a run whose teacher is not in {run.teacher} any more: bring it back, name it with "
            "--teacher, or name another folder with --runs-dir"
        )
    taught_by = config.get("teacher") or {"weights": None}
    return taught_by["weights"] == checkpoint.load_config(run.teacher)["weights"]
