"""The studies, declared: which runs each one compares, and with which.

A study is a list of arms. An arm is one way to train, repeated with several seeds; its runs differ in the seed alone.
`python -m train.study NAME` carries a study out. What an arm is, its fields say; its name is made of them
(`kd.studies.words`) and never read again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace

from kd.cifar10 import CLASSES

HUMAN_LABELS, CORRUPTIONS = "human-labels", "corruptions"  # what a study may ask beyond accuracy


@dataclass(frozen=True)
class Arm:
    """One way to train a network.

    Attributes:
        role: teacher, student (alone) or distilled.
        teacher: the arm whose first seed teaches this one; of a distilled student.
        baseline: the arm that it is compared with, seed by seed and image by image.
        label_fraction: share of each class's labels that it is told, over 0 up to 1.
        keep_unlabelled: whether it is shown the images without a label too, of which its teacher speaks.
        omitted_class: the class of which it is shown no image.
        changes: the recipe's fields that this arm sets otherwise, by their names.
        varies: the one of `changes` that this arm is a trial of, where the study looks for a field's best value.
        seeds: how many runs; None for as many as the study is asked for.
        label: words for tables and figures where those that follow from the fields are not plain enough.
        published_accuracy: what others have published for this arm, 0 to 1.
    """

    role: str
    _: KW_ONLY
    teacher: "Arm | None" = None
    baseline: "Arm | None" = None
    label_fraction: float = 1.0
    keep_unlabelled: bool = False
    omitted_class: str | None = None
    changes: Mapping[str, object] = field(default_factory=dict)
    varies: str | None = None
    seeds: int | None = None
    label: str = ""
    published_accuracy: float | None = None

    @property
    def withheld(self) -> dict[str, object]:
        """What is kept from the network, by the names of the options of `train.run`."""
        kept = {
            "label_fraction": self.label_fraction if self.label_fraction < 1 else None,
            "keep_unlabelled": self.keep_unlabelled or None,
            "omitted_class": self.omitted_class,
        }
        return {name: value for name, value in kept.items() if value is not None}

    @property
    def is_plain_teacher(self) -> bool:
        """Whether it is a teacher from which nothing is withheld: the one that studies share."""
        return self.role == "teacher" and not self.withheld

    @property
    def loss(self) -> str | None:
        """The distillation loss that it sets; None for the recipe's."""
        return self.changes.get("loss")

    @property
    def temperature(self) -> float | None:
        """The T of the soft targets that it sets; None for the recipe's."""
        return self.changes.get("temperature")

    def trains_like(self, other: "Arm") -> bool:
        """Whether role, data and teachers are the same, so that the recipe alone can part the runs of both."""
        same = (self.role, self.withheld) == (other.role, other.withheld)
        if self.teacher is None or other.teacher is None:
            return same and self.teacher is other.teacher
        return same and self.teacher.trains_like(other.teacher)


@dataclass(frozen=True)
class Study:
    """A question and the arms that decide it.

    Attributes:
        question: what a reader wants to know, in a sentence.
        arms: those that teach, and those that others are compared with, come before those others.
        recipe: the preset that the arms change.
        seeds: runs of each arm that does not say otherwise.
        measured_on: test, or validation where something is to be chosen.
        analysis: HUMAN_LABELS or CORRUPTIONS, where accuracy is not all that is asked. (What a student knows of its
            omitted class is measured wherever an arm has one.)
        caution: a sentence for whoever reads its figures, where something was chosen by the test images.
    """

    question: str
    arms: tuple[Arm, ...]
    recipe: str = "strong"
    seeds: int = 5
    measured_on: str = "test"
    analysis: str | None = None
    caution: str = ""


# What a study compares, by what it is measured on: metrics of a run.
METRIC_OF = {"test": "accuracy", "validation": "validation_accuracy"}

# One teacher: its own spread is not the question, and all students are to have the same one.
TEACHER = Arm("teacher", seeds=1)
STUDENT = Arm("student")
DISTILLED = Arm("distilled", teacher=TEACHER, baseline=STUDENT)

LABEL_FRACTIONS = (0.01, 0.04, 0.1, 0.25)
OMITTED_CLASS_TEMPERATURES = (4.0, 8.0)


def few_labels() -> Iterator[Arm]:
    """Students that know few labels: alone, with soft targets for these images, and with soft targets for all."""
    yield TEACHER
    for share in LABEL_FRACTIONS:
        # The starved teacher has no more labels than its students, so that what they gain is no leaked label.
        alone, starved = Arm("student", label_fraction=share), Arm("teacher", label_fraction=share, seeds=1)
        yield from (alone, starved)
        for teacher in (TEACHER, starved):
            for everything in (False, True):
                yield Arm(
                    "distilled", teacher=teacher, baseline=alone, label_fraction=share, keep_unlabelled=everything
                )
    yield STUDENT
    yield DISTILLED


