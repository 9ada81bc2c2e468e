"""One training run from the command line: options, data, network, loop, checkpoint.

The scripts `train.teacher`, `train.student` and `train.distill` differ in the role they pass.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as distributed
import torchvision

from kd import checkpoint, models
from kd.checkpoint import STATE, CheckpointError, remove_state
from kd.data_dir import open_data, recipe_defaults
from kd.dataset import DataError, DataSet, LabelledImages, example_positions
from kd.device import DeviceError, Processes, chosen_precision, machine, process_device, wait_for_all
from kd.files import make_writable, write_atomically
from kd.hub import read_weights
from kd.memory import keep_freed_memory
from kd.models import ARCHITECTURES, NetworkError
from kd.recipe import RECIPES, Recipe, RecipeError, as_config, from_config
from kd.recording import RECORDING, Recorder, recorded_images
from kd.subsets import keep_labels, labelled_positions, omit_class
from kd.training import TrainingError, check_batch_size, train
from train.options import add_compile, add_data_dir, add_device, add_output_dir, add_recipe, add_recipe_option
from train.teachers import check_fits, description_of, logits_dirs, read_teacher, tell_what_follows, together

PARTS = ("commit", "machine", "precision")  # of config.json, which differ where a run went on elsewhere
THEN = ", then "  # between them


def main(role: str, arguments: list[str] | None = None) -> None:
    """Train the network of a role; exit with a sentence where that cannot be done."""
    parser = make_parser(role)
    options = parser.parse_args(arguments)
    # Ended from outside, by a study or a shutdown, it tidies up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        recipe = chosen_recipe(options, role)
    except RecipeError as error:
        parser.error(str(error))
    try:
        run(role, options, recipe)
    except (TrainingError, CheckpointError, DataError, DeviceError, NetworkError, RecipeError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    except torch.OutOfMemoryError:
        sys.exit(
            f"{parser.prog}: the GPU's memory is full: give a smaller --batch-size, or end what else takes it. "
            "What was saved is kept"
        )
    except KeyboardInterrupt:
        again = "the same command" + (" (once an epoch is done, without --restart)" if options.restart else "")
        sys.exit(f"{parser.prog}: interrupted; {again} goes on from the last finished epoch")
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def run(role: str, options: argparse.Namespace, recipe: Recipe) -> None:
    """Train by `recipe`, writing a checkpoint to `options.output_dir` each epoch."""
    check_folders(role, options)
    device = process_device(options.device)
    first = join_processes(device)
    keep_freed_memory()
    if options.compile:
        check_compiles(device)
    if options.network:  # whoever gives the command has named whose code builds it
        models.allow(options.network)
    precision = chosen_precision(recipe.precision, device, recipe.stem)
    taught_by = [read_teacher(path, device) for path in options.teacher] if role == "distilled" else []
    keeps_logits = any(each.config for each in taught_by)  # not those of a file
    folders = {"--output-dir": options.output_dir}
    if keeps_logits:
        folders["--teacher-logits"] = options.teacher_logits
    for option, folder in folders.items():
        try:
            make_writable(folder)  # if it cannot be written to, better now than in an hour
        except OSError as error:
            raise TrainingError(f"{folder} cannot be written to ({error.strerror}): name another {option}") from error
    data, training, validation = read_data(options, recipe, first)
    for each in taught_by:
        check_fits(each, data, training, validation)
    teacher = together(taught_by, recipe, recipe.constants(training), options) if taught_by else None
    for each in taught_by if first else ():
        tell_what_follows(each, recipe.image_size)
    recorder = make_recorder(data, validation, recipe, options) if options.record else None
    training, validation, withheld = withhold(training, validation, options, recipe)
    training, validation = training.to(device), validation.to(device)

    network, started_from = begin(role, recipe, data.classes, options)
    network.to(device)
    described = [each.description for each in taught_by]
    config = describe(role, options.recipe, recipe, network, training) | {
        "teacher": description_of(described, options) if described else None,
        "started_from": started_from,
        "data": {**training.description, **withheld},
        "precision": precision,
    }
    if teacher:
        teacher.to(device, memory_format=torch.channels_last)

    check_batch_size(recipe, len(training), Processes.current())  # before anything is removed
    if is_done_already(options.output_dir, config, options.restart, first):
        return
    config |= all_parts(options.output_dir, config)
    wait_for_all()
    if first:
        print(f"{config['machine']}, {precision}, {torch.get_num_threads()} threads", flush=True)
    train(
        network,
        training,
        validation,
        recipe,
        options.output_dir,
        teacher=teacher,
        logits_dir=logits_dirs(taught_by, options, recipe, config),
        precision=precision,
        compiled=options.compile,
        recorder=recorder,
        export=partial(write_checkpoint, options.output_dir, config),
        run=checkpoint.identity(config),
    )
    if first:
        print(f"{options.output_dir}: {recipe.epochs} epochs done")


def check_compiles(device: torch.device) -> None:
    """Raise TrainingError where torch.compile makes no code: before anything is removed, and in a sentence."""
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except Exception as error:  # of PyTorch's inside, and of what it calls
        reason = str(error).strip().partition("\n")[0]
        wanted = "wants a C++ compiler" if device.type == "cpu" else "wants Triton"
        raise TrainingError(f"--compile {wanted}, and fails here ({reason}): leave it out") from error


def check_folders(role: str, options: argparse.Namespace) -> None:
    """Raise TrainingError where a run would write over the networks that it begins with or learns from."""
    given = []
    if role == "distilled":
        given = options.teacher
    elif role == "teacher":
        given = [options.start_from, options.weights]
    folders = [Path(each).parent if Path(each).is_file() else Path(each) for each in given if each]
    if options.output_dir.resolve() in [folder.resolve() for folder in folders]:
        raise TrainingError(
            f"{options.output_dir} holds what this run would begin with or learn from, and write over: choose another "
            "--output-dir"
        )


def join_processes(device: torch.device) -> bool:
    """Join the other processes where torchrun started this one; returns whether it is the first."""
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() and not distributed.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # The first process may pack pictures for hours while the others wait.
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=1))
    return not distributed.is_initialized() or distributed.get_rank() == 0


def read_data(
    options: argparse.Namespace, recipe: Recipe, first: bool
) -> tuple[DataSet, LabelledImages, LabelledImages]:
    """The data set with its split; the first process may have to download or to pack it while the others wait."""
    if not first:
        wait_for_all()
    data = open_data(options.data_dir, recipe.image_size, options.strict)
    split = data.split()
    if first:
        wait_for_all()
    return data, *split


def make_recorder(data: DataSet, validation: LabelledImages, recipe: Recipe, options: argparse.Namespace) -> Recorder:
    """The recorder of a run; of the test images it takes ten pictures to show, which decide nothing."""
    test = data.test()
    images = recorded_images(test[example_positions(test.labels)], validation)
    return Recorder(images, recipe.constants(validation), options.output_dir)


def withhold(
    training: LabelledImages, validation: LabelledImages, options: argparse.Namespace, recipe: Recipe
) -> tuple[LabelledImages, LabelledImages, dict]:
    """Keep from the network what the options say; returns both sets, and what config.json says of them.

    Raises:
        TrainingError: the options contradict each other or the loss.
    """
    kept_unlabelled = getattr(options, "keep_unlabelled", False)
    if kept_unlabelled and options.label_fraction == 1:
        raise TrainingError("--keep-unlabelled needs a --label-fraction under 1: else no image is without its label")
    if kept_unlabelled and recipe.loss == "dkd":
        raise TrainingError("--loss dkd asks for every image's label: leave out --keep-unlabelled")
    dropping = options.omitted_class or (options.label_fraction < 1 and not kept_unlabelled)
    if dropping and (training.block or validation.block):
        raise TrainingError(
            f"these pictures are too many for the memory ({len(training):,}), where --omitted-class and "
            "--label-fraction copy those that are kept: give a smaller --image-size, or put those that are wanted into "
            "a folder of their own"
        )
    said: dict = {}
    if options.omitted_class and options.omitted_class not in training.classes:
        raise TrainingError(
            f"--omitted-class {options.omitted_class} is not one of the classes: {', '.join(training.classes)}"
        )
    if options.omitted_class:
        training, validation = (omit_class(images, options.omitted_class) for images in (training, validation))
        said["omitted_class"] = options.omitted_class
    said |= {"trained_on": len(training), "validated_on": len(validation)}
    if options.label_fraction < 1:
        labels = len(labelled_positions(training.labels, options.label_fraction))
        training = keep_labels(training, options.label_fraction, kept_unlabelled)
        said |= {"labels": labels, "label_fraction": options.label_fraction}
        said["trained_on"] = len(training) if kept_unlabelled else labels
    return training, validation, said


def describe(role: str, recipe_name: str, recipe: Recipe, network: torch.nn.Module, training: LabelledImages) -> dict:
    """What config.json says of a network and of how it is trained, before the first epoch."""
    architecture, classes = recipe.architecture(role), training.classes
    mean, std = recipe.constants(training)
    return {
        "role": role,
        "architecture": architecture,
        "stem": recipe.stem,
        "classes": list(classes),
        "image_size": recipe.image_size,
        "normalisation": {"name": recipe.normalisation, "mean": mean, "std": std},
        "parameters": models.count_parameters(network),
        "macs": models.count_macs(architecture, recipe.stem, classes=len(classes), image_size=recipe.image_size),
        "recipe": as_config(recipe_name, recipe),
        "seed": recipe.seed,
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        "machine": machine(next(network.parameters()).device),
        "commit": commit(),
    }


def commit() -> str | None:
    """The commit that the code is at; None outside a clone, marked where the code of kd/ or train/ differs from it."""
    git = partial(subprocess.run, cwd=Path(__file__).parent, capture_output=True, text=True)
    try:
        found = git(["git", "rev-parse", "--verify", "--short=12", "HEAD"]).stdout.strip()
        # Not what lies in checkpoints/: a study writes there between its runs.
        changed = git(["git", "diff", "--quiet", "HEAD", "--", ":/kd", ":/train"]).returncode == 1
    except OSError:  # a machine without git
        return None
    return f"{found}-dirty" if found and changed else found or None


def write_checkpoint(folder: Path, config: dict, network: torch.nn.Module, history: list[dict]) -> None:
    """Write a run's checkpoint and history, of all epochs so far."""
    metrics = {key: history[-1][key] for key in ("loss", "accuracy", "validation_loss", "validation_accuracy")}
    lines = "".join(json.dumps(epoch) + "\n" for epoch in history)
    write_atomically(folder / checkpoint.HISTORY, lambda path: path.write_text(lines, "utf-8"))
    checkpoint.save(network, {**config, "epochs_done": len(history), "metrics": metrics}, folder)


