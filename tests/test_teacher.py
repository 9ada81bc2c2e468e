"""The teacher: frozen whoever trains it, and asked about each batch once."""

import argparse
import errno
import os
from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import kd.teacher
from kd.checkpoint import CheckpointError, load
from kd.dataset import COPY, Normalisation, normalise
from kd.losses import soft_targets
from kd.recipe import Recipe
from kd.teacher import CachedLogits, FrozenTeacher, LogitsFile, Teachers, mean_of_softened
from kd.training import TrainingError, train
from tests.serving import ROOT
from train.teachers import TaughtBy, logits_dirs, read_teacher

RECIPE = Recipe(epochs=2, batch_size=64, learning_rate=0.1, rotation=10, cutout=4)


@pytest.fixture
def teacher(make_network):
    network = make_network(seed=1)
    network(torch.randn(64, 3, 32, 32))  # batch-norm statistics of its own
    return FrozenTeacher(network)


@pytest.fixture
def mute_teacher():
    """A teacher that cannot be asked: all logits have to come from the disk."""

    def refuse(images):
        raise AssertionError("the teacher was asked again")

    teacher = FrozenTeacher(nn.Identity())
    teacher.network.forward = refuse
    return teacher


@pytest.fixture
def distil(subset, make_network, tmp_path):
    """Distils a tiny student, with the teacher's logits kept in tmp_path/logits; returns its weights."""

    def distil(teacher, recipe=RECIPE, folder="run", kept=True):
        network = make_network(recipe.seed)
        logits_dir = tmp_path / "logits" if kept else None
        train(network, *subset, recipe, tmp_path / folder, teacher=teacher, logits_dir=logits_dir)
        return network.state_dict()

    return distil


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_teacher_stays_in_evaluation_mode_whoever_calls_train(teacher):
    for whole in (teacher, nn.Sequential(teacher, nn.Linear(10, 10))):
        whole.train()
        whole.train(True)
        assert not any(module.training for module in teacher.modules())


def test_teacher_comes_out_of_training_a_student_as_it_went_in(distil, teacher):
    before = {name: tensor.clone() for name, tensor in teacher.network.state_dict().items()}
    distil(teacher)
    assert same(teacher.network.state_dict(), before)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())


def test_teachers_logits_carry_no_gradient_and_do_not_depend_on_the_batch(teacher):
    images = torch.randn(8, 3, 32, 32, requires_grad=True)
    logits = teacher.train()(images)
    assert not logits.requires_grad
    torch.testing.assert_close(teacher(images[:2]), logits[:2])


def test_a_networks_norms_are_fused_when_it_is_read_to_teach_and_it_answers_as_before():
    folder, images = ROOT / "checkpoints" / "student", torch.randn(2, 3, 32, 32, generator=torch.manual_seed(0))
    teacher = read_teacher(folder, torch.device("cpu")).teacher
    teacher.precision = "float32"
    assert not any(isinstance(part, nn.BatchNorm2d) for part in teacher.modules())
    with torch.no_grad():
        expected = load(folder)[0].eval()(images)
        assert (teacher(images) - expected).abs().max() < 1e-3 * expected.abs().max()


def test_teacher_computes_in_its_own_precision_and_returns_float32(make_network):
    network, dtypes = make_network(seed=1), []
    network.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    for precision, inside in [("float32", torch.float32), ("bfloat16", torch.bfloat16)]:
        assert FrozenTeacher(network, precision)(torch.randn(2, 3, 32, 32)).dtype == torch.float32
        assert dtypes.pop() == inside


def test_second_student_learns_bit_for_bit_the_same_from_logits_that_were_kept(distil, teacher, mute_teacher):
    asked = distil(teacher, kept=False)
    assert same(distil(teacher, folder="first"), asked)
    assert same(distil(mute_teacher, folder="second"), asked)


def test_student_with_another_loss_learns_from_the_same_logits(distil, teacher, mute_teacher):
    other = RECIPE.changed(loss="logit-mse", weight_decay=0.0, learning_rate=0.05)
    asked = distil(teacher, other, kept=False)
    distil(teacher, folder="first")
    assert same(distil(mute_teacher, other, folder="second"), asked)


def test_another_seed_learns_from_the_same_logits(distil, teacher):
    # 450 images make 7 batches of 64; the two left over are others for another seed, and are asked for then.
    recipe = RECIPE.changed(batch_size=50)
    distil(teacher, recipe, folder="first")
    asked = []
    teacher.network.register_forward_hook(lambda module, inputs, output: asked.append(len(output)))
    other = recipe.changed(seed=1)
    kept = distil(teacher, other, folder="second")
    assert asked == []
    assert same(distil(teacher, other, kept=False, folder="third"), kept)


