"""Checkpoints: weights as safetensors shards under 10 MB, config.json beside them, verified when read.

A checkpoint is a folder:

    config.json                     what the network is and how it came about (see `train.run`)
    model.safetensors               the weights, or shards of them with model.safetensors.index.json
    history.jsonl                   one JSON object an epoch
    training-state.pt               while the run is not at its end: what it needs to go on

config.json holds the size and sha256 of every weight file, so that damage and mixed-up files are
found before a network computes with them. Nothing in the folder is executed: JSON and safetensors
hold data alone.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import safetensors.torch
import torch
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError
from torch import Tensor, nn

from kd import models
from kd.cifar10 import CLASSES, IMAGE_SIZE, NAME, NORMALISATIONS
from kd.dataset import Normalisation
from kd.files import WRITERS, fingerprint, lacking, parsed, to_disk, write_atomically, write_json
from kd.recipe import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, OF_THE_LOSS, Recipe, RecipeError, from_config

try:
    import fcntl
except ImportError:  # Windows: one writer of a folder at a time
    fcntl = None

CONFIG = "config.json"
HISTORY = "history.jsonl"
STATE = "training-state.pt"
STAGING = "checkpoint.tmp"  # with the writer's number, where `save` writes
COMPLETE = "checkpoint.new"  # what that is called once all of it is on the disk, and until it is in its place
INDEX = "model.safetensors.index.json"
METRICS = ("validation_accuracy", "validation_loss")  # of the last epoch, which a run's config.json has
MAX_CLASSES = 1000
MOST_SECONDS = 1e9  # of an epoch: thirty years
BIAS = "omitted_class_bias"  # of a student with an omitted class, once a study has measured it
LARGEST_BIAS = 1000  # of a logit: far beyond what a correction needs
MAX_SHARD_BYTES = 9_500_000  # of tensors; a header of some kilobytes comes on top


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or foreign; the message names it and the way out."""


