"""The studies, declared: which runs each one compares, and with which.

A study is a list of arms. An arm is one way to train, repeated with several seeds; its runs differ in the seed alone.
`train.study` carries them out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kd.recipe import Recipe


@dataclass(frozen=True)
class Arm:
    """One way to train a network.

    Attributes:
        name: as tables and figures show it; unique within the study.
        role: teacher, student or distilled.
        changes: the recipe's fields that this arm sets otherwise.
        teacher: the arm whose first seed teaches this one.
        baseline: the arm that it is compared with, seed by seed and image by image.
        seeds: how many runs; None for as many as the study is asked for.
        augmented_test: measure it on augmented test images too, as the starting project did.
    """

    name: str
    role: str
    changes: Mapping[str, object] = field(default_factory=dict)
    teacher: str | None = None
    baseline: str | None = None
    seeds: int | None = None
    augmented_test: bool = False


@dataclass(frozen=True)
class Study:
    """A question and the arms that answer it.

    Attributes:
        question: what a reader wants to know, in a sentence.
        arms: those that teach come before those they teach.
        recipe: the preset that the arms change.
        seeds: runs of each arm that does not say otherwise.
        measured_on: test, or validation where something is to be chosen.
        published: accuracies (0 to 1) that others have published for an arm, by its name.
    """

    question: str
    arms: tuple[Arm, ...]
    recipe: str = "strong"
    seeds: int = 5
    measured_on: str = "test"
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

# What the starting project's notebook does: plain SGD at a constant rate of .001 and batches of 64; the student alone
# has the teacher's optimiser, the distilled one neither momentum nor weight decay; both students start from ImageNet
# weights, the teacher from scratch. (It trains the distilled student twice for 20 epochs, which without momentum and
# schedule is 40.)
_AS_IT_WAS = {
    "optimizer": "sgd", "schedule": "constant", "learning_rate": 0.001, "warmup": 0.0,
    "momentum": 0.9, "weight_decay": 0.01, "batch_size": 64,
}  # fmt: skip

STUDIES = {
    "main": Study(
        "Do the teacher's soft targets make a better student than the labels alone?",
        (TEACHER, STUDENT, DISTILLED),
    ),
    "seed-project": Study(
        "What becomes of the starting project's table when its set-up is made sound?",
        (
            Arm("teacher, as it was", "teacher", _AS_IT_WAS, seeds=1, augmented_test=True),
            Arm("student alone, as it was", "student", _AS_IT_WAS | {"pretrained": True}, augmented_test=True),
            Arm(
                "distilled, as it was",
                "distilled",
                _AS_IT_WAS | {"pretrained": True, "momentum": 0.0, "weight_decay": 0.0, "soft_weight": 0.25},
                teacher="teacher, as it was",
                baseline="student alone, as it was",
                augmented_test=True,
            ),
            TEACHER,
            STUDENT,
            DISTILLED,
        ),
        recipe="seed",
        seeds=3,
        published={
            "teacher, as it was": 0.7419,
            "student alone, as it was": 0.7119,
            "distilled, as it was": 0.7578,
        },
    ),
}
