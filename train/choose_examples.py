"""Choose the page's ten examples from the test set, for the networks in checkpoints/.

    python -m train.choose_examples

One image a class, where teacher and students see different things. The classes take turns:

- `follows`: teacher and distilled student give the label, the student alone another class.
- `doubts`: the teacher gives its first answer at most 60 %.

Each time the label is among every network's first two answers, so that none of them is absurd, and
of such images the one is taken whose three distributions at T = 4 lie farthest apart, by the
Jensen-Shannon divergence. Where a class has no such image, all of its images compete. Choosing by
disagreement makes the ten untypical: examples.json and the page say so.
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from kd import checkpoint, evaluation
from kd.checkpoint import CheckpointError
from kd.cifar10 import CLASSES, DataError, LabelledImages, read_test_set
from kd.losses import soft_targets
from kd.recipe import ROLES, Recipe

TEMPERATURE = Recipe.temperature  # 4, at which the page opens
DOUBT = 0.6  # the most a doubting teacher gives its first answer, at T = 1
SOURCE = {
    "source": "CIFAR-10, test set: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, "
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    "licence": "Its authors state no licence; the photos came from the web and belong to those who took them. "
    "Shown here for teaching and research, as the data set is used everywhere.",
    "chosen": "Not typical: one image a class on which the shipped networks disagree; train/choose_examples.py "
    "has the rule.",
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.choose_examples", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), metavar="DIR",
                        help="folder with teacher/, student/ and distilled/ (checkpoints)")  # fmt: skip
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR",
                        help="folder with cifar-10-batches-py in it, or to download it to (data)")  # fmt: skip
    parser.add_argument("--output-dir", type=Path, default=Path("kd/demo/examples"), metavar="DIR",
                        help="where the ten images and examples.json go (kd/demo/examples)")  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        test = read_test_set(options.data_dir)
        logits = all_logits(options.checkpoints, test)
        chosen = choose(logits, test.labels)
        write(chosen, logits, test, options.output_dir)
    except (CheckpointError, DataError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    for name, (kind, position) in zip(CLASSES, chosen, strict=True):
        print(f"{name:10}  test image {position:4}  {kind}")


def all_logits(checkpoints: Path, test: LabelledImages) -> dict[str, Tensor]:
    """Each network's logits of the test images, (N, 10)."""
    logits = {}
    for role in ROLES:
        network, config = checkpoint.load(checkpoints / role)
        network.to(memory_format=torch.channels_last)
        logits[role] = evaluation.predict(network, test.images, checkpoint.normalisation_of(config))
    return logits


def choose(logits: dict[str, Tensor], labels: Tensor) -> list[tuple[str, int]]:
    """For each class, of which kind its example is and its position among the images.

    Args:
        logits: by role, (N, 10).
        labels: int64, (N,).
    """
    answers = {role: of_role.argmax(dim=1) for role, of_role in logits.items()}
    first_two = torch.stack([of_role.topk(2).indices for of_role in logits.values()])
    plausible = (first_two == labels[:, None]).any(dim=2).all(dim=0)
    kinds = {
        "follows": plausible
        & (answers["teacher"] == labels)
        & (answers["distilled"] == labels)
        & (answers["student"] != labels),
        "doubts": plausible & (soft_targets(logits["teacher"], 1).amax(dim=1) <= DOUBT),
    }
    divergence = jensen_shannon([soft_targets(of_role, TEMPERATURE) for of_role in logits.values()])
    chosen = []
    for label in range(len(CLASSES)):
        kind = list(kinds)[label % len(kinds)]
        of_class = labels == label
        eligible = of_class & kinds[kind]
        if not eligible.any():
            kind, eligible = "differs", of_class
        chosen.append((kind, divergence.where(eligible, -torch.inf).argmax().item()))
    return chosen


def jensen_shannon(distributions: list[Tensor]) -> Tensor:
    """Entropy of the mean less the mean entropy, in nats (Lin 1991, eq. 5.1, equal weights): 0 where all agree.

    Args:
        distributions: (N, K) each, rows summing to 1.

    Returns:
        (N,), 0 to log(number of distributions).
    """

    def entropy(p: Tensor) -> Tensor:
        return torch.special.entr(p).sum(dim=1)

    together = torch.stack(distributions)
    return entropy(together.mean(dim=0)) - torch.stack([entropy(p) for p in distributions]).mean(dim=0)


def write(chosen: list[tuple[str, int]], logits: dict[str, Tensor], test: LabelledImages, folder: Path) -> None:
    """The ten images as PNG, named by class, and examples.json beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    examples = []
    for name, (kind, position) in zip(CLASSES, chosen, strict=True):
        pixels = test.images[position].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{name}.png", optimize=True)
        answers = {role: CLASSES[of_role[position].argmax()] for role, of_role in logits.items()}
        examples.append(
            {
                "file": f"{name}.png",
                "label": CLASSES[test.labels[position]],
                "test_index": position,
                "kind": kind,
                "answers": answers,
            }
        )
    checkpoint.write_json(folder / "examples.json", {**SOURCE, "data": test.description, "examples": examples})


if __name__ == "__main__":
    main()