def save(network: nn.Module, config: dict, folder: str | Path, *, half: bool = False) -> None:
    """Write a checkpoint; until all of it is on the disk, an older one in its place stays whole.

    Of several writers of one folder, processes or threads, each writes whole; the last one's checkpoint stays.

    Args:
        network: its weights are stored as they are, on whatever device.
        config: goes to config.json, with the list of weight files added under "weights".
        folder: created where missing.
        half: store convolutions and linear layers in float16; norm layers and biases, which are
            small and have the wider range, stay in float32.

    Raises:
        OSError: the disk is full or not writable.
    """
    folder = Path(folder)
    weights = {
        # Copied, so that a weight that has two names is stored under both.
        name: tensor.detach().to(
            "cpu",
            torch.float16 if half and tensor.ndim > 1 else tensor.dtype,
            copy=True,
            memory_format=torch.contiguous_format,
        )
        for name, tensor in network.state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f"{STAGING}.{os.getpid()}.{next(WRITERS)}"
    with contextlib.ExitStack() as until_written:
        with _lock(folder):
            _put_in_place(folder)
            _remove_what_killed_writers_left(folder)
            staging.mkdir()
            until_written.callback(shutil.rmtree, staging, ignore_errors=True)
            until_written.enter_context(_lock(staging))
        _write(weights, config, staging)
        with _lock(folder):
            _put_in_place(folder)  # of another writer who was killed meanwhile
            os.rename(staging, folder / COMPLETE)  # all of it is on the disk: from here on, the new checkpoint counts
            to_disk(folder)
            _put_in_place(folder)


def _write(weights: dict[str, Tensor], config: dict, staging: Path) -> None:
    """Write all files of a checkpoint, to the disk."""
    try:
        save_torch_state_dict(weights, staging, max_shard_size=MAX_SHARD_BYTES)
        new = {path.name: fingerprint(path) for path in sorted(staging.iterdir())}
        write_json(staging / CONFIG, {**config, "weights": new})
        for name in new:
            (staging / name).chmod(0o644)  # safetensors writes for the owner alone; a Space reads as another user
            to_disk(staging / name)
        to_disk(staging)
    except SafetensorError as error:  # which does not tell a full disk from anything else
        raise OSError(f"the weights could not be written: {error}") from error


def _remove_what_killed_writers_left(folder: Path) -> None:
    """Remove the unfinished files of writers that are gone; whoever still writes holds the lock of his."""
    for left in folder.glob(f"{STAGING}*"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), _lock(left, wait=False):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold a folder's lock; it ends with this process at the latest.

    Where there are no locks, as on Windows and on some network drives, nothing is held.

    Raises:
        BlockingIOError: another thread or process holds it, and this one is not to wait.
    """
    if fcntl is None:
        yield
        return
    file = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:
            pass
        yield
    finally:
        os.close(file)


def _put_in_place(folder: Path) -> None:
    """Move a complete checkpoint, if there is one, over an older one; for the holder of the folder's lock."""
    complete = folder / COMPLETE
    if not complete.is_dir():
        return
    # The config comes last: while it is still there, these files are not all in their place.
    for path in sorted(complete.iterdir(), key=lambda path: path.name == CONFIG):
        os.replace(path, folder / path.name)
    to_disk(folder)
    weights = json.loads((folder / CONFIG).read_text("utf-8"))["weights"]
    for path in folder.glob("model*.safetensors*"):  # of an older checkpoint
        if path.name not in weights:
            path.unlink()
    complete.rmdir()


def load(folder: str | Path) -> tuple[nn.Module, dict]:
    """Read a checkpoint and verify it.

    Returns:
        The network in evaluation mode, float32, on the CPU; and its config.

    Raises:
        CheckpointError: something is missing, was changed after it was written, or does not fit.
    """
    folder = Path(folder)
    config = load_config(folder)
    while True:
        try:
            return _network(folder, config), config
        except CheckpointError:
            now = load_config(folder)
            if now == config:
                raise
            config = now  # another one was put in its place while this was read


def load_as(role: str, folder: Path) -> tuple[nn.Module, dict]:
    """As `load`, and raises CheckpointError where it is not of that role: it would be taken for another one."""
    network, config = load(folder)
    if config["role"] != role:
        raise CheckpointError(f"{folder} holds a {config['role']}, not a {role}: put the right checkpoint there")
    return network, config


def _network(folder: Path, config: dict) -> nn.Module:
    """The network that a config describes, verified."""
    try:
        weights: dict[str, Tensor] = {}
        for name, expected in config["weights"].items():
            path = folder / name
            if not path.is_file():
                raise CheckpointError(f"{folder} is missing {name}: {_way_out(folder)}")
            # Read once, so that what is verified is what is loaded; and not at all where the size alone is wrong.
            content = path.read_bytes() if path.stat().st_size == expected["bytes"] else b""
            if {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} != expected:
                raise CheckpointError(f"{path} is damaged or not the one that {CONFIG} describes: {_way_out(folder)}")
            if name.endswith(".safetensors"):
                weights |= safetensors.torch.load(content)
        network = models.build(config["architecture"], config["stem"], len(config["classes"]))
        network.load_state_dict(weights)  # copies into the network's own float32 tensors
        for name, tensor in network.state_dict().items():
            if not tensor.isfinite().all() or (name.endswith("running_var") and tensor.min() < 0):
                raise ValueError(f"{name} holds what is no number, infinite, or no variance")
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        if isinstance(error, models.NetworkError) and ":" in config["architecture"]:  # what builds it is not at hand
            raise CheckpointError(f"{folder}: {error}") from error
        raise CheckpointError(
            f"{folder} does not hold the network it describes ({error}): {_way_out(folder)}"
        ) from error
    return network.eval()


def load_config(folder: str | Path) -> dict:
    """Read and check config.json alone, having finished a `save` that was interrupted.

    Raises:
        CheckpointError: it is missing, damaged or foreign.
    """
    folder = Path(folder)
    try:
        if (folder / COMPLETE).is_dir():  # `save` was interrupted before it could put it into its place
            with _lock(folder):
                _put_in_place(folder)
        config = parsed((folder / CONFIG).read_text("utf-8"))
    except FileNotFoundError as error:
        what = f"{folder} is missing {CONFIG}" if folder.is_dir() else f"{folder} does not exist"
        raise CheckpointError(f"{what}: {_way_out(folder)}") from error
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG} cannot be read ({error}): {_way_out(folder)}") from error
    wrong = _wrong_fields(config)
    if wrong:
        raise CheckpointError(f"{folder / CONFIG} is not a checkpoint's: check {', '.join(wrong)}; {_way_out(folder)}")
    return config


