"""Measure the three networks on the test set and write results.json beside them.

python -m train.evaluate                     a table for people
python -m train.evaluate --json              one JSON object for programs; results.json stays
python -m train.evaluate --document README.md  puts the table between that file's markers too
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from kd import checkpoint, cifar10, evaluation, models
from kd.checkpoint import CheckpointError
from kd.data_dir import open_data
from kd.dataset import DataError, LabelledImages
from kd.device import DeviceError, machine, process_device
from kd.files import write_json
from kd.memory import keep_freed_memory
from kd.out_of_class import responses
from kd.results import RESULTS, results_section
from train.document import write_section
from train.options import add_checkpoints, add_data_dir, add_device, add_document
from train.out_of_class import measure_omitted_class, measure_warning


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.evaluate", description=__doc__.splitlines()[0])
    add_checkpoints(parser)
    add_data_dir(parser)
    add_device(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object instead of the table, and leave results.json as it is",
    )
    add_document(parser)
    options = parser.parse_args(arguments)
    if options.json and options.document:
        parser.error("--json prints and writes nothing: leave out --document")
    try:
        device = process_device(options.device)
        keep_freed_memory()
        configs = {role: checkpoint.load_config(options.checkpoints / role) for role in models.ROLES}
        data = open_data(options.data_dir, checkpoint.image_size_of(configs["teacher"]))
        for role, config in configs.items():
            evaluation.check_classes(options.checkpoints / role, config, data.classes)
        training, validation = data.split()
        test = data.test()
        tell_of_other_images(options.checkpoints, configs, training)
        results = evaluate(options.checkpoints, test, validation, device)
        if not options.json:
            write_json(options.checkpoints / RESULTS, results)
        if options.document:
            write_section(options.document, "results", results_section(results))
    except (CheckpointError, DataError, DeviceError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print(json.dumps(results) if options.json else results_section(results), end="")


def evaluate(checkpoints: Path, test: LabelledImages, validation: LabelledImages, device: torch.device) -> dict:
    """Measure every network in `checkpoints` on the test images.

    Args:
        validation: what the page's warning of photos outside the classes is set by, so that the test images
            choose nothing.

    Returns:
        The content of results.json: data, machine, versions, out_of_class (`train.out_of_class`), another_teacher
        (whether another teacher than the one measured taught the distilled student), and for each role in "models"
        what `result_of` returns.
    """
    results: dict[str, dict] = {}
    configs: dict[str, dict] = {}
    teacher_logits = out_of_class = None
    images = test.to(device).images
    one = torch.zeros(1, *images.shape[1:]).contiguous(memory_format=torch.channels_last)  # as on the page
    for role in models.ROLES:
        network, config = checkpoint.load_as(role, checkpoints / role)
        configs[role] = config
        evaluation.check_data(checkpoints / role, config, test)
        network.to(memory_format=torch.channels_last)
        latency = evaluation.latencies({role: network}, one)[role]
        network.to(device, memory_format=torch.channels_last)
        normalisation = checkpoint.normalisation_of(config)
        if role == "teacher" and may_warn(config, test):
            on_test = responses(network, images, normalisation)
            out_of_class = measure_warning(
                network, normalisation, validation.to(device).images, validation.labels, on_test,
                measure_omitted_class(checkpoints, validation, test, device),
            )  # fmt: skip
            logits = on_test.logits
        else:
            logits = evaluation.predict(network, images, normalisation)
        if role == "teacher":
            teacher_logits = logits
        results[role] = result_of(network, config, logits, teacher_logits, test) | {"latency_ms": latency}
    return {
        "models": results,
        "another_teacher": not checkpoint.is_taught_by(configs["distilled"], configs["teacher"]),
        "out_of_class": out_of_class,
        "data": test.description,
        "machine": machine(torch.device("cpu")),
        "latency_runs": evaluation.LATENCY_RUNS,
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
    }


def tell_of_other_images(checkpoints: Path, configs: dict[str, dict], training: LabelledImages) -> None:
    """Say where networks were trained on other images of one's own: the test images may be parted off anew since."""
    if training.description["name"] == cifar10.NAME:  # whose test images are those of its release
        return
    for role, config in configs.items():
        if config["data"].get("sha256") != training.description["sha256"]:
            print(
                f"{checkpoints / role} was trained on other images than there are now: unless the test images lie in "
                "a folder test/ of their own, it may have seen some of them",
                file=sys.stderr,
            )


def may_warn(teacher: dict, test: LabelledImages) -> bool:
    """Whether the page warns of photos outside the classes of this teacher; `teacher` is its config.json.

    The strange images that the warning is set by are of CIFAR-10's size, and it asks the first layer of a network that
    `kd.models` takes apart.
    """
    return teacher["architecture"] in models.ARCHITECTURES and test.description["name"] == cifar10.NAME


def result_of(
    network: nn.Module, config: dict, logits: Tensor, teacher_logits: Tensor, test: LabelledImages
) -> dict[str, object]:
    """What results.json says of a network.

    Args:
        config: of its checkpoint.
        logits, teacher_logits: its own and the teacher's of the test images, (N, K).

    Returns:
        accuracy, ece and per_class_accuracy (0 to 1), nll (nats), agreement with the teacher (0 to 1), largest_logit
        (of the test images, from its image's mean), parameters, macs (of one image), bytes (of the weight files),
        weights (their digest), and how it was trained. `evaluate` adds latency_ms (one core, batch 1).
    """
    return {
        **evaluation.measure(logits, test.labels),
        "per_class_accuracy": evaluation.per_class_accuracy(logits, test.labels, test.classes),
        "agreement": evaluation.agreement(logits, teacher_logits),
        "largest_logit": evaluation.largest_logit(logits),
        "parameters": models.count_parameters(network),
        "macs": models.count_macs(
            config["architecture"],
            config["stem"],
            classes=len(test.classes),
            image_size=checkpoint.image_size_of(config),
        ),
        "bytes": checkpoint.weight_bytes(config),
        "weights": checkpoint.digest(config),
        "architecture": config["architecture"],
        "epochs_done": config["epochs_done"],
        "epochs_before": checkpoint.epochs_before(config),
        "foreign_weights": checkpoint.has_foreign_weights(config),
        "seed": config["seed"],
        "recipe": config["recipe"],
        "machine": config["machine"],
        "data": config["data"],
    }


if __name__ == "__main__":
    main()
