"""The command-line options that several commands share, each declared once."""

import argparse
from pathlib import Path

from kd.recipe import DEFAULT_RECIPE, RECIPES


def add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", choices=RECIPES, default=DEFAULT_RECIPE, help=f"named preset ({DEFAULT_RECIPE})")


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR",
                        help="folder with cifar-10-batches-py in it, or to download it to; a folder of pictures, "
                        "train/CLASS/*; or the word digits, for scikit-learn's (data)")  # fmt: skip


def add_output_dir(parser: argparse.ArgumentParser, default: str, holds: str) -> None:
    parser.add_argument("--output-dir", type=Path, default=Path(default), metavar="DIR", help=f"{holds} ({default})")


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ... (auto: a GPU where there is one)"
    )


def add_compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--compile", action="store_true", help="run the networks through torch.compile")


def add_document(parser: argparse.ArgumentParser, what: str = "write the table between this file's markers") -> None:
    parser.add_argument("--document", "--readme", type=Path, metavar="FILE", help=what)