def _wrong_fields(config: object) -> list[str]:
    """The fields of a config.json that are missing or cannot be true."""
    kinds = {
        "role": str, "architecture": str, "stem": str, "classes": list, "normalisation": dict,
        "recipe": dict, "seed": int, "epochs_done": int, "data": dict, "machine": str, "weights": dict,
    }  # fmt: skip
    wrong = lacking(config, kinds)
    if not isinstance(config, dict):
        return wrong
    if "role" not in wrong and config["role"] not in models.ROLES:
        wrong.append("role")
    if "weights" not in wrong and not all(_is_weight_file(*entry) for entry in config["weights"].items()):
        wrong.append("weights")
    if "classes" not in wrong and not _are_classes(config["classes"], config.get("data")):
        wrong.append("classes")
    if type(size := image_size_of(config)) is not int or not MIN_IMAGE_SIZE <= size <= MAX_IMAGE_SIZE:
        wrong.append("image_size")
    if "normalisation" not in wrong and not _is_normalisation(config["normalisation"]):
        wrong.append("normalisation")
    if "recipe" not in wrong and not _is_recipe(config["recipe"]):
        wrong.append("recipe")
    if "data" not in wrong and lacking(config["data"], {"name": str, "trained_on": int}):
        wrong.append("data")
    if (before := config.get("started_from")) is not None and lacking(before, {"epochs_done": int}):
        wrong.append("started_from")
    if (metrics := config.get("metrics")) is not None and lacking(metrics, dict.fromkeys(METRICS, float)):
        wrong.append("metrics")
    if (teacher := config.get("teacher")) is not None and lacking(teacher, {"weights": dict}):
        wrong.append("teacher")
    if not isinstance(config.get("stored_in", {}), dict):
        wrong.append("stored_in")
    bias = config.get(BIAS, 0.0)
    if not isinstance(bias, float | int) or abs(bias) > LARGEST_BIAS:
        wrong.append(BIAS)
    return wrong


def _are_seconds(value: object) -> bool:
    return isinstance(value, float | int) and abs(value) < MOST_SECONDS


def _is_weight_file(name: str, entry: object) -> bool:
    """Whether this may be an entry of "weights": no path may leave the folder."""
    return Path(name).name == name and not lacking(entry, {"bytes": int, "sha256": str})


def _are_classes(stated: list, data: object) -> bool:
    """Whether these may be the names of classes: texts, each once, in one line; CIFAR-10's are known."""
    if isinstance(data, dict) and data.get("name") == NAME:
        return tuple(stated) == CLASSES
    names = all(isinstance(name, str) and name.isprintable() and 0 < len(name) <= 100 for name in stated)
    return names and 2 <= len(set(stated)) == len(stated) <= MAX_CLASSES


def _is_recipe(stated: dict) -> bool:
    """Whether this is a recipe, with what is told of every network: its stem, T and the weight of the soft targets.

    It may have fields that recipes no longer have: the network is there all the same.
    """
    known = {"name", *(entry.name for entry in fields(Recipe))}
    try:
        from_config({key: value for key, value in stated.items() if key in known})
    except RecipeError:
        return False
    return {"stem", "loss", "temperature", "soft_weight"} <= stated.keys()


def _is_normalisation(stated: dict) -> bool:
    """Whether images can be normalised by this; what has a known name must have its values."""
    mean, std = stated.get("mean"), stated.get("std")
    for constants in (mean, std):
        if not isinstance(constants, list | tuple) or len(constants) != 3 or not all(map(_is_constant, constants)):
            return False
    known = NORMALISATIONS.get(stated["name"]) if isinstance(stated.get("name"), str) else None
    return min(std) > 0 and (known is None or (tuple(mean), tuple(std)) == known)


def _is_constant(value: object) -> bool:
    return isinstance(value, int | float) and -1e3 < value < 1e3  # false for NaN as well


def normalisation_of(config: dict) -> Normalisation:
    """The normalisation that a checkpoint was trained with."""
    return Normalisation(config["normalisation"]["mean"], config["normalisation"]["std"])


def image_size_of(config: dict) -> int:
    """The side of the images that a checkpoint's network takes, pixels; 32 where its config is older than the field."""
    return config.get("image_size", IMAGE_SIZE)


def epochs_before(config: dict) -> int:
    """The epochs of the runs whose weights a checkpoint's own run began with; 0 where it began with random ones."""
    return (config.get("started_from") or {"epochs_done": 0})["epochs_done"]


def has_foreign_weights(config: dict) -> bool:
    """Whether a run began with the weights of a network that none of these runs trained (`--weights`)."""
    return bool(config.get("started_from")) and epochs_before(config) == 0


def weight_bytes(config: dict) -> int:
    """The size of all weight files of a checkpoint together."""
    return sum(entry["bytes"] for entry in config["weights"].values())