def omitted_class(classes: Sequence[str] = CLASSES) -> Iterator[Arm]:
    """For each class students from whom it is omitted: alone, the control, and distilled at several temperatures."""
    yield TEACHER
    for name in classes:
        alone = Arm("student", omitted_class=name)
        yield alone
        for temperature in OMITTED_CLASS_TEMPERATURES:
            yield Arm(
                "distilled",
                teacher=TEACHER,
                baseline=alone,
                omitted_class=name,
                changes={"temperature": temperature},
            )


def losses() -> Iterator[Arm]:
    """Hinton's loss at three temperatures, and two others at settings that suit them.

    The soft weights of the two are those that did best on the validation images in short runs of the recipe `original`
    (selection-original.json). Standardised logits want a lower T (see `kd.losses`).
    """
    yield TEACHER
    hinton = Arm("distilled", teacher=TEACHER, changes={"loss": "kd", "temperature": 4.0})
    yield hinton
    for changes in (
        {"loss": "kd", "temperature": 2.0},
        {"loss": "kd", "temperature": 8.0},
        {"loss": "dkd", "soft_weight": 1.0},
        {"loss": "standardised-kd", "temperature": 1.5, "soft_weight": 0.5},
    ):
        yield replace(hinton, baseline=hinton, changes=changes)


def schedules() -> Iterator[Arm]:
    """The student alone and the distilled one, each trained for few epochs and for the whole schedule."""
    yield TEACHER
    for epochs in (4, 8, 24):
        alone = Arm("student", changes={"epochs": epochs})
        yield from (alone, replace(DISTILLED, baseline=alone, changes=alone.changes))


def for_photos() -> Iterator[Arm]:
    """The student alone under each augmentation that photos may ask for, and under none of them."""
    plain: dict[str, object] = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    without = Arm("student", changes=plain, label="none of them")
    yield without
    colour = dict.fromkeys(plain, 0.2)
    for label, changes in {"resized crop": {"crop_scale": 0.6}, "colour": colour, "blur": {"blur": 0.2}}.items():
        yield Arm("student", baseline=without, changes=plain | changes, label=label)


def settings() -> Iterator[Arm]:
    """The student alone, one setting changed at a time: rates of Muon up to cifar10-airbench's, which is for batches of
    2,000, and the size of a batch."""
    for field_name, values in {"muon_learning_rate": (0.03, 0.06, 0.12, 0.24), "batch_size": (128, 256)}.items():
        for value in values:
            yield Arm("student", changes={field_name: value}, varies=field_name)


def seed_project() -> Iterator[Arm]:
    """The starting project's three networks, each with the accuracy that its table gave it."""
    teacher, student = replace(TEACHER, published_accuracy=0.7419), replace(STUDENT, published_accuracy=0.7119)
    yield from (teacher, student)
    yield replace(DISTILLED, teacher=teacher, baseline=student, published_accuracy=0.7578)


def omitted_digit() -> Iterator[Arm]:
    """Hinton's experiment with the omitted 3 (2015, arXiv 1503.02531, section 3)."""
    alone = Arm("student", omitted_class="three")
    yield alone
    yield replace(DISTILLED, baseline=alone, omitted_class="three")


STUDIES = {
    "main": Study(
        "Do the teacher's soft targets make a better student than the labels alone?",
        (TEACHER, STUDENT, DISTILLED),
    ),
    "seed-project": Study(
        "What becomes of the starting project's table when its set-up is made sound?",
        tuple(seed_project()),
        recipe="original",
        seeds=3,
    ),
    "few-labels": Study("How much do soft targets help where labels are scarce?", tuple(few_labels()), seeds=3),
    "ten-omitted-classes": Study(
        "Which classes does a student know though they were omitted from its training?",
        tuple(omitted_class()),
        seeds=1,
    ),
    "omitted-class": Study(
        "What does a student know of a class that was omitted from its training?",
        tuple(omitted_class(("frog",))),
        seeds=1,
        caution="The class was chosen because it did best of three in shorter runs, on these very images: expect less "
        "of others.",
    ),
    "human-doubt": Study("Do the networks doubt like people?", (TEACHER, STUDENT, DISTILLED), analysis=HUMAN_LABELS),
    "epochs": Study("How many epochs is a teacher worth?", tuple(schedules()), seeds=3),
    "augmentation": Study(
        "Which augmentation helps with photos, and what does it cost on clean images?",
        tuple(for_photos()),
        seeds=1,
        measured_on="validation",
        analysis=CORRUPTIONS,
    ),
    "settings": Study("Which settings suit the student?", tuple(settings()), seeds=1, measured_on="validation"),
    "digits": Study(
        "Do a teacher's soft targets make a better reader of handwritten digits?",
        (TEACHER, STUDENT, DISTILLED),
        recipe="digits",
    ),
    "digits-omitted-class": Study(
        "What does a student know of the digit 3 that was omitted from its training?",
        (TEACHER, *omitted_digit()),
        recipe="digits",
    ),
    "losses": Study("Which loss and which T teach best?", tuple(losses()), seeds=1, measured_on="validation"),
}


def caution_of(name: str) -> str:
    """What a study's figures are to be read with; nothing for one that is not declared any more."""
    return STUDIES[name].caution if name in STUDIES else ""