def is_done_already(folder: Path, config: dict, restart: bool, first: bool) -> bool:
    """Whether the output folder holds this very run, finished; `restart` removes first what it holds."""
    if restart and first:
        remove_run(folder)
    wait_for_all()  # all processes look into the folder before the first one writes to it
    done = finished(folder, config)
    if done and first:
        remove_state(folder)  # left where a run was killed between its last two steps
        print(f"{folder} holds this run already, all {config['recipe']['epochs']} epochs of it; --restart trains anew")
    return done


def finished(folder: Path, config: dict) -> bool:
    """Whether the output folder holds this very run, finished.

    Raises:
        TrainingError: it holds another run, which would be lost, or one that cannot go on.
    """
    if not (folder / checkpoint.CONFIG).exists():
        return False
    before = checkpoint.load_config(folder)
    try:
        asked, found = (
            as_config(*from_config(each["recipe"])) | checkpoint.identity(each) for each in (config, before)
        )
        differing = [key for key in asked if asked[key] != found[key]]
    except RecipeError:  # a field that is gone since
        differing = ["recipe"]
    if differing:
        raise TrainingError(
            f"{folder} holds a run that differs in {', '.join(differing)}: choose another --output-dir, "
            "or give --restart to replace it"
        )
    if before["epochs_done"] < config["recipe"]["epochs"] and not (folder / STATE).exists():
        raise TrainingError(
            f"{folder} holds an unfinished run without its {STATE}: give --restart to train from the start"
        )
    return before["epochs_done"] == config["recipe"]["epochs"]


