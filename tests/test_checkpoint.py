"""A checkpoint comes back as it was saved, or not at all; whatever happens while it is written, one is there."""

import contextlib
import errno
import hashlib
import json
import multiprocessing
import os
import pickle
import random
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kd import checkpoint, models
from kd.checkpoint import COMPLETE, CONFIG, INDEX, CheckpointError
from kd.cifar10 import CLASSES, NORMALISATIONS
from kd.files import write_atomically, write_json
from kd.model_card import model_card
from kd.recipe import Recipe
from kd.results import training_sentences
from tests.configs import made_config

ROOT = Path(__file__).parent.parent
CIFAR10 = NORMALISATIONS["cifar10"]

DESCRIPTION = made_config(
    "student",
    "original",
    Recipe(),
    architecture="resnet50",
    stem="imagenet",
    metrics={"validation_accuracy": 0.5, "validation_loss": 1.5},
    precision={"stored": "float32"},
)


@pytest.fixture
def tiny(monkeypatch, make_network):
    """Makes "resnet50" a network of two convolutions, and its checkpoint several shards; returns such a network."""
    build = models.build
    monkeypatch.setattr(
        models, "build", lambda name, *others: make_network(seed=99) if name == "resnet50" else build(name, *others)
    )
    monkeypatch.setattr(checkpoint, "MAX_SHARD_BYTES", 3000)
    network = make_network()
    network(torch.randn(8, 3, 32, 32))  # so that the batch-norm statistics are not those of a new network
    return network


@pytest.fixture
def folder(tmp_path, tiny):
    checkpoint.save(tiny, DESCRIPTION, tmp_path / "student")
    return tmp_path / "student"


def same(network, other):
    ours, theirs = network.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def fingerprint(path):
    return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def change_config(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))


def test_a_network_whose_recipe_has_a_field_that_is_gone_since_is_there_all_the_same(folder):
    recipe = json.loads((folder / CONFIG).read_text())["recipe"]
    change_config(folder, recipe=recipe | {"ema": 0.99})
    assert checkpoint.load(folder)[1]["recipe"]["ema"] == 0.99


# There and back


def test_weights_and_config_come_back_exactly(folder, tiny):
    network, config = checkpoint.load(folder)
    assert same(network, tiny)
    assert not network.training
    assert config == DESCRIPTION | {"weights": config["weights"]}


def test_a_weight_with_two_names_comes_back_under_both(tmp_path, monkeypatch):
    def build(*_):
        network = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
        network[1].weight = network[0].weight
        return network

    monkeypatch.setattr(models, "build", build)
    network = build()
    checkpoint.save(network, DESCRIPTION, tmp_path)
    again, _ = checkpoint.load(tmp_path)
    assert same(again, network) and again[0].weight is again[1].weight


def test_config_lists_every_weight_file_with_its_size_and_sha256(folder):
    weights = checkpoint.load_config(folder)["weights"]
    assert weights == {path.name: fingerprint(path) for path in folder.glob("model*")}
    assert checkpoint.weight_bytes({"weights": weights}) == sum(path.stat().st_size for path in folder.glob("model*"))
    assert sorted(path.name for path in folder.iterdir()) == sorted([CONFIG, *weights])
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.iterdir())  # a server may be another user


def test_a_large_network_is_split_into_shards_that_plain_git_takes(tmp_path):
    network = models.build("resnet18", "imagenet")
    checkpoint.save(network, DESCRIPTION | {"architecture": "resnet18"}, tmp_path)
    assert all(path.stat().st_size < 10_000_000 for path in tmp_path.iterdir())
    shard_of = json.loads((tmp_path / INDEX).read_text())["weight_map"]
    assert shard_of.keys() == network.state_dict().keys()
    assert len(set(shard_of.values())) >= 5
    assert set(shard_of.values()) | {CONFIG, INDEX} == {path.name for path in tmp_path.iterdir()}
    assert same(checkpoint.load(tmp_path)[0], network)


