"""A checkpoint comes back as it was saved, or not at all; whatever happens while it is written, one is there."""

import contextlib
import errno
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kd import checkpoint, models
from kd.checkpoint import CONFIG, INDEX, CheckpointError

ROOT = Path(__file__).parent.parent

DESCRIPTION = {
    "role": "student", "architecture": "resnet50", "stem": "imagenet", "classes": ["airplane"],
    "normalisation": {"name": "cifar10"}, "epochs_done": 3, "seed": 7,
    "recipe": {"name": "seed"}, "data": {"name": "CIFAR-10"},
}  # fmt: skip


@pytest.fixture
def tiny(monkeypatch, make_network):
    """Makes "resnet50" a network of two convolutions, and its checkpoint several shards; returns such a network."""
    build = models.build
    monkeypatch.setattr(
        models, "build", lambda name, stem: make_network(seed=99) if name == "resnet50" else build(name, stem)
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


# There and back


def test_weights_and_config_come_back_exactly(folder, tiny):
    network, config = checkpoint.load(folder)
    assert same(network, tiny)
    assert not network.training
    assert config == DESCRIPTION | {"weights": config["weights"]}


def test_config_lists_every_weight_file_with_its_size_and_sha256(folder):
    weights = checkpoint.load_config(folder)["weights"]
    assert weights == {path.name: fingerprint(path) for path in folder.glob("model*")}
    assert checkpoint.weight_bytes({"weights": weights}) == sum(path.stat().st_size for path in folder.glob("model*"))
    assert sorted(path.name for path in folder.iterdir()) == sorted([CONFIG, *weights])
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.iterdir())  # a server may be another user


def test_resnet50_is_split_into_shards_that_plain_git_takes(tmp_path):
    network = models.build("resnet50", "imagenet")
    checkpoint.save(network, DESCRIPTION, tmp_path)
    assert all(path.stat().st_size < 10_000_000 for path in tmp_path.iterdir())
    shard_of = json.loads((tmp_path / INDEX).read_text())["weight_map"]
    assert shard_of.keys() == network.state_dict().keys()
    assert len(set(shard_of.values())) >= 10
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


def test_history_is_read_line_by_line_and_empty_where_there_is_none(tmp_path):
    assert checkpoint.read_history(tmp_path) == []
    (tmp_path / checkpoint.HISTORY).write_text('{"epoch": 1}\n{"epoch": 2}\n')
    assert checkpoint.read_history(tmp_path) == [{"epoch": 1}, {"epoch": 2}]


# Damage


def last_shard(folder):
    return sorted(folder.glob("model-*.safetensors"))[-1]


def flip_a_bit(folder):
    content = bytearray(last_shard(folder).read_bytes())
    content[-1] ^= 1
    last_shard(folder).write_bytes(content)


def truncate(folder):
    last_shard(folder).write_bytes(last_shard(folder).read_bytes()[:-10])


def exchange_two_shards(folder):
    first, last = sorted(folder.glob("model-*.safetensors"))[0], last_shard(folder)
    content = first.read_bytes()
    first.write_bytes(last.read_bytes())
    last.write_bytes(content)


def truncate_and_describe_it(folder):
    truncate(folder)
    change_config(folder, weights={path.name: fingerprint(path) for path in folder.glob("model*")})


def remove_a_shard(folder):
    last_shard(folder).unlink()


def remove_the_index(folder):
    (folder / INDEX).unlink()


def remove_the_config(folder):
    (folder / CONFIG).unlink()


def remove_everything(folder):
    shutil.rmtree(folder)


def cut_the_config_short(folder):
    (folder / CONFIG).write_text((folder / CONFIG).read_text()[:-20])


def make_the_config_binary(folder):
    (folder / CONFIG).write_bytes(b"\xff\xfe\x00")


def make_the_config_a_list(folder):
    (folder / CONFIG).write_text("[1, 2]")


def forget_the_architecture(folder):
    change_config(folder, architecture=None)