def all_parts(folder: Path, config: dict) -> dict[str, str | None]:
    """Each commit, machine and precision of a run that goes on, in their order, for its config.json."""
    before = checkpoint.load_config(folder) if (folder / checkpoint.CONFIG).exists() else {}
    parts = {key: [*str(before.get(key) or "").split(THEN), config[key] or ""] for key in PARTS}
    return {key: THEN.join(dict.fromkeys(filter(None, names))) or None for key, names in parts.items()}


def remove_run(folder: Path) -> None:
    """Remove a run's own files from a folder, and nothing else; the state first, without which nothing goes on."""
    remove_state(folder)
    for pattern in (checkpoint.CONFIG, checkpoint.HISTORY, RECORDING, "model*.safetensors*"):
        for path in folder.glob(pattern):
            path.unlink()


def begin(
    role: str, recipe: Recipe, classes: Sequence[str], options: argparse.Namespace
) -> tuple[torch.nn.Module, dict | None]:
    """A network with the weights of its seed, or those of --start-from or --weights and what config.json says of them.

    Only a teacher may begin with given weights: students that are compared begin with those of their seed.

    Raises:
        CheckpointError: there are no weights there.
        TrainingError: they are another network's.
    """
    torch.manual_seed(recipe.seed)  # the initial weights follow from the seed, not from the role
    network = models.build(recipe.architecture(role), recipe.stem, len(classes), recipe.dropout)
    if role == "teacher" and options.start_from:
        return network, load_checkpoint(network, options.start_from, recipe, classes)
    if role == "teacher" and options.weights:
        started_from = load_weights(network, options.weights)
        if started_from["anew"] and Processes.current().rank == 0:
            print(f"{options.weights}: all but {', '.join(started_from['anew'])}, which begins anew", flush=True)
        return network, started_from
    return network, None


