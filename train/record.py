"""Record finished networks that were trained without --record: what the page's map of classes is drawn from.

    python -m train.record runs/teacher runs/student runs/distilled

Each folder gets a recording of one moment, the network as it is, or that moment behind what was recorded of its
training (see `kd.recording`).
"""

import argparse
import sys
from pathlib import Path

from kd.checkpoint import CheckpointError, image_size_of, load_config
from kd.data_dir import open_data
from kd.dataset import DataError, example_positions
from kd.evaluation import check_classes
from kd.recording import RECORDING, RecordingError, record_finished
from train.options import add_data_dir


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.record", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help="folder of a network")
    add_data_dir(parser)
    options = parser.parse_args(arguments)
    try:
        configs = {folder: load_config(folder) for folder in options.checkpoints}
        images = {}
        for size in {image_size_of(config) for config in configs.values()}:
            data = open_data(options.data_dir, size)
            for folder, config in configs.items():
                check_classes(folder, config, data.classes)
            test, (_, validation) = data.test(), data.split()
            images[size] = test[example_positions(test.labels)], validation
        for folder, config in configs.items():
            examples, validation = images[image_size_of(config)]
            accuracy = record_finished(folder, examples, validation)
            size = (folder / RECORDING).stat().st_size
            print(f"{folder / RECORDING}: {size / 1000:.1f} kB; validation accuracy {accuracy:.2%}", flush=True)
    except (CheckpointError, RecordingError, DataError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
