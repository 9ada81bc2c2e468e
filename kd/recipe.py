"""Recipes: every hyper-parameter of a training run in one dataclass, and the named presets.

The training scripts' options are made from the fields below, so each is written down once: its
type, its default, its unit, its range, and the sentence that `--help` prints.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace

from kd.cifar10 import IMAGE_SIZE, NORMALISATIONS
from kd.dataset import OWN, LabelledImages, Normalisation
from kd.losses import DISTANCES, MAX_TEMPERATURE, MIN_TEMPERATURE
from kd.models import ARCHITECTURE_OF_ROLE, ROLES, STEMS


class RecipeError(ValueError):
    """A hyper-parameter is out of its range; the message names its option and the range."""


def _option(default, explanation, low=None, high=None, choices=None):
    """A recipe field with what `--help` and the range check need to know about it."""
    return field(default=default, metadata={"help": explanation, "low": low, "high": high, "choices": choices})


# A field that is not named here is taken to change how an image looks, so a new one errs on the safe side. (What size
# the images have, and by what they are normalised under the name "data", their pixels tell.)
_NOT_OF_THE_VIEW = {
    "network", "image_size", "stem", "early_downsampling", "dropout", "epochs", "batch_size", "optimizer",
    "learning_rate", "momentum", "weight_decay", "muon_learning_rate", "muon_momentum", "warmup", "schedule", "loss",
    "temperature", "soft_weight", "precision", "seed",
}  # fmt: skip
OF_THE_LOSS = ("loss", "temperature", "soft_weight")  # fields that say nothing to a student alone


MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 16, 224  # pixels, the side of the images that networks are trained on and loaded for


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes, apart from the data and the teacher.

    Raises:
        RecipeError: a value is outside its range.
    """

    network: str = _option(
        "",
        "network by its name: resnet18, convnet-16, timm:NAME, package.module:function; without it "
        + ", ".join(f"{architecture} as {role}" for role, architecture in ARCHITECTURE_OF_ROLE.items()),
    )
    stem: str = _option("cifar", "first layers of ResNet-50 and MobileNetV2; imagenet for others", choices=STEMS)
    early_downsampling: float = _option(
        0.0,
        "share of the epochs in which the CIFAR stem keeps one early stride, so that the networks are cheaper",
        0,
        0.99,
    )
    dropout: float = _option(0.2, "probability of dropout before MobileNetV2's last layer", 0, 0.9)
    normalisation: str = _option(
        "cifar10",
        "constants the images are normalised by; data for the training images' own, the default of all but CIFAR-10",
        choices=(*NORMALISATIONS, OWN),
    )
    image_size: int = _option(
        IMAGE_SIZE, "side that the images are scaled to, pixels; CIFAR-10's is 32", MIN_IMAGE_SIZE, MAX_IMAGE_SIZE
    )

    crop_scale: float = _option(1.0, "random resized crop of at least this share of the area; 1 for none", 0.1, 1)
    crop_padding: int = _option(4, "random crop after padding each side by this many pixels", 0, 16)
    padding_mode: str = _option(
        "constant", "what is padded: black, or the image mirrored", choices=("constant", "reflect")
    )
    flip: float = _option(0.5, "probability of a horizontal flip", 0, 1)
    rotation: float = _option(0.0, "random rotation by up to this many degrees, either way", 0, 180)
    brightness: float = _option(0.0, "random change of brightness by up to this share", 0, 1)
    contrast: float = _option(0.0, "random change of contrast by up to this share", 0, 1)
    saturation: float = _option(0.0, "random change of saturation by up to this share", 0, 1)
    blur: float = _option(0.0, "probability of a Gaussian blur", 0, 1)
    cutout: int = _option(0, "side of the square that is cut out, pixels", 0, 32)
    augmentation_seed: int = _option(
        0, "of the augmentation alone: runs that share it share the teacher's cached logits", 0, 2**31 - 1
    )

    epochs: int = _option(40, "passes over the training images", 1, 10_000)
    batch_size: int = _option(512, "images a step, over all processes", 2, 45_000)
    optimizer: str = _option(
        "nesterov",
        "nesterov is SGD with Nesterov momentum; muon takes the convolutions and leaves SGD the rest",
        choices=("nesterov", "muon"),
    )
    learning_rate: float = _option(0.4, "peak learning rate of SGD, per step", 1e-6, 10)
    momentum: float = _option(0.9, "momentum of SGD; 0 for none", 0, 0.9999)
    weight_decay: float = _option(5e-4, "L2 penalty of SGD, on all its weights but norm layers' and biases", 0, 1)
    muon_learning_rate: float = _option(0.24, "peak learning rate of Muon, per step", 1e-6, 10)
    muon_momentum: float = _option(0.6, "momentum of Muon", 0, 0.9999)
    warmup: float = _option(0.125, "share of the run for linear warm-up", 0, 0.9)
    schedule: str = _option("cosine", "of the learning rates, after the warm-up", choices=("cosine", "linear"))

    loss: str = _option("kd", "distillation loss", choices=tuple(DISTANCES))
    temperature: float = _option(
        4.0, "T, by which logits are divided before the softmax", MIN_TEMPERATURE, MAX_TEMPERATURE
    )
    soft_weight: float = _option(0.9, "share of the teacher's term in the loss; the labels' has the rest", 0, 1)

    precision: str = _option(
        "auto",
        "what the networks compute in; auto is bfloat16 on a GPU that has it, and with the CIFAR stem on a CPU that is "
        "fast in it",
        choices=("auto", "float32", "bfloat16"),
    )
    seed: int = _option(0, "of the initial weights, the order of the images and dropout", 0, 2**31 - 1)

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, metadata, name = getattr(self, entry.name), entry.metadata, option_name(entry.name)
            accepted = str if entry.type is str else int | float
            if not isinstance(value, accepted) or isinstance(value, bool):  # True is an int to Python
                raise RecipeError(f"{name} {value!r} is no {'text' if entry.type is str else 'number'}")
            if metadata["choices"] and value not in metadata["choices"]:
                raise RecipeError(f"{name} {value!r} is not one of {', '.join(metadata['choices'])}")
            low, high = metadata["low"], metadata["high"]
            if low is not None and not low <= value <= high:  # which NaN is not either
                raise RecipeError(f"{name} {value} is not between {low} and {high}")
            if entry.type is int and not isinstance(value, int):
                raise RecipeError(f"{name} {value} is no whole number")
        if self.padding_mode == "reflect" and self.crop_padding >= self.image_size:
            raise RecipeError(
                f"--crop-padding {self.crop_padding} is not below --image-size {self.image_size}: there is no more to "
                "mirror"
            )

    def changed(self, **values) -> "Recipe":
        """This recipe with other values for some fields; raises RecipeError like the constructor."""
        return replace(self, **values)

    def architecture(self, role: str) -> str:
        """The name of the network that plays a role."""
        return self.network or ARCHITECTURE_OF_ROLE[role]

    def constants(self, images: LabelledImages) -> Normalisation:
        """Mean and standard deviation by which images are normalised.

        Args:
            images: of the data set, whose own they may be.
        """
        return images.normalisation if self.normalisation == OWN else NORMALISATIONS[self.normalisation]

    @property
    def early_epochs(self) -> int:
        """How many epochs, from the first, keep the early stride; the last is always at full size."""
        return min(round(self.early_downsampling * self.epochs), self.epochs - 1)

    def view(self) -> dict:
        """The fields that decide how the teacher sees an image in an epoch, whatever run shows it."""
        return {name: value for name, value in asdict(self).items() if name not in _NOT_OF_THE_VIEW}