def name_an_unknown_architecture(folder):
    change_config(folder, architecture="vgg16")


def name_the_wrong_architecture(folder):
    change_config(folder, architecture="mobilenet_v2")


def list_no_weights(folder):
    change_config(folder, weights={})


def point_outside(folder):
    for path in folder.glob("model*"):
        shutil.move(path, folder.parent)
    change_config(folder, weights={f"../{path.name}": fingerprint(path) for path in folder.parent.glob("model*")})


def point_to_an_absolute_path(folder):
    change_config(folder, weights={str(path): fingerprint(path) for path in folder.glob("model*")})


def take_another_networks_weights(folder):
    wider = nn.Sequential(nn.Conv2d(3, 9, 3))
    checkpoint.save(wider, DESCRIPTION, folder)


DAMAGES = [
    flip_a_bit, truncate, exchange_two_shards, truncate_and_describe_it, remove_a_shard, remove_the_index,
    remove_the_config, remove_everything, cut_the_config_short, make_the_config_binary, make_the_config_a_list,
    forget_the_architecture, name_an_unknown_architecture, name_the_wrong_architecture, list_no_weights, point_outside,
    point_to_an_absolute_path, take_another_networks_weights,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
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


@pytest.mark.parametrize(
    ("role", "command"),
    [("teacher", "train.teacher"), ("student", "train.student"), ("distilled", "train.distill --teacher")],
)
def test_missing_checkpoint_names_the_command_of_its_role(tmp_path, role, command):
    with pytest.raises(CheckpointError, match=f"does not exist: make it with python -m {command}"):
        checkpoint.load(tmp_path / role)


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


# While it is written


def full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_failing_to_write_the_weights_leaves_the_old_checkpoint_whole(folder, tiny, make_network, monkeypatch):
    def write_some_and_fail(weights, folder, **options):
        (folder / "model.safetensors").write_bytes(b"half a file")
        full_disk()

    monkeypatch.setattr(checkpoint, "save_torch_state_dict", write_some_and_fail)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(make_network(seed=5), DESCRIPTION, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert same(checkpoint.load(folder)[0], tiny)


def test_failing_to_write_the_config_leaves_the_old_checkpoint_whole(folder, tiny, make_network, monkeypatch):
    monkeypatch.setattr(checkpoint, "write_json", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(make_network(seed=5), DESCRIPTION, folder)
    assert same(checkpoint.load(folder)[0], tiny)


def test_what_is_damaged_is_to_be_made_anew_with_restart(folder):
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match=f"--output-dir {folder} --restart"):
        checkpoint.load(folder)


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


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()], ids=["disk", "Ctrl-C"])
def test_writing_atomically_keeps_the_old_file_when_it_fails(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half(temporary):
        temporary.write_text("ne")
        raise error

    with pytest.raises(type(error)):
        checkpoint.write_atomically(path, write_half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_atomically_shows_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "new folder" / "file"
    checkpoint.write_atomically(path, lambda temporary: temporary.write_text("old"))
    seen = []

    def write(temporary):
        temporary.write_text("new")
        seen.append(path.read_text())

    checkpoint.write_atomically(path, write)
    assert (seen, path.read_text()) == (["old"], "new")
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_write_one_file_at_once_lose_no_write(tmp_path):
    program = (
        "import sys; from pathlib import Path; from kd.checkpoint import write_atomically\n"
        "for _ in range(200): write_atomically(Path(sys.argv[1]), lambda path: path.write_text(sys.argv[2] * 10_000))"
    )
    path = tmp_path / "shared"
    writers = [
        subprocess.Popen([sys.executable, "-c", program, path, letter], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for letter in "ab"
    ]
    for writer in writers:
        _, said = writer.communicate()
        assert writer.returncode == 0, said
    assert path.read_text() in ("a" * 10_000, "b" * 10_000)
    assert list(tmp_path.iterdir()) == [path]