def load_checkpoint(network: torch.nn.Module, folder: Path, recipe: Recipe, classes: Sequence[str]) -> dict:
    """Give a network the weights of a checkpoint of its like; returns what config.json says of that one."""
    trained, config = checkpoint.load(folder)
    architecture = recipe.architecture("teacher")
    if (config["architecture"], config["stem"]) != (architecture, recipe.stem):
        alike = f"--network {config['architecture']} " if config["architecture"] != architecture else ""
        alike += f"--stem {config['stem']}"
        raise TrainingError(
            f"--start-from {folder} holds a {config['architecture']} with the stem {config['stem']}, this run trains "
            f"a {architecture} with the stem {recipe.stem}: name another checkpoint, or pass {alike}"
        )
    if list(config["classes"]) != list(classes):
        raise TrainingError(
            f"--start-from {folder} knows other classes than these data have: give its weights by --weights {folder}, "
            "which takes a last layer of another size anew"
        )
    network.load_state_dict(trained.state_dict())
    return {
        "epochs_done": checkpoint.epochs_before(config) + config["epochs_done"],
        **{key: config[key] for key in ("recipe", "weights", "machine")},
    }


def load_weights(network: torch.nn.Module, where: str) -> dict:
    """Give a network the weights of a file, a folder or a repository; a last layer of another size begins anew."""
    tensors, files = read_weights(where)
    try:
        anew = models.load_body(network, tensors)
    except NetworkError as error:
        raise TrainingError(f"--weights {where}: {error}") from error
    return {"epochs_done": 0, "recipe": None, "weights": files, "machine": None, "anew": anew}


