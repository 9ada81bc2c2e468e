"""Store a trained network in half the space, if its validation accuracy stays.

    python -m train.halve runs/teacher checkpoints/teacher

Convolutions and linear layers go to float16 (see `kd.checkpoint.save`). If the accuracy on the
5,000 validation images moves by more than .1 points, the weights are copied in float32 instead.
Either way config.json says what was compared. History and recording go along.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from kd import checkpoint, evaluation
from kd.checkpoint import CheckpointError
from kd.data_dir import open_data
from kd.dataset import DataError
from kd.recording import RECORDING
from train.options import add_data_dir

TOLERANCE = 0.001  # of accuracy: .1 points, five of 5,000 images, a quarter of what chance makes of so many


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.halve", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="checkpoint to read")
    parser.add_argument("target", type=Path, help="checkpoint to write")
    add_data_dir(parser)
    options = parser.parse_args(arguments)
    if options.source.resolve() == options.target.resolve():
        parser.error("source and target are the same folder: the float32 weights would be lost")
    try:
        check_replaces(options.source, options.target)
        stored = halve(options.source, options.target, options.data_dir)
    except (CheckpointError, DataError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print(
        f"{options.target}: {stored['weights']}; validation accuracy {stored['validation_accuracy_float32']:.2%} "
        f"in float32, {stored['validation_accuracy_float16']:.2%} in float16"
    )


def halve(source: Path, target: Path, data_dir: Path) -> dict:
    """Write `source` to `target` in the smaller precision that keeps its accuracy; say which."""
    network, config = checkpoint.load(source)
    data = open_data(data_dir, checkpoint.image_size_of(config))
    evaluation.check_classes(source, config, data.classes)
    _, validation = data.split()
    with tempfile.TemporaryDirectory() as trial:
        checkpoint.save(network, config, trial, half=True)
        full, half = (
            evaluation.accuracy(evaluation.checkpoint_logits(folder, validation), validation.labels)
            for folder in (source, trial)
        )
    fits = round(abs(full - half), 6) <= TOLERANCE  # a difference of just the tolerance is not to fail by rounding
    stored = {
        "weights": "float16" if fits else "float32",
        "validation_accuracy_float32": full,
        "validation_accuracy_float16": half,
        "made_of": checkpoint.digest(config),
    }
    target.mkdir(parents=True, exist_ok=True)
    for name in (checkpoint.HISTORY, RECORDING):  # before the checkpoint, which says that all is there
        (target / name).unlink(missing_ok=True)  # another network's
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    checkpoint.save(network, config | {"stored_in": stored}, target, half=fits)
    return stored


def check_replaces(source: Path, target: Path) -> None:
    """Raise CheckpointError where a run lies at the target, or what was made of another role or other classes."""
    if not (target / checkpoint.CONFIG).exists():
        return
    ours, there = checkpoint.load_config(source), checkpoint.load_config(target)
    if "stored_in" not in there or any(there[key] != ours[key] for key in ("role", "classes")):
        raise CheckpointError(
            f"{target} holds a {there['role']} that would be lost: name another target, or delete {target} first"
        )


if __name__ == "__main__":
    main()
