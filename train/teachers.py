"""Who teaches a run: a checkpoint, several of them, or a file of logits, as `--teacher` names them."""

import argparse
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import torch

from kd import checkpoint
from kd.checkpoint import CheckpointError
from kd.dataset import DataSet, LabelledImages, Normalisation, difference_of_classes
from kd.device import chosen_precision
from kd.files import fingerprint
from kd.models import fuse_norms
from kd.recipe import Recipe
from kd.teacher import FrozenTeacher, LogitsFile, Teachers
from kd.training import TrainingError


class TaughtBy(NamedTuple):
    """A teacher as it was read.

    Attributes:
        path: of its checkpoint, or its file of logits.
        description: what the student's config.json says of it.
        config: its own config.json; None for a file.
    """

    path: Path
    teacher: FrozenTeacher | LogitsFile
    description: dict
    config: dict | None


def read_teacher(path: Path, device: torch.device) -> TaughtBy:
    """The teacher in a checkpoint, or a file of logits in place of one.

    Raises:
        CheckpointError: there is neither, or the file holds no logits.
    """
    if path.is_file() and (path.name == checkpoint.CONFIG or path.match("model*.safetensors*")):
        raise CheckpointError(f"{path} is a file of a checkpoint: give its folder, --teacher {path.parent}")
    if path.parts[:1] == ("hf:",):
        raise CheckpointError(f"{path} is on the Hub: fetch it (hf download), and name the folder with its config.json")
    if path.suffix in (".npy", ".safetensors") and not path.exists():
        raise CheckpointError(f"there is no file {path}")
    if path.is_file():
        weights = {path.name: fingerprint(path)}
        return TaughtBy(path, LogitsFile(path), {"architecture": "a file of logits", "weights": weights}, None)
    network, config = checkpoint.load(path)
    description = {key: config[key] for key in ("architecture", "stem", "epochs_done", "seed", "weights")}
    own = config["recipe"].get("precision", Recipe.precision)  # its recipe may have fields that are gone since
    precision = chosen_precision(own, device, config["stem"])
    fuse_norms(network.eval(), config["architecture"])  # it answers sooner
    return TaughtBy(path, FrozenTeacher(network, precision, len(config["classes"])), description, config)


def check_fits(each: TaughtBy, data: DataSet, training: LabelledImages, validation: LabelledImages) -> None:
    """Raise TrainingError unless a teacher knows the classes of the data in the same order, and a file all images."""
    if each.config and tuple(each.config["classes"]) != data.classes:
        raise TrainingError(
            f"the teacher in {each.path} knows other classes than the data "
            f"({difference_of_classes(each.config['classes'], data.classes)}): name a teacher of these data"
        )
    if isinstance(each.teacher, LogitsFile):
        # Rows go by the images' indices, which count through both parts where these were split off one set.
        of_one_set = training.description["part"] == validation.description["part"]
        images, classes = len(training) + (len(validation) if of_one_set else 0), len(data.classes)
        if (each.teacher.images, each.teacher.classes) != (images, classes):
            raise TrainingError(
                f"{each.path} holds {each.teacher.images} rows of {each.teacher.classes} logits, the training set "
                f"{images} images of {classes} classes: a row an image is wanted"
            )


def tell_what_follows(each: TaughtBy, image_size: int) -> None:
    """Say what follows where a teacher is not done yet, or takes images of another size, pixels, than its student."""
    if each.config and (done := each.config["epochs_done"]) < (epochs := each.config["recipe"].get("epochs", 0)):
        print(
            f"{each.path} has {done} of its {epochs} epochs: once it has gone on it is another teacher, which this run "
            "refuses; better let it finish first",
            flush=True,
        )
    if each.config and (size := checkpoint.image_size_of(each.config)) != image_size:
        print(
            f"{each.path} takes images of {size} pixels, this student of {image_size}: it learns so, but the two "
            f"cannot be evaluated or shown together; --image-size {size} makes them alike",
            flush=True,
        )


def together(
    taught_by: list[TaughtBy], recipe: Recipe, shown: Normalisation, options: argparse.Namespace
) -> FrozenTeacher | Teachers | LogitsFile:
    """The teacher, or several of them as one; `shown` is what the student's views are normalised by."""
    for each in taught_by:
        if each.config:
            each.teacher.adapt_views(
                shown, checkpoint.normalisation_of(each.config), checkpoint.image_size_of(each.config)
            )
    weights = weights_of(options)
    if len(taught_by) == 1:
        return taught_by[0].teacher
    return Teachers([each.teacher for each in taught_by], recipe.temperature, weights)


def weights_of(options: argparse.Namespace) -> list[float]:
    """The weights of the teachers; raises TrainingError unless each has one, or none has."""
    weights = options.teacher_weight or [1.0] * len(options.teacher)
    if len(weights) != len(options.teacher) or not all(0 < weight < float("inf") for weight in weights):
        raise TrainingError("give a --teacher-weight over 0 for each --teacher, in their order, or none")
    return weights


def description_of(described: list[dict], options: argparse.Namespace) -> dict:
    """What a student's config.json says of its teacher, or of all its teachers."""
    if len(described) == 1:
        return described[0]
    weights = {
        f"{number}/{name}": entry for number, each in enumerate(described) for name, entry in each["weights"].items()
    }
    return {"several": described, "shares": weights_of(options), "weights": weights}


def logits_dirs(
    taught_by: list[TaughtBy], options: argparse.Namespace, recipe: Recipe, config: dict
) -> Path | list[Path] | None:
    """Where the teachers' logits are kept: of each, one folder for all runs that show it the same views."""
    folders = []
    for each in taught_by:
        shown = {
            "teacher": each.description["weights"],
            "precision": getattr(each.teacher, "precision", None),  # a file computes nothing
            "images": config["data"]["sha256"],
            "view": recipe.view(),
        }
        digest = hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()
        folders.append(options.teacher_logits / digest[:16])
    return folders if len(folders) > 1 else folders[0] if folders else None
