"""Which of a study's runs are measured already, by its own ledger or another study's, and what must not be lost."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kd import checkpoint
from kd.dataset import DataSet
from kd.recipe import RecipeError, from_config
from kd.studies.declared import CORRUPTIONS, HUMAN_LABELS, Study
from kd.studies.ledger import MeasuredArm, MeasuredStudy
from kd.studies.runs import Run, StudyError, is_finished, teacher_of
from kd.studies.words import arm_name

FORMER = ".json.former"  # what `train.study --afresh` leaves of a study's JSON, once


def to_measure(runs: list[Run], study: Study, ledger: MeasuredStudy | None) -> list[Run]:
    """The runs that the ledger lacks, and the teachers with whose predictions theirs are compared."""
    fresh = [run for run in runs if not recorded(run, runs, study, ledger)]
    needed = {run.folder for run in fresh} | {teacher_of(run, runs) for run in fresh}
    return [run for run in runs if run.folder in needed]


def check_nothing_is_lost(runs: list[Run], study: Study, ledger: MeasuredStudy | None, path: Path) -> None:
    """Raise StudyError if the ledger holds runs that this command does not ask for: writing would drop them."""
    kept = [recorded(run, runs, study, ledger) for run in runs]

    def stays(arm: MeasuredArm, found: dict) -> bool:
        if found in kept:  # arms of equal recipes share a run
            return True
        # What is asked for again is measured anew where a study reads no ledger, or the ledger has not all of it.
        asked = [run for run in runs if arm.trains_like(run.arm) and same_recipe(arm, found, run)]
        return any(study.analysis == HUMAN_LABELS or not is_complete(found, run, runs, study) for run in asked)

    dropped = [
        f"{arm_name(arm)}, seed {found['seed']}"
        for arm in (ledger.arms if ledger else ())
        for found in arm.runs
        if not stays(arm, found)
    ]
    if dropped:
        raise StudyError(
            f"{path} holds runs of other settings, seeds, arms or teachers, {dropped[0]} first of {len(dropped)}: ask "
            "for them too (what is measured costs nothing), choose another --output-dir, or replace them with "
            f"{afresh_option(path)}"
        )


def afresh_option(path: Path) -> str:
    """The option that replaces a study's JSON, and what has to be moved away for it."""
    former = path.with_suffix(FORMER)
    return f"--afresh, once {former} is moved away" if former.exists() else "--afresh"


def check_teachers_are_there(runs: list[Run], study: Study, ledger: MeasuredStudy | None, path: Path) -> None:
    """Raise StudyError where a measured teacher is wanted and its checkpoint is gone: another would take its place."""
    for run in to_measure(runs, study, ledger):
        if recorded(run, runs, study, ledger) and not is_finished(run):
            raise StudyError(
                f"{path} holds what was measured with the teacher of {run.folder}, whose checkpoint is not there any "
                "more: bring it back, name it with --teacher, choose another --output-dir, or replace all with "
                f"{afresh_option(path)}"
            )


def check_same_data(ledger: MeasuredStudy | None, data: DataSet, path: Path) -> None:
    """Raise StudyError if the ledger holds what was measured on other data, whose name it would lose."""
    if ledger and ledger.data.get("sha256") and not is_of(ledger, data):  # hand-made ledgers and old ones may have none
        raise StudyError(
            f"{path} holds what was measured on other data ({ledger.data['name']}): name them with --data-dir, choose "
            f"another --output-dir, or replace them with {afresh_option(path)}"
        )


def is_of(ledger: MeasuredStudy, data: DataSet) -> bool:
    """Whether a ledger says that it was measured on these data."""
    images = data.test() if ledger.measured_on == "test" else data.split()[0]
    return ledger.data.get("sha256") == images.description["sha256"]