def test_half_precision_is_for_convolutions_and_linear_layers_alone(tmp_path, tiny):
    checkpoint.save(tiny, DESCRIPTION, tmp_path, half=True)
    stored = {}
    for path in tmp_path.glob("*.safetensors"):
        stored |= load_file(path)
    for name, tensor in tiny.state_dict().items():
        expected = tensor.half() if tensor.ndim > 1 else tensor
        assert stored[name].dtype == expected.dtype
        assert torch.equal(stored[name], expected)
    layers = {
        "0.weight": torch.float16,
        "1.weight": torch.float32,
        "1.running_var": torch.float32,
        "9.bias": torch.float32,
    }
    assert {name: stored[name].dtype for name in layers} == layers

    network, _ = checkpoint.load(tmp_path)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert torch.equal(network[0].weight, tiny[0].weight.half().float())


def test_newer_checkpoint_leaves_no_files_of_an_older_one(folder, tiny, monkeypatch):
    assert len(list(folder.glob("model-*"))) > 1
    monkeypatch.setattr(checkpoint, "MAX_SHARD_BYTES", 10**6)
    with torch.no_grad():
        tiny[0].weight.add_(1)
    checkpoint.save(tiny, DESCRIPTION, folder)
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, "model.safetensors"]
    assert same(checkpoint.load(folder)[0], tiny)


def test_two_students_differ_in_the_loss_alone_where_all_else_is_the_same():
    one = checkpoint.load_config(ROOT / "checkpoints" / "student")
    other = json.loads(json.dumps(one))
    other["recipe"] |= {"loss": "dkd", "temperature": 8.0, "soft_weight": 0.5}
    other |= {"role": "distilled", "teacher": {}}
    assert checkpoint.differ_in_loss_alone(one, other)
    for key, value in {"stem": "another", "seed": one["seed"] + 1, "data": {}, "architecture": "another"}.items():
        assert not checkpoint.differ_in_loss_alone(one, other | {key: value})
    longer = other["recipe"] | {"epochs": one["recipe"]["epochs"] + 1}
    assert not checkpoint.differ_in_loss_alone(one, other | {"recipe": longer})


def test_history_is_read_line_by_line_and_empty_where_there_is_none(tmp_path):
    assert checkpoint.read_history(tmp_path) == []
    (tmp_path / checkpoint.HISTORY).write_text('{"epoch": 1}\n{"epoch": 2}\n')
    assert checkpoint.read_history(tmp_path) == [{"epoch": 1}, {"epoch": 2}]