def make_parser(role: str) -> argparse.ArgumentParser:
    """The options of a role's script: those of the recipe's fields, and those of the run itself."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {models.SCRIPT_OF_ROLE[role]}",
        description=f"Train the {role} network. Options that are not given come from the recipe.",
        epilog="An interrupted run given the same command (without --restart) goes on from its last finished epoch.",
    )
    add_recipe(parser)
    if role == "distilled":
        parser.add_argument("--teacher", type=Path, action="append", required=True, metavar="DIR",
                            help="checkpoint of the teacher, or a file of logits; given several times, the student "
                            "learns from the mean of the teachers' softened probabilities")  # fmt: skip
        parser.add_argument("--teacher-weight", type=float, action="append", metavar="X",
                            help="share of each of several teachers, in their order (all alike)")  # fmt: skip
        parser.add_argument("--teacher-logits", type=Path, default=Path("runs") / "teacher-logits", metavar="DIR",
                            help="keep its logits here, for all students that show it the same views "
                            "(runs/teacher-logits)")  # fmt: skip
    if role == "teacher":
        given = parser.add_mutually_exclusive_group()
        given.add_argument("--start-from", type=Path, metavar="DIR",
                           help="begin with this checkpoint's weights instead of random ones")  # fmt: skip
        given.add_argument("--weights", metavar="WHERE",
                           help="begin with the weights of a .safetensors file, of a folder with model*.safetensors, "
                           "or of a repository hf://OWNER/NAME; a last layer of another size begins anew")  # fmt: skip
    add_data_dir(parser)
    parser.add_argument("--label-fraction", type=label_fraction, default=1.0, metavar="X",
                        help="share of the images whose labels are known; the others are dropped (1)")  # fmt: skip
    if role == "distilled":
        parser.add_argument("--keep-unlabelled", action="store_true",
                            help="keep the images without a label: of them the teacher alone speaks")  # fmt: skip
    parser.add_argument("--omitted-class", metavar="CLASS", help="a class of which no image is ever shown")
    add_output_dir(parser, f"checkpoints/{role}", "folder of the checkpoint")
    add_device(parser)
    parser.add_argument("--strict", action="store_true",
                        help="stop at a picture that cannot be read, instead of leaving it out")  # fmt: skip
    parser.add_argument("--record", action="store_true",
                        help="store the logits of some hundred images at many moments, for the replay")  # fmt: skip
    add_compile(parser)
    parser.add_argument(
        "--restart", action="store_true", help="discard what --output-dir holds and train from the start"
    )
    group = parser.add_argument_group("recipe", "default: " + ", ".join(RECIPES) + ", as --recipe says")
    for entry in fields(Recipe):
        add_recipe_option(group, entry, role)
    return parser


def label_fraction(text: str) -> float:
    """The value of --label-fraction."""
    fraction = float(text)
    if not 0 < fraction <= 1:  # which NaN is not either
        raise argparse.ArgumentTypeError(f"{text} is not over 0 and at most 1")
    return fraction


def chosen_recipe(options: argparse.Namespace, role: str) -> Recipe:
    """The preset with the given options put in.

    Raises:
        RecipeError: a value is out of its range.
    """
    given = {entry.name: getattr(options, entry.name) for entry in fields(Recipe)}
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("network", "") not in ("", *ARCHITECTURES):  # which has no stem to choose
        given = {"stem": "imagenet"} | given
    if given.get("stem") == "imagenet":  # which has no early stride to take out
        given = {"early_downsampling": 0.0} | given
    return RECIPES[options.recipe][role].changed(**recipe_defaults(options.data_dir) | given)