def option_name(field_name: str) -> str:
    """The command-line option that sets a field: `soft_weight` is `--soft-weight`."""
    return "--" + field_name.replace("_", "-")


# The starting project's set-up made sound: its networks, augmentation, normalisation, T and epochs;
# one optimiser for all three roles. Trains on a laptop's CPU. T, soft weight and weight decay are
# those that short runs found best on the validation images (selection-original.json; the distilled student's decay:
# second best).
_ORIGINAL = Recipe(
    stem="imagenet",
    normalisation="seed-project",
    rotation=15.0,
    brightness=0.2,
    contrast=0.2,
    learning_rate=0.2,
    warmup=0.05,
)

# Made for two cores, and good on a GPU. What is cheap comes first: a network that keeps one early stride learns as
# fast an epoch at a quarter of the multiplications. The teacher has no label smoothing, which takes from its logits
# what they say of the other classes (Mueller 2019, arXiv 1906.02629), and no mixup, which softens its targets too. Of
# what photos may ask for, changes of colour are the one that the study `augmentation` found to cost clean images
# nothing to speak of.
_STRONG = Recipe(
    early_downsampling=0.5,
    dropout=0.0,
    padding_mode="reflect",
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    cutout=8,
    epochs=24,
    batch_size=256,
    optimizer="muon",
    learning_rate=0.1,
    warmup=0.1,
    schedule="linear",
)