@pytest.mark.parametrize("content", [b'{"epoch": 1}\n{"ep', b"[1, 2]\n", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_history_is_named_with_the_way_out(tmp_path, content):
    (tmp_path / checkpoint.HISTORY).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{tmp_path / checkpoint.HISTORY} cannot be read .*: delete it"):
        checkpoint.read_history(tmp_path)


# Damage


def last_shard(folder):
    return sorted(folder.glob("model-*.safetensors"))[-1]


def fingerprints(folder):
    return {path.name: fingerprint(path) for path in folder.glob("model*")}


def flip_a_bit(folder):
    content = bytearray(last_shard(folder).read_bytes())
    content[-1] ^= 1
    last_shard(folder).write_bytes(content)


def truncate(folder):
    last_shard(folder).write_bytes(last_shard(folder).read_bytes()[:-10])


def truncate_and_describe_it(folder):
    truncate(folder)
    change_config(folder, weights=fingerprints(folder))


def exchange_two_shards(folder):
    first, last = sorted(folder.glob("model-*.safetensors"))[0], last_shard(folder)
    content = first.read_bytes()
    first.write_bytes(last.read_bytes())
    last.write_bytes(content)


def point_outside(folder):
    for path in folder.glob("model*"):
        shutil.move(path, folder.parent)
    change_config(folder, weights={f"../{name}": found for name, found in fingerprints(folder.parent).items()})


def store_with(spoil):
    """As a run would that went wrong: the files are whole, what is in them is not."""

    def store(folder):
        network, config = checkpoint.load(folder)
        with torch.no_grad():
            spoil(network)
        checkpoint.save(network, config, folder)

    return store


DAMAGES = {
    "flipped bit": flip_a_bit,
    "cut-off shard": truncate,
    "cut-off shard that is described": truncate_and_describe_it,
    "exchanged shards": exchange_two_shards,
    "missing shard": lambda folder: last_shard(folder).unlink(),
    "missing index": lambda folder: (folder / INDEX).unlink(),
    "missing config": lambda folder: (folder / CONFIG).unlink(),
    "nothing there": shutil.rmtree,
    "cut-off config": lambda folder: (folder / CONFIG).write_text((folder / CONFIG).read_text()[:-20]),
    "binary config": lambda folder: (folder / CONFIG).write_bytes(b"\xff\xfe\x00"),
    "list for a config": lambda folder: (folder / CONFIG).write_text("[1, 2]"),
    "deep config": lambda folder: (folder / CONFIG).write_text("[" * 100_000),
    "unknown architecture": lambda folder: change_config(folder, architecture="vgg61"),
    "wrong architecture": lambda folder: change_config(folder, architecture="mobilenet_v2"),
    "no weights": lambda folder: change_config(folder, weights={}),
    "weights outside": point_outside,
    "absolute paths": lambda folder: change_config(
        folder, weights={str(folder / name): found for name, found in fingerprints(folder).items()}
    ),
    "weights of another network": lambda folder: checkpoint.save(
        nn.Sequential(nn.Conv2d(3, 9, 3)), DESCRIPTION, folder
    ),
    "no number": store_with(lambda network: network[4].bias[3].fill_(float("nan"))),
    "infinity": store_with(lambda network: network[4].bias[3].fill_(float("-inf"))),
    "infinity in less precision": store_with(lambda network: network.double()[4].bias[3].fill_(1e300)),
    "negative variance": store_with(lambda network: network[1].running_var[0].fill_(-1)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_checkpoint_is_refused_with_its_name_and_the_command_that_makes_it(folder, damage):
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(folder)
    assert str(folder) in str(caught.value)
    assert "python -m train.student" in str(caught.value)


def test_message_names_the_file_that_is_missing_or_damaged(folder):
    shard = last_shard(folder)
    flip_a_bit(folder)
    with pytest.raises(CheckpointError, match=f"{shard.name} is damaged"):
        checkpoint.load(folder)
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"is missing {shard.name}"):
        checkpoint.load(folder)
    (folder / CONFIG).unlink()
    with pytest.raises(CheckpointError, match=r"is missing config\.json"):
        checkpoint.load(folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "0.68e4649"])
def test_a_number_that_is_none_counts_as_nothing_wherever_it_stands(folder, number):
    change_config(folder, data={"name": "CIFAR-10", "trained_on": 450, "mean": 7.5})
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(text.replace("7.5", number))
    assert checkpoint.load_config(folder)["data"]["mean"] is None
    (folder / CONFIG).write_text(text.replace("1.5", number))
    with pytest.raises(CheckpointError, match="check metrics"):
        checkpoint.load_config(folder)


@pytest.mark.parametrize("seconds", ["NaN", "1e999", "654.12e5678", "1" * 400, '"x"', "null"])
def test_seconds_of_a_history_that_are_no_number_are_named(tmp_path, seconds):
    (tmp_path / checkpoint.HISTORY).write_text(f'{{"epoch": 1, "seconds": {seconds}}}\n')
    with pytest.raises(CheckpointError, match="its seconds are no number"):
        checkpoint.read_history(tmp_path)


@pytest.mark.parametrize(
    ("role", "command"),
    [("teacher", "train.teacher"), ("student", "train.student"), ("distilled", "train.distill --teacher")],
)
def test_missing_checkpoint_names_the_command_of_its_role(tmp_path, role, command):
    with pytest.raises(CheckpointError, match=f"does not exist: make it with python -m {command}"):
        checkpoint.load(tmp_path / role)


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("recipe", DESCRIPTION["recipe"] | {"temperature": odd}) for odd in ({}, 0, float("nan"), "4", True, None)),
        *(("recipe", without(DESCRIPTION["recipe"], key)) for key in ("temperature", "soft_weight", "stem", "name")),
        ("recipe", DESCRIPTION["recipe"] | {"epochs": 1.5}),
        ("data", {"name": "CIFAR-10"}),
        ("data", {"name": "CIFAR-10", "trained_on": "many"}),
        ("machine", None),
        ("started_from", "x"),
        ("started_from", {}),
        ("metrics", {}),
        ("metrics", {"validation_accuracy": "x", "validation_loss": 1.0}),
        ("teacher", "x"),
        ("teacher", {"weights": None}),
        ("stored_in", None),
        ("architecture", None),
        ("role", "nobody"),
        ("classes", list(CLASSES[:-1])),
        ("classes", [CLASSES[1], CLASSES[0], *CLASSES[2:]]),
        ("normalisation", {}),
        *(("normalisation", {"mean": [0.5] * 3, "std": [0.25, odd, 0.25]}) for odd in (0, float("nan"))),
        ("normalisation", DESCRIPTION["normalisation"] | {"std": [0.9, *CIFAR10.std[1:]]}),
        ("weights", {"model.safetensors": None}),
        ("omitted_class_bias", "x"),
        ("omitted_class_bias", float("nan")),
        ("omitted_class_bias", 10**400),
    ],
    ids=str,
)
def test_what_is_told_of_every_network_has_to_be_there(folder, field, value):
    change_config(folder, **{field: value})
    said = f"{folder / CONFIG} is not a checkpoint's: check {field}; put a whole copy there"
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load(folder)


class Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_pickle_in_the_place_of_the_weights_is_refused_and_not_executed(folder):
    mark = folder / "executed"
    last_shard(folder).write_bytes(pickle.dumps(Payload(mark)))
    change_config(folder, weights={path.name: fingerprint(path) for path in folder.glob("model*")})
    with pytest.raises(CheckpointError):
        checkpoint.load(folder)
    assert not mark.exists()


def damage_anything(folder, draw):
    """Damage a checkpoint in one to three places, in any of its files or in what its config says."""
    for _ in range(draw.randint(1, 3)):
        path = draw.choice(sorted(folder.iterdir()))
        content = bytearray(path.read_bytes()) or bytearray(b"\0")
        place, length = draw.randrange(len(content)), draw.randint(1, 40)
        match draw.randrange(8):
            case 0:
                content[place] ^= 1 << draw.randrange(8)
            case 1:
                content[place : place + length] = draw.randbytes(length)
            case 2:
                del content[place:]
            case 3:
                path.unlink()
                continue
            case 4:
                content = bytearray(draw.choice(sorted(folder.iterdir())).read_bytes())
            case _:
                with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                    config = json.loads((folder / CONFIG).read_text())
                    part = draw.choice([config, config["normalisation"], config["weights"], config["recipe"]])
                    part[draw.choice([*part, "teacher", "omitted_class_bias", "../x"])] = draw.choice(JUNK)
                    if draw.random() < 0.5:  # and let the sizes and digests be right
                        config["weights"] = {file.name: fingerprint(file) for file in folder.glob("model*")}
                    (folder / CONFIG).write_text(json.dumps(config))
                continue
        path.write_bytes(content)
        if path.name != CONFIG and draw.random() < 0.3:
            with contextlib.suppress(OSError, ValueError, TypeError):
                change_config(folder, weights={file.name: fingerprint(file) for file in folder.glob("model*")})


JUNK = [None, {}, [], "", "cifar", -1, 0, 1e308, 10**400, float("nan"), float("inf"), [0, 0, 0], [[1]], True, {"a": {}}]


