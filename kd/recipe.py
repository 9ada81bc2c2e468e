"""Recipes: every hyper-parameter of a training run in one dataclass, and the named presets.

The training scripts' options are made from the fields below, so each is written down once: its
type, its default, its unit, its range, and the sentence that `--help` prints.
"""

from dataclasses import asdict, dataclass, field, fields, replace

from kd.cifar10 import NORMALISATIONS
from kd.losses import DISTANCES
from kd.models import STEMS

ROLES = ("teacher", "student", "distilled")


class RecipeError(ValueError):
    """A hyper-parameter is out of its range; the message names its option and the range."""


def _option(default, explanation, low=None, high=None, choices=None):
    """A recipe field with what `--help` and the range check need to know about it."""
    return field(default=default, metadata={"help": explanation, "low": low, "high": high, "choices": choices})


# A field that is not named here is taken to change the batches, so a new one errs on the safe side.
_NOT_OF_THE_BATCHES = {
    "stem", "pretrained", "epochs", "learning_rate", "warmup", "momentum", "weight_decay", "optimizer",
    "schedule", "loss", "temperature", "soft_weight", "precision",
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes, apart from the data and the teacher.

    Raises:
        RecipeError: a value is outside its range.
    """

    stem: str = _option("cifar", "first layers of the networks", choices=STEMS)
    pretrained: bool = _option(False, "start from torchvision's ImageNet weights, which torchvision downloads")
    normalisation: str = _option("cifar10", "constants the images are normalised by", choices=tuple(NORMALISATIONS))

    crop_padding: int = _option(4, "random crop after padding each side by this many pixels", 0, 16)
    flip: float = _option(0.5, "probability of a horizontal flip", 0, 1)
    rotation: float = _option(0.0, "random rotation by up to this many degrees, either way", 0, 180)
    brightness: float = _option(0.0, "random change of brightness by up to this share", 0, 1)
    contrast: float = _option(0.0, "random change of contrast by up to this share", 0, 1)
    cutout: int = _option(0, "side of the square that is cut out, pixels", 0, 32)
    mixup: float = _option(0.0, "alpha of mixup's Beta(alpha, alpha); 0 switches it off", 0, 10)

    epochs: int = _option(40, "passes over the training images", 1, 10_000)
    batch_size: int = _option(512, "images a step, over all processes", 2, 45_000)
    learning_rate: float = _option(0.4, "peak learning rate of SGD, per step", 1e-6, 10)
    warmup: float = _option(0.125, "share of the run for linear warm-up", 0, 0.9)
    momentum: float = _option(0.9, "momentum of SGD; 0 for none", 0, 0.9999)
    weight_decay: float = _option(5e-4, "L2 penalty, with nesterov on all weights but norm layers' and biases", 0, 1)
    optimizer: str = _option(
        "nesterov",
        "nesterov is SGD with Nesterov momentum; sgd has plain momentum, and weight decay on everything",
        choices=("nesterov", "sgd"),
    )
    schedule: str = _option("cosine", "of the learning rate, after the warm-up", choices=("cosine", "constant"))

    loss: str = _option("kd", "distillation loss", choices=tuple(DISTANCES))
    temperature: float = _option(4.0, "T, by which logits are divided before the softmax", 0.01, 1000)
    soft_weight: float = _option(0.9, "share of the teacher's term in the loss; the labels' has the rest", 0, 1)

    precision: str = _option(
        "auto",
        "what the networks compute in; auto is bfloat16 on a GPU, float32 on a CPU",
        choices=("auto", "float32", "bfloat16"),
    )
    seed: int = _option(0, "of the initial weights, the order and the augmentation", 0, 2**31 - 1)

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, metadata, name = getattr(self, entry.name), entry.metadata, option_name(entry.name)
            if metadata["choices"] and value not in metadata["choices"]:
                raise RecipeError(f"{name} {value!r} is not one of {', '.join(metadata['choices'])}")
            low, high = metadata["low"], metadata["high"]
            if low is not None and not low <= value <= high:  # which NaN is not either
                raise RecipeError(f"{name} {value} is not between {low} and {high}")

    def changed(self, **values) -> "Recipe":
        """This recipe with other values for some fields; raises RecipeError like the constructor."""
        return replace(self, **values)

    def batches(self) -> dict:
        """The fields that decide which batches a run is shown: all but those of its network, optimiser and loss."""
        return {name: value for name, value in asdict(self).items() if name not in _NOT_OF_THE_BATCHES}


def option_name(field_name: str) -> str:
    """The command-line option that sets a field: `soft_weight` is `--soft-weight`."""
    return "--" + field_name.replace("_", "-")


# The starting project's set-up made sound: its networks, augmentation, normalisation, T and epochs;
# one optimiser for all three roles. Trains on a laptop's CPU. T, soft weight and weight decay are
# those that the study `selection` found best on the validation images (the distilled student's decay: second best).
_SEED = Recipe(
    stem="imagenet",
    normalisation="seed-project",
    rotation=15.0,
    brightness=0.2,
    contrast=0.2,
    learning_rate=0.2,
    warmup=0.05,
)

# The quality that ships where a GPU can be had.
_STRONG = Recipe(cutout=8)

# 200 epochs with mixup, teacher and student on the identical view (Beyer 2022, arXiv 2106.05237).
_PATIENT = replace(_STRONG, epochs=200, warmup=0.025, mixup=1.0, soft_weight=1.0)

# Presets by recipe and role. MobileNetV2 wants less weight decay than ResNet-50.
RECIPES = {
    "seed": dict.fromkeys(ROLES, _SEED),
    "strong": {role: _STRONG if role == "teacher" else replace(_STRONG, weight_decay=1e-4) for role in ROLES},
    "patient": {role: _PATIENT if role == "teacher" else replace(_PATIENT, weight_decay=1e-4) for role in ROLES},
}
DEFAULT_RECIPE = "seed"


# Fields that recipes once had, with the value that meant none: on the validation images they brought nothing (the study
# `findings`), and they were removed.
_RETIRED = {"alternating_flip": False, "calibrated_teacher": False, "ema": 0.0}


def as_config(name: str, recipe: Recipe) -> dict:
    """The recipe as it stands in a checkpoint's config.json."""
    return {"name": name, **asdict(recipe)}


def from_config(config: dict) -> tuple[str, Recipe]:
    """The preset's name and the recipe that a config.json holds.

    A field that an older config does not have yet gets its default: what runs did before there was a choice. One that
    recipes no longer have may stand there where it was not made use of.

    Raises:
        RecipeError: the config has a field that recipes no longer have, or a value out of its range.
    """
    values = {key: value for key, value in config.items() if key != "name" and (key, value) not in _RETIRED.items()}
    if unknown := values.keys() - {entry.name for entry in fields(Recipe)}:
        raise RecipeError(f"the recipe has fields that are no longer known: {', '.join(sorted(unknown))}")
    return config["name"], Recipe(**values)
