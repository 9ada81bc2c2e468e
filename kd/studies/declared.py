"""The studies, declared: which runs each one compares, and with which.

A study is a list of arms. An arm is one way to train, repeated with several seeds; its runs differ in the seed alone.
`train.study` carries them out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kd.cifar10 import CLASSES
from kd.recipe import Recipe


@dataclass(frozen=True)
class Arm:
    """One way to train a network.

    Attributes:
        name: as tables and figures show it; unique within the study.
        role: teacher, student or distilled.
        changes: the recipe's fields that this arm sets otherwise.
        withheld: what is kept from the network: label_fraction, keep_unlabelled, without_class, as train.run's options.
        teacher: the arm whose first seed teaches this one.
        baseline: the arm that it is compared with, seed by seed and image by image.
        seeds: how many runs; None for as many as the study is asked for.
    """

    name: str
    role: str
    changes: Mapping[str, object] = field(default_factory=dict)
    withheld: Mapping[str, object] = field(default_factory=dict)
    teacher: str | None = None
    baseline: str | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Study:
    """A question and the arms that answer it.

    Attributes:
        question: what a reader wants to know, in a sentence.
        arms: those that teach come before those they teach.
        recipe: the preset that the arms change.
        seeds: runs of each arm that does not say otherwise.
        measured_on: test, or validation where something is to be chosen.
        analysis: never-seen, human-doubt or corruptions, where accuracy is not all that is asked.
        published: accuracies (0 to 1) that others have published for an arm, by its name.
    """

    question: str
    arms: tuple[Arm, ...]
    recipe: str = "strong"
    seeds: int = 5
    measured_on: str = "test"
    analysis: str | None = None
    published: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One training run of an arm.

    Attributes:
        recipe: with the arm's changes and the run's seed put in.
        folder: of its checkpoint; it follows from all that the run depends on.
        teacher: the folder of its teacher's checkpoint.
    """

    arm: Arm
    recipe_name: str
    recipe: Recipe
    folder: Path
    teacher: Path | None = None

    @property
    def title(self) -> str:
        return f"{self.arm.name}, seed {self.recipe.seed}"

    @property
    def log(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")


# One teacher: its own spread is not the question, and all students are to have the same one.
TEACHER = Arm("teacher", "teacher", seeds=1)
STUDENT = Arm("student alone", "student")
DISTILLED = Arm("distilled", "distilled", teacher="teacher", baseline="student alone")

LABEL_FRACTIONS = (0.01, 0.04, 0.1, 0.25)
UNSEEN_TEMPERATURES = (1.0, 4.0, 8.0, 20.0)

# What each loss changes in the recipe: its soft weight is the one that the study `selection` found best for it on the
# validation images. Standardised logits want a lower T (see `kd.losses`).
LOSS_SETTINGS: dict[str, dict[str, object]] = {
    "kd": {},
    "logit-mse": {"loss": "logit-mse", "soft_weight": 0.5},
    "dkd": {"loss": "dkd", "soft_weight": 1.0},
    "dist": {"loss": "dist", "soft_weight": 0.5},
    "standardised-kd": {"loss": "standardised-kd", "temperature": 1.5, "soft_weight": 0.5},
}


def few_labels() -> Iterator[Arm]:
    """Students that know few labels: alone, with soft targets for these images, and with soft targets for all."""
    yield TEACHER
    for share in LABEL_FRACTIONS:
        few = {"label_fraction": share}
        alone, starved = f"{share:.0%}, alone", f"{share:.0%}, starved teacher"
        yield Arm(alone, "student", withheld=few)
        # This teacher has no more labels than its students, so that what they gain is no leaked label.
        yield Arm(starved, "teacher", withheld=few, seeds=1)
        for teacher, by in (("teacher", "full teacher"), (starved, "starved teacher")):
            for images, kept in (("same images", {}), ("all images", {"keep_unlabelled": True})):
                name = f"{share:.0%}, {images}, {by}"
                yield Arm(name, "distilled", withheld=few | kept, teacher=teacher, baseline=alone)
    yield STUDENT
    yield DISTILLED


def never_seen(classes: Sequence[str] = CLASSES) -> Iterator[Arm]:
    """For each class students that were never shown it: alone, the control, and distilled at several temperatures."""
    yield TEACHER
    for name in classes:
        without = {"without_class": name}
        yield Arm(f"no {name}, alone", "student", withheld=without, seeds=1)
        for temperature in UNSEEN_TEMPERATURES:
            yield Arm(
                f"no {name}, T = {temperature:g}",
                "distilled",
                {"temperature": temperature},
                withheld=without,
                teacher="teacher",
                baseline=f"no {name}, alone",
                seeds=1,
            )


def selection() -> Iterator[Arm]:
    """One setting changed at a time, judged on the validation images.

    The student alone and the distilled one have as many trials; each other loss has one for each soft weight.
    """
    yield TEACHER
    decays = [{"weight_decay": value} for value in (4e-5, 1e-4, 2e-4, 5e-4)]
    rates = [{"learning_rate": value} for value in (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)]
    temperatures = [{"temperature": value} for value in (1.0, 2.0, 4.0, 8.0, 16.0)]
    soft_weights = [{"soft_weight": value} for value in (0.5, 0.9, 1.0)]
    for changes in decays + rates:
        yield Arm(f"alone, {_in_words(changes)}", "student", changes)
    # Two of these are the recipe's own T and soft weight: ten runs, as many as alone.
    for changes in decays + temperatures + soft_weights:
        yield Arm(f"distilled, {_in_words(changes)}", "distilled", changes, teacher="teacher")
    for loss, settings in LOSS_SETTINGS.items():
        for changes in soft_weights if loss != "kd" else ():
            yield Arm(f"{loss}, {_in_words(changes)}", "distilled", settings | changes, teacher="teacher")


def _in_words(changes: Mapping[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in changes.items())


def losses() -> Iterator[Arm]:
    """Every distillation loss, with its settings, beside the student alone."""
    yield TEACHER
    yield STUDENT
    for loss, settings in LOSS_SETTINGS.items():
        told = _in_words({name: value for name, value in settings.items() if name != "loss"})
        name = f"{loss} ({told})" if told else loss
        yield Arm(name, "distilled", settings, teacher="teacher", baseline="student alone")


def schedules() -> Iterator[Arm]:
    """The student alone and the distilled one, each trained for few epochs and for the whole schedule."""
    yield TEACHER
    for epochs in (4, 8, 24):
        alone, changes = f"{epochs} epochs, alone", {"epochs": epochs}
        yield Arm(alone, "student", changes)
        yield Arm(f"{epochs} epochs, distilled", "distilled", changes, teacher="teacher", baseline=alone)


def for_photos() -> Iterator[Arm]:
    """The student alone under each augmentation that photos may ask for, and under all of them."""
    yield STUDENT
    crop, colour = {"crop_scale": 0.6}, {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2}
    blurred = {"blur": 0.2}
    trials = {"resized crop": crop, "colour": colour, "blur": blurred, "all three": crop | colour | blurred}
    for name, changes in trials.items():
        yield Arm(name, "student", changes, baseline="student alone")


STUDIES = {
    "main": Study(
        "Do the teacher's soft targets make a better student than the labels alone?",
        (TEACHER, STUDENT, DISTILLED),
    ),
    "seed-project": Study(
        "What becomes of the starting project's table when its set-up is made sound?",
        (
            TEACHER,
            STUDENT,
            DISTILLED,
        ),
        recipe="original",
        seeds=3,
        published={"teacher": 0.7419, "student alone": 0.7119, "distilled": 0.7578},
    ),
    "few-labels": Study("How much do soft targets help where labels are scarce?", tuple(few_labels()), seeds=3),
    "never-seen": Study(
        "What does a student know of a class that it was never shown?", tuple(never_seen()), analysis="never-seen"
    ),
    "never-seen-longer": Study(
        "Does a longer run teach more of a class that was never shown?",
        # Of the classes that were run before, the one that students recognised best on the validation images.
        tuple(never_seen(("frog",))),
        analysis="never-seen",
    ),
    "human-doubt": Study("Do the networks doubt like people?", (TEACHER, STUDENT, DISTILLED), analysis="human-doubt"),
    "selection": Study(
        "Which weight decay, temperature and soft weight suit the students?",
        tuple(selection()),
        seeds=1,
        measured_on="validation",
    ),
    "epochs": Study("How many epochs is a teacher worth?", tuple(schedules()), seeds=3),
    "augmentation": Study(
        "Which augmentation helps with photos, and what does it cost on clean images?",
        tuple(for_photos()),
        seeds=1,
        measured_on="validation",
        analysis="corruptions",
    ),
    "losses": Study("Which distillation loss teaches best?", tuple(losses()), seeds=3),
}
