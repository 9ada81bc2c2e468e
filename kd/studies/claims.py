"""The results in short: what each study was to show, as one sentence with its verdict.

What a study is to show was fixed with its declaration; whether it is shown, its numbers say.
"""

import logging
import statistics
from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from kd.significance import Verdict, judged, paired_difference
from kd.studies.declared import caution_of
from kd.studies.findings import TOLD_SHARE, epochs_alone, human_labels_judged
from kd.studies.ledger import MeasuredStudy, bits_of_text, paired_runs
from kd.studies.omitted_class import told_runs
from kd.studies.report import is_short
from kd.studies.words import interval, share

_log = logging.getLogger(__name__)


class Shown(StrEnum):
    """Whether a difference that was to be more than nothing is; in the words that people read.

    SHOWN where it is more than chance after Holm's correction for what is asked together, WORSE where its opposite is,
    ONE SEED where nothing is known of the spread, else NOT SHOWN.
    """

    SHOWN = "SHOWN"
    WORSE = "WORSE"
    ONE_SEED = "ONE SEED"
    NOT_SHOWN = "NOT SHOWN"


# The same for those who read the claims.
RULE = (
    "SHOWN: p is under .05 (paired t-test over the seeds, corrected for what is asked together). WORSE: the same for "
    "the opposite. NOT SHOWN: for neither. ONE SEED: there is only one, so nothing can be tested. Points are "
    "percentage points."
)

_SHOWN = {
    Verdict.BETTER: Shown.SHOWN, Verdict.WORSE: Shown.WORSE, Verdict.ONE_SEED: Shown.ONE_SEED,
    Verdict.NO_DIFFERENCE: Shown.NOT_SHOWN, Verdict.NOT_SHOWN: Shown.NOT_SHOWN,
}  # fmt: skip


class Claim(NamedTuple):
    """A sentence, and whether the study's numbers show it.

    Attributes:
        verdict: whether.
        sentence: what was to be shown, and what was measured.
        study: the study that measured it.
        figure: the name of the one that shows it (`kd.studies.figures.drawings_of`).
    """

    verdict: Shown
    sentence: str
    study: MeasuredStudy
    figure: str = ""


def claims(studies: Mapping[str, MeasuredStudy]) -> list[Claim]:
    """The claims of the studies that have been carried out with runs long enough to be shown, study by study."""
    return _made(studies)[0]


class Told(NamedTuple):
    """What a page shows of the studies.

    Attributes:
        by_study: the claims of each study that makes any.
        others: further studies whose runs are long enough.
        unmade: the names of those whose files lack what a claim of theirs is made of.
    """

    by_study: list[list[Claim]]
    others: list[MeasuredStudy]
    unmade: list[str]


def told(studies: Mapping[str, MeasuredStudy]) -> Told:
    """What a page shows of the studies; where a claim cannot be made, the log says why."""
    found, unmade = _made(studies)
    by_study = [list(of_study) for _, of_study in groupby(found, key=lambda claim: claim.study.study)]
    claimed = {of_study[0].study.study for of_study in by_study}
    others = [study for study in studies.values() if study.study not in claimed and not is_short(study)]
    return Told(by_study, others, unmade)


def _made(studies: Mapping[str, MeasuredStudy]) -> tuple[list[Claim], list[str]]:
    """All claims, and the names of the studies of whose claims one could not be made."""
    found, unmade = [], []
    for name, figure, make in _CLAIMS:
        study = studies.get(name)
        try:
            claim = make(study) if study and not is_short(study) else None
        except Exception as error:  # what a damaged file may lead to has no end
            _log.warning("%s.json makes no claim: %r", name, error)
            unmade.append(name)
            continue
        if claim:
            found.append(claim._replace(figure=figure))
    return found, list(dict.fromkeys(unmade))


def teaching_helps(study: MeasuredStudy) -> Claim | None:
    """Whether the distilled student is more often right than the student alone."""
    found = next(iter(judged(study.comparisons)), None)
    if not found:
        return None
    ours, theirs = _accuracies(found, study)
    return _claim(
        found,
        f"A student that learns from the teacher's soft targets is more often right than the student "
        f"alone: {ours:.1%} of the test images against {theirs:.1%}{_measured(found)}.",
        study,
    )


