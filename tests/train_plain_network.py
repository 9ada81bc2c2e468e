"""Train a network whose images do not touch each other, by the training loop, on the subset.

    python -m tests.train_plain_network OUTPUT_FOLDER
    torchrun --nproc-per-node 2 -m tests.train_plain_network OUTPUT_FOLDER

Batch norm and dropout would make a batch's result depend on how it is shared out among processes;
without them, two processes have to follow one to rounding, also where they are interrupted after an
epoch and go on. The folder gets weights.pt, history.json and the teacher's logits.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as distributed
from torch import nn

from kd.cifar10 import read_split
from kd.recipe import Recipe
from kd.teacher import CachedLogits, FrozenTeacher
from kd.training import train

RECIPE = Recipe(epochs=3, batch_size=64, learning_rate=0.1, rotation=10, cutout=4)


def make_network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(784, 10),
    )


class Interruption(FrozenTeacher):
    """A teacher that has to go after the first epoch."""

    def logits_in(self, epoch: int, folder: Path | None) -> CachedLogits:
        if epoch > 0:
            raise KeyboardInterrupt
        return super().logits_in(epoch, folder)


def main(folder: Path, interrupted: bool = False) -> None:
    torch.set_num_threads(1)
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo")
    training, validation = read_split(Path(__file__).parent / "data")
    for teaching in (Interruption, FrozenTeacher) if interrupted else (FrozenTeacher,):
        network, teacher = make_network(seed=0), teaching(make_network(seed=1))
        with suppress(KeyboardInterrupt):
            history = train(
                network, training, validation, RECIPE, folder, teacher=teacher, logits_dir=folder / "logits"
            )
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), folder / "weights.pt")
        (folder / "history.json").write_text(json.dumps(history), "utf-8")
    if distributed.is_initialized():
        distributed.destroy_process_group()


def beside_others(folder: Path, rank: int, processes: int, port: int) -> None:
    """Do it as one of several processes, which meet at a port of this machine, and are interrupted."""
    place = {"RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    main(folder, interrupted=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