# Half of the field's rate, above, suits the student better: it did best in the study `settings`, and by more than a
# point against .24, which the study `augmentation` has as its arm of colour. The teacher was not tried.
_STRONG_STUDENT = _STRONG.changed(muon_learning_rate=0.12)

# For scikit-learn's handwritten digits: small networks and a minute. Digits are not mirrored, and lean a little. The
# student is far smaller than its task asks for on purpose: else there would be nothing for a teacher to add.
_DIGITS = Recipe(
    network="convnet-4",
    stem="imagenet",
    normalisation=OWN,
    dropout=0.0,
    crop_padding=2,
    flip=0.0,
    rotation=10.0,
    epochs=12,
    batch_size=64,
    learning_rate=0.1,
    warmup=0.1,
    schedule="linear",
    precision="float32",
)

RECIPES = {
    "strong": dict.fromkeys(ROLES, _STRONG_STUDENT) | {"teacher": _STRONG},
    "original": dict.fromkeys(ROLES, _ORIGINAL),
    "digits": dict.fromkeys(ROLES, _DIGITS) | {"teacher": _DIGITS.changed(network="convnet-48")},
}
DEFAULT_RECIPE = "strong"

# Fields that recipes once had, with the value that meant none.
_RETIRED = {"alternating_flip": False, "calibrated_teacher": False, "ema": 0.0, "mixup": 0.0, "pretrained": False}


def beside_preset(config: dict, role: str) -> dict[str, object]:
    """The fields that the recipe in a config.json sets otherwise than the preset it names; epochs, seed, stem apart.

    Of a preset that is gone nothing can be said. A field that an older config does not have yet counts as its default.
    """
    presets = RECIPES.get(config["name"])
    told = {entry.name: entry for entry in fields(Recipe) if presets and entry.name not in ("epochs", "seed", "stem")}
    values = {name: config.get(name, entry.default) for name, entry in told.items()}
    return {name: value for name, value in values.items() if value != getattr(presets[role], name)}


def settings_in_words(settings: Iterable[tuple[str, object]]) -> str:
    """Fields with their values, by their names, as they stand behind something: ", dropout 0.2, stem cifar"."""
    return "".join(f", {name.replace('_', ' ')} {value}" for name, value in sorted(settings))


def as_config(name: str, recipe: Recipe) -> dict:
    """The recipe as it stands in a checkpoint's config.json."""
    return {"name": name, **asdict(recipe)}


def from_config(config: dict) -> tuple[str, Recipe]:
    """The preset's name and the recipe that a config.json holds.

    A field that an older config does not have yet gets its default: what runs did before there was a choice. One that
    recipes no longer have is passed over where it says that nothing was made of it (`_RETIRED`).

    Raises:
        RecipeError: the config has a field that recipes no longer have, a value out of its range, or no name.
    """
    if not isinstance(config.get("name"), str):
        raise RecipeError("the recipe has no name")
    values = {key: value for key, value in config.items() if key != "name" and (key, value) not in _RETIRED.items()}
    if unknown := values.keys() - {entry.name for entry in fields(Recipe)}:
        raise RecipeError(f"the recipe has fields that are no longer known: {', '.join(sorted(unknown))}")
    return config["name"], Recipe(**values)