def test_none_of_500_damaged_folders_loads_wrongly_or_shows_a_traceback(folder, tiny, tmp_path):
    damaged, refused = tmp_path / "damaged" / "student", 0
    for seed in range(500):
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(folder, damaged)
        damage_anything(damaged, random.Random(seed))
        try:
            network, config = checkpoint.load(damaged)
        except CheckpointError as error:
            assert str(damaged) in str(error) and "python -m train.student" in str(error), seed
            refused += 1
            continue
        assert same(network, tiny) or weights_were_changed_on_purpose(damaged), seed
        assert tuple(config["classes"]) == CLASSES, seed
        training_sentences({"student": config})  # what page and commands tell of a network raises nothing
        model_card({**config, "role": "student"}, None)
        write_json(damaged / "copy.json", config)  # as the results are, which take from it
        given = checkpoint.normalisation_of(config)
        assert (tuple(given.mean), tuple(given.std)) == CIFAR10, seed
    assert 250 < refused < 500  # harmless damage exists, and so does harm


def weights_were_changed_on_purpose(folder):
    """Whether sizes and digests are right: then these are whole weights, if other ones."""
    return checkpoint.load_config(folder)["weights"] == {path.name: fingerprint(path) for path in folder.glob("model*")}


# While it is written


def full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_failing_to_write_the_config_leaves_the_old_checkpoint_whole(folder, tiny, make_network, monkeypatch):
    monkeypatch.setattr(checkpoint, "write_json", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(make_network(seed=5), DESCRIPTION, folder)
    assert same(checkpoint.load(folder)[0], tiny)


def test_what_is_damaged_is_to_be_copied_or_made_anew_as_it_was_made(folder):
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(
        CheckpointError, match="put a whole copy there, or repeat the command .* with --restart"
    ) as told:
        checkpoint.load(folder)
    assert "--output-dir" not in str(told.value)  # copied as it is, a command would train another network there


@contextlib.contextmanager
def small_disk():
    """Lets no file grow beyond two kilobytes, as the system itself enforces it."""
    resource = pytest.importorskip("resource", reason="needs limits on the size of files, as Unix has them")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_that_is_really_full_is_an_os_error_and_leaves_the_old_checkpoint_whole(folder, tiny):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OSError), small_disk():
        checkpoint.save(tiny, DESCRIPTION, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_writing_atomically_keeps_the_old_file_when_it_is_interrupted(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half(temporary):
        temporary.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, write_half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_atomically_shows_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "new folder" / "file"
    write_atomically(path, lambda temporary: temporary.write_text("old"))
    recorded = []

    def write(temporary):
        temporary.write_text("new")
        recorded.append(path.read_text())

    write_atomically(path, write)
    assert (recorded, path.read_text()) == (["old"], "new")
    assert list(path.parent.iterdir()) == [path]


def write_again_and_again(path, letter):
    for _ in range(50):
        write_atomically(path, lambda temporary: temporary.write_text(letter * 10_000))


def test_processes_that_write_one_file_at_once_lose_no_write(tmp_path):
    path, forked = tmp_path / "shared", multiprocessing.get_context("fork")  # which need not import anything
    writers = [forked.Process(target=write_again_and_again, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert path.read_text() in ("a" * 10_000, "b" * 10_000)
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_write_one_file_at_once_lose_no_write(tmp_path):
    path, together = tmp_path / "shared", threading.Barrier(4)

    def write(letter):
        together.wait()
        write_again_and_again(path, letter)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    assert path.read_text() in [letter * 10_000 for letter in "abcd"]
    assert list(tmp_path.iterdir()) == [path]


def test_content_and_name_have_reached_the_disk_when_the_write_returns(tmp_path, monkeypatch):
    path, steps = tmp_path / "file", []
    monkeypatch.setattr(
        checkpoint.os, "fsync", lambda file: steps.append(("fsync", os.readlink(f"/proc/self/fd/{file}")))
    )
    replace = os.replace
    monkeypatch.setattr(checkpoint.os, "replace", lambda *paths: (steps.append(("replace", paths)), replace(*paths)))
    write_atomically(path, lambda temporary: temporary.write_text("new"))
    temporary = steps[1][1][0]
    assert steps == [("fsync", str(temporary)), ("replace", (temporary, path)), ("fsync", str(tmp_path))]


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
def test_a_disk_that_fails_at_any_step_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, error):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*_):
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as broken, pytest.raises(OSError):
        broken.setattr(checkpoint.os, step, fail)
        write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_really_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError), small_disk():
        write_atomically(path, lambda temporary: temporary.write_text("new" * 10_000))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_complete_checkpoint_that_was_not_put_into_place_is_found(folder, tiny):
    complete = folder / COMPLETE
    complete.mkdir()
    for path in folder.glob("model-*"):
        shutil.move(path, complete)
    assert same(checkpoint.load(folder)[0], tiny)
    assert not complete.exists()


# Several writers of one folder


def filled(network, value):
    """The network with this value in the place of every parameter, and its description with it for a seed."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    return network, DESCRIPTION | {"seed": value}


STEPS = {
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.chmod",
}  # on the disk, as Python's audit has them


def save_until(step, folder, network):
    """Save the network filled with 2; before this step on the disk, from 1, the process ends, if there are as many."""
    count = 0

    def end(event, arguments):
        nonlocal count
        if event in STEPS and (event != "open" or (isinstance(arguments[2], int) and arguments[2] & 3)):
            count += 1
            if count == step:
                os._exit(9)

    torch.set_num_threads(1)
    sys.addaudithook(end)
    checkpoint.save(*filled(network, 2), folder)
    os._exit(0)


def test_a_save_that_is_killed_at_any_step_leaves_the_old_checkpoint_or_the_new_one(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a lost process loses nothing that it has written
    older, folder, forked = tmp_path / "older", tmp_path / "student", multiprocessing.get_context("fork")
    checkpoint.save(*filled(tiny, 1), older)
    found, exitcode = [], None
    while exitcode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(older, folder)
        saving = forked.Process(target=save_until, args=(len(found) + 1, folder, tiny))
        saving.start()
        saving.join()
        exitcode = saving.exitcode
        assert exitcode in (0, 9), len(found)
        network, config = checkpoint.load(folder)
        assert all((parameter == config["seed"]).all() for parameter in network.parameters()), len(found)
        found.append(config["seed"])
        checkpoint.save(*filled(tiny, 3), folder)  # and the next save is not in its way
        assert checkpoint.load(folder)[1]["seed"] == 3
        assert sorted(path.name for path in folder.iterdir()) == sorted([CONFIG, *config["weights"]]), len(found)
    assert found == sorted(found) and set(found) == {1, 2}  # first the old one, from some step on the new one
    assert len(found) > 10 and found.count(2) > 5


def test_a_save_that_another_one_overtakes_is_whole_and_the_last_one_stays(folder, make_network, monkeypatch):
    slow, quick = filled(make_network(), 1), filled(make_network(), 2)
    write, found = checkpoint.save_torch_state_dict, []

    def overtaken(*arguments, **options):
        monkeypatch.setattr(checkpoint, "save_torch_state_dict", write)
        write(*arguments, **options)
        checkpoint.save(*quick, folder)
        found.append(checkpoint.load(folder)[1]["seed"])

    monkeypatch.setattr(checkpoint, "save_torch_state_dict", overtaken)
    checkpoint.save(*slow, folder)
    network, config = checkpoint.load(folder)
    assert (*found, config["seed"]) == (2, 1) and same(network, slow[0])
    assert sorted(path.name for path in folder.iterdir()) == sorted([CONFIG, *config["weights"]])


def save_again_and_again(folder, network, values):
    torch.set_num_threads(1)
    for value in values:
        checkpoint.save(*filled(network, value), folder)


def test_of_processes_that_save_into_one_folder_a_reader_finds_one_or_the_other_and_never_half(
    folder, make_network, monkeypatch
):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is cut here, and it takes most of the time
    checkpoint.save(*filled(make_network(), 0), folder)
    forked = multiprocessing.get_context("fork")
    writers = [
        forked.Process(target=save_again_and_again, args=(folder, make_network(), values))
        for values in (range(1, 50, 2), range(2, 50, 2))
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        network, config = checkpoint.load(folder)
        assert all((parameter == config["seed"]).all() for parameter in network.parameters())
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted([CONFIG, *config["weights"]])