def with_others(
    ledger: MeasuredStudy | None, others: Iterable[MeasuredStudy], runs: list[Run], study: Study, data: DataSet
) -> MeasuredStudy | None:
    """The study's ledger, to which the runs are added that other studies hold: a run is trained once for all of them.

    What other studies have measured of their runs, in the same way and on the same images, counts where their plain
    teacher is the same, by whose predictions their students were measured too.
    """
    plain = next((run for run in runs if run.arm.is_plain_teacher), None)
    teacher = plain and weights_of(plain, runs, study, ledger)

    def fits(other: MeasuredStudy) -> bool:
        theirs = {found.get("weights") for arm in other.arms if arm.is_plain_teacher for found in arm.runs}
        corrupted = any("corrupted_accuracy" in found for arm in other.arms for found in arm.runs)
        alike = other.measured_on == study.measured_on and corrupted == (study.analysis == CORRUPTIONS)
        return alike and theirs <= {teacher} and is_of(other, data)  # last, as it reads all images

    known = [each for each in (ledger, *filter(fits, others)) if each]
    return replace(known[0], arms=tuple(arm for each in known for arm in each.arms)) if known else None


def recorded(run: Run, runs: list[Run], study: Study, ledger: MeasuredStudy | None) -> dict | None:
    """What the ledger says of this very run: the same recipe, seed, teacher and data; None where it does not.

    That it was measured on the same images, `check_same_data` and `with_others` make sure.

    A study that compares the networks with people needs all their logits, and reads no ledger.
    """
    if not ledger or study.analysis == HUMAN_LABELS or ledger.measured_on != study.measured_on:
        return None
    for arm in ledger.arms:
        for found in arm.runs if arm.trains_like(run.arm) else ():
            taught_alike = "weights" in found and found.get("taught_by") == teachers_digest(run, runs, study, ledger)
            # Older ledgers do not say; and a teacher that was given may be of any.
            of_same_data = run.given or run.data in (None, found.get("data") or run.data)
            same = taught_alike and of_same_data and same_recipe(arm, found, run) and not is_another_teacher(run, found)
            if same and is_complete(found, run, runs, study):
                return found
    return None


def is_complete(found: dict, run: Run, runs: list[Run], study: Study) -> bool:
    """Whether all is measured of a run that the study asks for.

    Not so where its teacher was no arm of it then, or where another study asked for less.
    """
    asked = []
    if study.measured_on == "test" and teacher_of(run, runs):
        asked = ["agreement"] + (["omitted_class"] if run.arm.omitted_class else [])
    if study.analysis == CORRUPTIONS:
        asked.append("corrupted_accuracy")
    return all(key in found for key in asked)


def is_another_teacher(run: Run, found: dict) -> bool:
    """Whether a teacher's folder holds other weights now than those that the ledger's runs were measured with."""
    if run.arm.role != "teacher" or not (run.folder / checkpoint.CONFIG).exists():
        return False
    return found["weights"] != checkpoint.digest(checkpoint.load_config(run.folder))


def same_recipe(arm: MeasuredArm, found: dict, run: Run) -> bool:
    """Whether a run in the ledger has the recipe and the seed of one that is asked for."""
    try:
        return from_config(arm.recipe | {"seed": found["seed"]}) == (run.recipe_name, run.recipe)
    except RecipeError:  # a setting that is gone
        return False


def teachers_digest(run: Run, runs: list[Run], study: Study, ledger: MeasuredStudy) -> str | None:
    """Which weights teach a run: those in its teacher's folder or, where that is gone, those that the ledger names."""
    if not run.teacher:
        return None
    (teacher,) = [other for other in runs if other.folder == run.teacher and other.arm == run.arm.teacher]
    return weights_of(teacher, runs, study, ledger)


def weights_of(teacher: Run, runs: list[Run], study: Study, ledger: MeasuredStudy | None) -> str:
    """The digest of a teacher's weights: of those in its folder or, where that is gone, of those in the ledger."""
    if (teacher.folder / checkpoint.CONFIG).exists():
        return checkpoint.digest(checkpoint.load_config(teacher.folder))
    found = recorded(teacher, runs, study, ledger)
    return found["weights"] if found else "not there yet"
