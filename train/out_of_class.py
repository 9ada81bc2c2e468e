"""How well the page's warning does: measured for results.json by `python -m train.evaluate`."""

from pathlib import Path

import torch
from torch import Tensor, nn

from kd import checkpoint
from kd.corruptions import corrupted
from kd.dataset import LabelledImages, Normalisation
from kd.models import ARCHITECTURES
from kd.out_of_class import Responses, Warner, compared, rates, responses
from kd.strange_images import DEVELOPMENT_SEED, EACH, TEST_SEED, strange_images
from kd.studies.omitted_class import FOLDER, omitted_class_of

CORRUPTED = 1000  # validation images, at most, that are corrupted to see whether bad photos are warned of


def measure_warning(
    network: nn.Module,
    normalisation: Normalisation,
    images: Tensor,
    labels: Tensor,
    on_test: Responses,
    omitted_class: dict | None,
) -> dict:
    """Set the warning's thresholds by the validation images, and count how often it is right and wrong.

    Args:
        network: the teacher, in evaluation mode.
        images, labels: the validation images, uint8, (N, 3, 32, 32), on the network's device, and their labels.
        on_test: what it made of the test images.
        omitted_class: of a network with an omitted class, as `measure_omitted_class` returns it; None where
            there is none.

    Returns:
        What results.json holds as "out_of_class" (docs/architecture.md). `compared` is of the strange images of the
        development seed, `detected` of those of the other: so what chose the score does not measure it.
    """
    each = min(EACH, len(labels))  # of few validation images no threshold comes that more strange ones would judge
    on_validation = responses(network, images, normalisation)
    warner = Warner.fit(on_validation, labels)
    development, test = (
        {
            kind: responses(network, drawn.to(images.device), normalisation)
            for kind, drawn in strange_images(seed, each).items()
        }
        for seed in (DEVELOPMENT_SEED, TEST_SEED)
    )
    bad = {kind: responses(network, changed, normalisation) for kind, changed in corrupted(images[:CORRUPTED])}
    return {
        **warner.to_json(),
        "validation_images": len(labels),
        "validation_warned": warner.share(on_validation),
        **rates(warner, on_test, test),
        "images_of_a_kind": each,
        "false_alarms_corrupted": {kind: warner.share(looked) for kind, looked in bad.items()},
        "compared": compared(on_validation, labels, development, bad),
        "omitted_class": omitted_class,
    }


def measure_omitted_class(
    checkpoints: Path, validation: LabelledImages, test: LabelledImages, device: torch.device
) -> dict | None:
    """How the same warning does by a network with an omitted class, on test images of that class.

    The network keeps no logit for the class; its thresholds are set by the validation images of the others. What its
    teacher's soft targets told it of the class stays in its features, so a class that nobody spoke of may be harder or
    easier to tell.

    Returns:
        {"class", "weights", "detected", "false_alarms"}: the digest of the network's weights, and shares of the class's
        test images and of the other test images; None where `checkpoints` has no such network, or one whose first
        layer and features nobody knows.

    Raises:
        CheckpointError: it is damaged.
    """
    name = omitted_class_of(checkpoints)
    if name is None:
        return None
    network, config = checkpoint.load(checkpoints / FOLDER)
    if config["architecture"] not in ARCHITECTURES:
        return None
    network.to(device, memory_format=torch.channels_last)
    normalisation = checkpoint.normalisation_of(config)
    label = config["classes"].index(name)
    on_validation, on_test = (
        responses(network, images.images.to(device), normalisation).without(label) for images in (validation, test)
    )
    others = validation.labels != label
    warner = Warner.fit(on_validation.part(others), validation.labels[others])
    return {
        "class": name,
        "weights": checkpoint.digest(config),
        "detected": warner.share(on_test.part(test.labels == label)),
        "false_alarms": warner.share(on_test.part(test.labels != label)),
    }