def digest(config: dict) -> str:
    """What tells a checkpoint's weights from all others, in 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(config["weights"], sort_keys=True).encode()).hexdigest()[:16]


def is_taught_by(student: dict, teacher: dict) -> bool:
    """Whether a student's config.json names the weights of this teacher, or those that `train.halve` made them of."""
    named = student.get("teacher")
    return bool(named) and digest(named) in (digest(teacher), made_of(teacher))


def differ_in_loss_alone(one: dict, other: dict) -> bool:
    """Whether two students, by their config.json, are one network, began alike and were shown the same images alike."""
    recipes = [{key: each["recipe"][key] for key in each["recipe"] if key not in OF_THE_LOSS} for each in (one, other)]
    same = all(one[key] == other[key] for key in ("architecture", "stem", "seed", "data"))
    return same and recipes[0] == recipes[1]


def made_of(config: dict) -> str | None:
    """The digest of the weights of which `train.halve` made a checkpoint; None where it did not, or did not say yet."""
    return config.get("stored_in", {}).get("made_of")


def read_history(folder: str | Path) -> list[dict]:
    """The epochs of a run, as its history.jsonl has them; empty where there is none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = Path(folder) / HISTORY
    try:
        epochs = [parsed(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
        if not all(isinstance(epoch, dict) and _are_seconds(epoch.get("seconds", 0)) for epoch in epochs):
            raise ValueError("a line of it is no JSON object, or its seconds are no number")
        return epochs
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): delete it, or {_way_out(Path(folder))}") from error


def identity(config: dict) -> dict:
    """What tells a run from others, the recipe apart: of its config.json role, teacher, start and data."""
    return {key: config.get(key) for key in ("role", "teacher", "started_from", "data")}


def save_state(
    path: Path,
    network: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    recipe: Recipe,
    history: list[dict],
    run: dict | None = None,
) -> None:
    """Write a run between two epochs, from which it goes on as if nothing had happened.

    Args:
        recipe: the state is good for this run alone.
        history: a dict of measurements for each epoch done.
        run: what else tells this run from others (`identity`).

    Raises:
        OSError: the disk is full or not writable.
    """
    state = {
        "network": network.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "recipe": asdict(recipe),
        "history": history,
        "run": run,
    }
    serialised = io.BytesIO()  # torch.save itself would hide a full disk behind a RuntimeError of its own
    torch.save(state, serialised)
    write_atomically(path, lambda temporary: temporary.write_bytes(serialised.getbuffer()))


def remove_state(folder: Path) -> None:
    """Remove the state of a run from its folder, and what writers of it that were killed have left."""
    for path in (folder / STATE, *folder.glob(f"{STATE}.*.tmp")):
        path.unlink(missing_ok=True)


def load_state(
    path: Path, network: nn.Module, optimizers: list[torch.optim.Optimizer], recipe: Recipe, run: dict | None = None
) -> list[dict]:
    """Put network and optimisers where `save_state` left them, on the network's device; returns the history.

    Without a file the run is at its start, and the history empty. Arguments are those of `save_state`.

    Raises:
        CheckpointError: the file is damaged or another run's.
        OSError: it cannot be read now; nor does `torch.OutOfMemoryError` say anything against it.
    """
    if not path.exists():
        return []
    content = io.BytesIO(path.read_bytes())  # what keeps it from being read now is no damage
    try:
        state = torch.load(content, map_location=next(network.parameters()).device, weights_only=True)
        if (from_config({"name": "", **state["recipe"]})[1], state.get("run", run)) != (recipe, run):
            raise ValueError("it belongs to another run")
        network.load_state_dict(state["network"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        return list(state["history"])
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        reason = str(error).partition("\n")[0]  # PyTorch goes on with advice that does not apply
        raise CheckpointError(f"{path} cannot be read ({reason}): give --restart to train from the start") from error


def _way_out(folder: Path) -> str:
    fetched = [parent for parent in folder.parents if parent.name.startswith("models--")]
    if fetched:  # the Hub's cache has it so; what is trained into it would be in the wrong place
        return f"delete {fetched[0]}, so that it is fetched again, or have it published whole"
    script = "python -m " + models.SCRIPT_OF_ROLE.get(folder.name, "train.teacher, train.student or train.distill")
    if (folder / CONFIG).exists():  # of what data and network, who trained it knows: no command to be copied as it is
        return f"put a whole copy there, or repeat the command that made it ({script} ...) with --restart"
    teacher = f" --teacher {folder.parent / 'teacher'}" if folder.name == "distilled" else ""
    return f"make it with {script}{teacher} --output-dir {folder}"