def test_the_logits_of_several_teachers_are_the_weighted_mean_of_their_soft_targets(make_network):
    images, index = torch.randn(8, 3, 32, 32), torch.arange(8)
    two = [FrozenTeacher(make_network(seed)) for seed in (1, 2)]
    for teacher in two:
        teacher.network[-1].weight.data *= 30  # new networks hardly differ
    logits = Teachers(two, temperature=4.0, weights=[1, 3]).logits_in(0, None)(images, index)
    first, second = (soft_targets(teacher(images), 4.0) for teacher in two)
    torch.testing.assert_close(soft_targets(logits, 4.0), 0.25 * first + 0.75 * second, atol=1e-3, rtol=0)  # float16
    assert (first - second).abs().max() > 0.1


def test_all_that_changes_how_an_image_looks_tells_the_logits_apart():
    of_the_run = {
        "network", "image_size", "stem", "early_downsampling", "dropout", "epochs", "batch_size", "optimizer",
        "learning_rate", "momentum", "weight_decay", "muon_learning_rate", "muon_momentum", "warmup", "schedule",
        "loss", "temperature", "soft_weight", "precision", "seed",
    }  # fmt: skip
    assert RECIPE.view().keys() == {field.name for field in fields(Recipe)} - of_the_run
    assert RECIPE.changed(flip=0.0).view() != RECIPE.view()


@pytest.mark.parametrize("damage", ["truncated", "another tensor", "another shape", "a folder"])
def test_kept_logits_that_cannot_be_used_are_asked_for_again(tmp_path, teacher, damage):
    images, index, path = torch.randn(8, 3, 32, 32), torch.arange(8), tmp_path / "logits" / "epoch.safetensors"
    first = CachedLogits(teacher, path)
    expected = first(images, index)
    first.keep()
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "another tensor":
        save_file({"other": torch.zeros(8, 10)}, path)
    elif damage == "another shape":
        save_file({"logits": torch.zeros(8, 5)}, path)
    else:
        path.unlink()
        path.mkdir()
    again = CachedLogits(teacher, path)
    assert len(again.logits) == 0
    assert torch.equal(again(images, index), expected)


def test_logits_are_found_by_index_and_only_the_unknown_are_asked_for(tmp_path, teacher, mute_teacher):
    images, path = torch.randn(8, 3, 32, 32), tmp_path / "epoch.safetensors"
    index = torch.tensor([7, 2, 5, 0, 3, 6, 1, 4])
    first = CachedLogits(teacher, path)
    expected = first(images[:5], index[:5])
    torch.testing.assert_close(expected, teacher(images[:5]), atol=5e-3, rtol=1e-3)  # half precision
    first.keep()
    second = CachedLogits(mute_teacher, path)
    assert torch.equal(second(images[[3, 1]], index[[3, 1]]), expected[[3, 1]])
    with pytest.raises(AssertionError, match="asked again"):
        second(images[5:], index[5:])
    third = CachedLogits(teacher, path)
    all_of_them = third(images, index)
    third.keep()
    assert torch.equal(CachedLogits(mute_teacher, path)(images, index), all_of_them)


def test_runs_side_by_side_keep_what_each_of_them_asked(tmp_path, teacher, mute_teacher):
    images, index, path = torch.randn(8, 3, 32, 32), torch.arange(8), tmp_path / "epoch.safetensors"
    first, second = CachedLogits(teacher, path), CachedLogits(teacher, path)
    expected = [first(images[4:], index[4:]), second(images[:2], index[:2])]
    first.keep()
    second.keep()
    third = CachedLogits(mute_teacher, path)
    assert torch.equal(third(images[[4, 5, 6, 7, 0, 1]], index[[4, 5, 6, 7, 0, 1]]), torch.cat(expected))
    assert third.logits[2:4].isnan().all()


def test_logits_go_by_the_teachers_weights_and_precision_the_images_and_the_view(tmp_path, make_network):
    def folder(precision="float32", weights=(), images="b", recipe=RECIPE):
        taught_by = TaughtBy(tmp_path, FrozenTeacher(make_network(), precision), {"weights": dict(weights)}, {})
        options = argparse.Namespace(teacher_logits=tmp_path)
        return logits_dirs([taught_by], options, recipe, {"data": {"sha256": images}})

    others = [
        folder("bfloat16"), folder(weights={"a": 1}), folder(images="c"), folder(recipe=RECIPE.changed(flip=0.0))
    ]  # fmt: skip
    assert folder() == folder(recipe=RECIPE.changed(seed=9)) and len({folder(), *others}) == 5