def teaching_brings_nearer(study: MeasuredStudy) -> Claim | None:
    """Whether the distilled student predicts what its teacher predicts more often than the student alone."""
    if not study.comparisons:
        return None
    sentence = (
        "A student that learns from soft targets agrees with its teacher more often: on {ours:.1%} of the test images, "
        "the student alone on {theirs:.1%}{measured}."
    )
    together, gain = _gains_of_agreement(study)
    if together is not None and 0.0005 <= together <= gain:  # else it is no part of the points
        sentence += f" Of these points {100 * together:.1f} are images that student and teacher both get right."
    return _beside_accuracy(study, "agreement", sentence)


def teaching_calibrates(study: MeasuredStudy) -> Claim | None:
    """Whether the distilled student's certainty is nearer to how often it is right than that of the student alone."""
    if not study.comparisons:
        return None
    diagrams = [run["reliability"] for run, _ in _pairs(study.comparisons[0], study)]
    images, sure, right = (sum(sum(diagram[key]) for diagram in diagrams) for key in ("images", "confidence", "right"))
    return _beside_accuracy(
        study,
        "ece",
        f"Calibration: at T = 1 the distilled student is {sure / images:.1%} sure, on average, and right "
        f"{right / images:.1%} of the time. "
        "Its calibration error, how far apart the two are at each degree of certainty, is {ours:.1%}; that of the "
        "student alone is {theirs:.1%}{measured}.",
    )


def teaching_saves_epochs(study: MeasuredStudy) -> Claim | None:
    """Whether a teacher saves epochs: the gain of the shortest schedule, and what that takes a student alone."""
    judgements = judged(study.comparisons)
    if not judgements:
        return None
    found = min(judgements, key=lambda found: study.arms[found["arm"]].recipe["epochs"])
    epochs = study.arms[found["arm"]].recipe["epochs"]
    ours, theirs = _accuracies(found, study)
    alone = epochs_alone(study).get(epochs, {})
    needed = [alone.get(run["seed"]) for run, _ in _pairs(found, study)]
    takes = ""
    if all(value is not None and value > epochs for value in needed):  # else beyond the schedules, or not measured yet
        spread = f" ± {statistics.stdev(needed):.1f}" if len(needed) > 1 else ""
        takes = (
            f" The student alone takes {statistics.fmean(needed):.1f}{spread} epochs for that, "
            "read off between its schedules; the teacher's own time is not counted."
        )
    return _claim(
        found,
        f"A teacher saves epochs: after {epochs} epochs the distilled student has {ours:.1%} of the test images right, "
        f"the student alone {theirs:.1%}{_measured(found)}.{takes}",
        study,
    )


def teaching_replaces_labels(study: MeasuredStudy) -> Claim | None:
    """Whether soft targets for all images make up for labels that are missing, where the teacher has all of them."""
    for found in judged(study.comparisons):
        arm = study.arms[found["arm"]]
        full_teacher = arm.teacher is not None and arm.teacher.label_fraction == 1
        if arm.label_fraction == TOLD_SHARE and arm.keep_unlabelled and full_teacher:
            ours, theirs = _accuracies(found, study)
            return _claim(
                found,
                f"A teacher that was told all labels makes up for missing ones: with {share(TOLD_SHARE)} of them, a "
                f"student that gets its soft targets for all images has {ours:.1%} of the test images right, a "
                f"student alone {theirs:.1%}{_measured(found)}.",
                study,
            )
    return None


def omitted_class_is_known(study: MeasuredStudy) -> Claim | None:
    """Whether a student recognises a class that was omitted from its training, better than its control.

    Told of the study's first class.
    """
    name, (taught, controls) = next(iter(told_runs(study).items()), ("", ([], [])))
    if not (taught and controls):
        return None
    recognised = [[run.after["omitted"] for run in runs] for runs in (taught, controls)]
    (found,) = judged([paired_difference(*recognised)._asdict()])
    ours, theirs = map(statistics.fmean, recognised)
    return _claim(
        found,
        f"A student knows a class that it was never shown: it recognises {ours:.1%} of the test "
        f"images of the class {name}, once its bias is corrected; its control, a student alone, {theirs:.1%}"
        f"{_measured(found)}. {caution_of(study.study)}".rstrip(),
        study,
    )


