"""The command-line options that several commands share, each declared once."""

import argparse
from dataclasses import Field
from pathlib import Path

from kd.data_dir import DEFAULT
from kd.recipe import DEFAULT_RECIPE, RECIPES, option_name


def add_recipe(parser: argparse.ArgumentParser, default: str | None = DEFAULT_RECIPE) -> None:
    parser.add_argument(
        "--recipe", choices=RECIPES, default=default, help=f"named preset ({default or 'that of the study'})"
    )


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, default=DEFAULT, metavar="DIR",
                        help="folder with cifar-10-batches-py in it, or an empty one to download it to; a folder of "
                        f"pictures, train/CLASS/*; or the word digits, for scikit-learn's ({DEFAULT})")  # fmt: skip


def add_checkpoints(parser: argparse.ArgumentParser, **keywords: object) -> None:
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), metavar="DIR",
                        help="folder with teacher/, student/ and distilled/ (checkpoints)", **keywords)  # fmt: skip


def add_jobs(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument("--jobs", type=positive, default=default, metavar="N",
                        help=f"runs side by side, which share the CPU's cores or the GPU ({default})")  # fmt: skip


def add_seeds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=positive, metavar="N", help="runs of each arm (the study's own number)")


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def add_output_dir(parser: argparse.ArgumentParser, default: str, holds: str) -> None:
    parser.add_argument("--output-dir", type=Path, default=Path(default), metavar="DIR", help=f"{holds} ({default})")


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:1, mps ... (auto: a CUDA GPU where there is one, else the CPU)",
    )


def add_compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--compile", action="store_true", help="run the networks through torch.compile")


def add_document(parser: argparse.ArgumentParser, what: str = "write the table between this file's markers") -> None:
    parser.add_argument("--document", type=Path, metavar="FILE", help=what)


def add_recipe_option(group: argparse._ArgumentGroup, entry: Field, role: str = "") -> None:
    """Add the option that sets one field of the recipe; with a role, the help tells what each preset has."""
    presets = {name: _number(getattr(RECIPES[name][role], entry.name)) for name in RECIPES if role}
    values = ", ".join(f"{name} {value}" for name, value in presets.items() if value)
    explanation, choices = entry.metadata["help"], entry.metadata["choices"]
    keywords: dict = {"dest": entry.name, "default": None}
    if choices:
        keywords |= {"choices": choices}
    elif entry.type is str:
        keywords |= {"metavar": "NAME"}
    else:
        keywords |= {"type": entry.type, "metavar": "N" if entry.type is int else "X"}
        explanation += f"; range {_number(entry.metadata['low'])} to {_number(entry.metadata['high'])}"
    explanation += f" ({values})" if values else ""
    group.add_argument(option_name(entry.name), help=explanation, **keywords)


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