def test_logits_beyond_half_precisions_range_stay_finite():
    wild = FrozenTeacher(nn.Flatten())
    logits = CachedLogits(wild, None)(torch.tensor([1e6, -1e6, 3.0] + [0.0] * 7).view(1, 10, 1, 1), torch.tensor([0]))
    assert logits[0, :3].tolist() == [65504, -65504, 3]


def test_further_copies_of_an_image_are_asked_for_and_not_kept(tmp_path, teacher):
    images, path = torch.randn(4, 3, 32, 32), tmp_path / "epoch.safetensors"
    first = CachedLogits(teacher, path)
    first(images, torch.tensor([0, 1, COPY, COPY + 1]))
    first.keep()
    assert len(CachedLogits(teacher, path).logits) == 2


def test_full_disk_under_the_logits_ends_the_run_with_advice(distil, teacher, monkeypatch):
    def fill_up(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(kd.teacher, "write_atomically", fill_up)
    with pytest.raises(TrainingError, match="epoch 1 is saved, but not the teacher's logits.*No space left.*Make room"):
        distil(teacher)


# Several teachers, a file in place of one, and views of another network's


def test_the_mean_of_softened_probabilities_is_exact_at_the_students_temperature():
    one, other = torch.tensor([[4.0, 0.0, -2.0]]), torch.tensor([[0.0, 3.0, 1.0]])
    together = mean_of_softened([one, other], [0.25, 0.75], 2.5)
    expected = 0.25 * (one / 2.5).softmax(1) + 0.75 * (other / 2.5).softmax(1)
    torch.testing.assert_close((together / 2.5).softmax(1), expected)
    assert not torch.allclose(together.softmax(1), 0.25 * one.softmax(1) + 0.75 * other.softmax(1), atol=1e-3)


def test_each_of_several_teachers_is_asked_once_and_kept_in_its_own_folder(teacher, make_network, tmp_path):
    several = Teachers([teacher, FrozenTeacher(make_network(2))], 4.0, [1.0, 1.0])
    folders, images, index = [tmp_path / "one", tmp_path / "other"], torch.randn(4, 3, 32, 32), torch.arange(4)
    ask = several.logits_in(0, folders)
    first = ask(images, index)
    ask.keep()
    again = several.logits_in(0, folders)
    for each in several.teachers:
        each.network.forward = None  # who asks it now fails
    torch.testing.assert_close(again(images, index), first)
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["epoch-001.safetensors"] * 2


def test_a_file_teaches_by_epoch_and_index_without_a_network(tmp_path):
    logits = torch.randn(2, 5, 3)
    save_file({"logits": logits}, tmp_path / "logits.safetensors")
    teacher = LogitsFile(tmp_path / "logits.safetensors")
    index = torch.tensor([4, 0, COPY + 2])
    for epoch, view in [(0, 0), (1, 1), (2, 0)]:
        assert torch.equal(teacher.logits_in(epoch, None)(torch.zeros(3, 3, 8, 8), index), logits[view, [4, 0, 2]])


def test_a_npy_file_is_mapped_so_that_it_may_be_larger_than_the_memory(tmp_path):
    np.save(tmp_path / "logits.npy", np.zeros((5, 3), np.float32))
    teacher = LogitsFile(tmp_path / "logits.npy")
    np.lib.format.open_memmap(tmp_path / "logits.npy", "r+")[4] = 1
    assert teacher.logits_in(0, None)(torch.zeros(1, 3, 8, 8), torch.tensor([4])).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    "content", [torch.zeros(4), torch.zeros(0, 3), torch.zeros(4, 3, dtype=torch.int64), torch.full((4, 3), torch.nan)]
)
def test_a_file_that_holds_no_logits_is_refused(tmp_path, content):
    save_file({"logits": content}, tmp_path / "logits.safetensors")
    with pytest.raises(CheckpointError, match="instead of logits"):
        LogitsFile(tmp_path / "logits.safetensors")
    for text in (b"nothing", b""):
        (tmp_path / "logits.npy").write_bytes(text)
        with pytest.raises(CheckpointError, match="holds no logits"):
            LogitsFile(tmp_path / "logits.npy")


def test_a_teacher_sees_a_students_view_as_its_own_training_showed_it(teacher):
    shown, own = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.25)), Normalisation((0.1, 0.2, 0.3), (0.3, 0.2, 0.1))
    pixels = torch.rand(4, 3, 32, 32)
    expected = teacher(normalise(pixels, own))
    teacher.adapt_views(shown, own, 32)
    torch.testing.assert_close(teacher(normalise(pixels, shown)), expected, atol=1e-4, rtol=1e-4)
    sizes = []
    teacher.network.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape[-1]))
    teacher.adapt_views(shown, own, 48)
    teacher(normalise(pixels, shown))
    assert sizes == [48]