def doubts_are_inherited(study: MeasuredStudy) -> Claim | None:
    """Whether the distilled student is unsure of the images of which its teacher is, more than the student alone."""
    inherited = (study.human_labels or {}).get("inherited")
    if not inherited:
        return None
    alone, distilled = (statistics.fmean(inherited["rank_correlation"][role]) for role in ("student", "distilled"))
    *_, found = human_labels_judged(study)
    return _claim(
        found,
        f"A student inherits its teacher's doubts: on images that all three get right, its entropy, how much it "
        f"doubts, follows the teacher's with a rank correlation of {distilled:.2f}, the student alone's with "
        f"{alone:.2f}{_measured(found, scale=1, unit='', form='.2f')}.",
        study,
    )


# In the order in which they are told: the study, the name of the figure that shows it, and what makes it.
_CLAIMS: tuple[tuple[str, str, Callable[[MeasuredStudy], Claim | None]], ...] = (
    ("main", "accuracy", teaching_helps),
    ("main", "agreement", teaching_brings_nearer),
    ("main", "calibration-error", teaching_calibrates),
    ("digits", "accuracy", teaching_helps),
    ("epochs", "accuracy", teaching_saves_epochs),
    ("few-labels", "accuracy", teaching_replaces_labels),
    ("omitted-class", "recognised", omitted_class_is_known),
    ("digits-omitted-class", "recognised", omitted_class_is_known),
    ("human-doubt", "inherited", doubts_are_inherited),
)
# What else is asked of the runs that were compared in accuracy, the question that a study was declared for: judged
# apart from it, and corrected for one another. Of the second less is better.
_BESIDE_ACCURACY = {"agreement": 1, "ece": -1}


def _claim(found: Mapping, sentence: str, study: MeasuredStudy) -> Claim:
    """The claim with the verdict of a difference that `judged` has judged."""
    return Claim(_SHOWN[found["verdict"]], sentence, study)


def _beside_accuracy(study: MeasuredStudy, metric: str, sentence: str) -> Claim:
    """A claim of the study's first comparison about one of `_BESIDE_ACCURACY`; the sentence has places for numbers."""
    both = list(zip(*_pairs(study.comparisons[0], study), strict=True))
    differences = {
        name: paired_difference(*([run[name] for run in runs] for runs in both))._asdict() for name in _BESIDE_ACCURACY
    }
    gains = [found | {"mean": _BESIDE_ACCURACY[name] * found["mean"]} for name, found in differences.items()]
    judgements = dict(zip(differences, judged(gains, margin=None), strict=True))
    ours, theirs = (statistics.fmean(run[metric] for run in runs) for runs in both)
    in_words = sentence.format(ours=ours, theirs=theirs, measured=_measured(differences[metric]))
    return _claim(judgements[metric], in_words, study)


def _gains_of_agreement(study: MeasuredStudy) -> tuple[float | None, float]:
    """How much more often distilled student and teacher are both right than student alone and teacher, and how much
    more often they agree.

    Shares of the images, of the study's first comparison; the first is None where the files do not tell of each image.
    """
    found = study.comparisons[0]
    gain = statistics.fmean(ours["agreement"] - theirs["agreement"] for ours, theirs in _pairs(found, study))
    teacher = study.arms[found["arm"]].teacher
    teachers = {run["weights"]: run for run in (teacher.runs if teacher else ()) if "weights" in run}
    gains = []
    for runs in _pairs(found, study):
        taught_by = teachers.get(runs[0].get("taught_by"))
        if not taught_by or not all("right" in run for run in (taught_by, *runs)):
            return None, gain
        knows, ours, theirs = (bits_of_text(run["right"]) for run in (taught_by, *runs))
        gains.append(((ours & knows).sum() - (theirs & knows).sum()).item() / study.data["images"])
    return statistics.fmean(gains), gain


def _accuracies(found: Mapping, study: MeasuredStudy) -> list[float]:
    """The mean test accuracies, 0 to 1, of a comparison's arm and of its baseline, over the seeds that both have."""
    return [statistics.fmean(run["accuracy"] for run in runs) for runs in zip(*_pairs(found, study), strict=True)]


def _pairs(found: Mapping, study: MeasuredStudy) -> list[tuple[dict, dict]]:
    """The runs that a comparison compares, its arm's and its baseline's."""
    return paired_runs(study.arms[found["arm"]], study.arms[found["baseline"]])


def _measured(found: Mapping, scale: int = 100, unit: str = " points", form: str = ".1f") -> str:
    """In brackets: the mean difference, its 95% interval and the number of seeds."""
    return f" ({found['mean'] * scale:+{form}}{unit}, {interval(found, scale, form)})"
