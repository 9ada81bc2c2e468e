"""The teacher: frozen whoever trains it, and asked about each batch once."""

import errno
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import kd.teacher
from kd.recipe import Recipe
from kd.teacher import Answers, FrozenTeacher
from kd.training import train
from kd.training_state import TrainingError

RECIPE = Recipe(epochs=2, batch_size=64, learning_rate=0.1, rotation=10, cutout=4, mixup=0.5)


@pytest.fixture
def teacher(make_network):
    network = make_network(seed=1)
    network(torch.randn(64, 3, 32, 32))  # batch-norm statistics of its own
    return FrozenTeacher(network)


@pytest.fixture
def mute_teacher():
    """A teacher that cannot be asked: all answers have to come from the disk."""

    def refuse(images):
        raise AssertionError("the teacher was asked again")

    teacher = FrozenTeacher(nn.Identity())
    teacher.network.forward = refuse
    return teacher


@pytest.fixture
def distil(subset, make_network, tmp_path):
    """Distils a tiny student, with the answers kept in tmp_path/answers; returns its weights."""

    def distil(teacher, recipe=RECIPE, folder="run", answers=True):
        network = make_network()
        answers_dir = tmp_path / "answers" if answers else None
        train(network, *subset, recipe, tmp_path / folder, teacher=teacher, answers_dir=answers_dir)
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


def test_teachers_answers_carry_no_gradient_and_do_not_depend_on_the_batch(teacher):
    images = torch.randn(8, 3, 32, 32, requires_grad=True)
    answers = teacher.train()(images)
    assert not answers.requires_grad
    torch.testing.assert_close(teacher(images[:2]), answers[:2])


def test_teacher_computes_in_its_own_precision_and_answers_in_float32(make_network):
    network, dtypes = make_network(seed=1), []
    network.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    for precision, inside in [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("auto", torch.float32)]:
        assert FrozenTeacher(network, precision)(torch.randn(2, 3, 32, 32)).dtype == torch.float32
        assert dtypes.pop() == inside


def test_second_student_learns_bit_for_bit_the_same_from_answers_that_were_kept(distil, teacher, mute_teacher):
    asked = distil(teacher, answers=False)
    assert same(distil(teacher, folder="first"), asked)
    assert same(distil(mute_teacher, folder="second"), asked)


def test_student_with_another_loss_learns_from_the_same_answers(distil, teacher, mute_teacher):
    other = RECIPE.changed(loss="logit-mse", weight_decay=0.0, learning_rate=0.05)
    asked = distil(teacher, other, answers=False)
    distil(teacher, folder="first")
    assert same(distil(mute_teacher, other, folder="second"), asked)


def test_all_that_changes_the_batches_tells_their_answers_apart():
    changed = {"seed": 1, "mixup": 0.2, "cutout": 8, "batch_size": 32, "normalisation": "seed-project", "flip": 0.0}
    for name, value in changed.items():
        assert RECIPE.changed(**{name: value}).batches() != RECIPE.batches(), name
    for name, value in {
        "temperature": 8.0,
        "loss": "dkd",
        "epochs": 9,
        "weight_decay": 0.0,
        "stem": "imagenet",
    }.items():
        assert RECIPE.changed(**{name: value}).batches() == RECIPE.batches(), name


@pytest.mark.parametrize("damage", ["truncated", "another tensor", "fewer images", "a folder"])
def test_answers_that_cannot_be_used_are_asked_for_again(tmp_path, teacher, damage):
    images, path = torch.randn(8, 3, 32, 32), tmp_path / "answers" / "epoch.safetensors"
    first = Answers(teacher, path, 8)
    expected = torch.cat([first(images[:4]), first(images[4:])])
    first.keep()
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "another tensor":
        save_file({"other": torch.zeros(8, 10)}, path)
    elif damage == "a folder":
        path.unlink()
        path.mkdir()
    again = Answers(teacher, path, 4 if damage == "fewer images" else 8)
    assert again.known is None
    assert torch.equal(again(images[:4]), expected[:4])


def test_answers_come_in_order_and_an_epoch_cut_off_keeps_none(tmp_path, teacher, mute_teacher):
    images, path = torch.randn(8, 3, 32, 32), tmp_path / "epoch.safetensors"
    first = Answers(teacher, path, 8)
    expected = first(images[:5])
    assert not path.exists()
    rest = first(images[5:])
    first.keep()
    second = Answers(mute_teacher, path, 8)
    assert torch.equal(second(images[:5]), expected) and torch.equal(second(images[5:]), rest)
    written = path.read_bytes()
    second.keep()
    assert path.read_bytes() == written


def test_full_disk_under_the_answers_ends_the_run_with_advice(distil, teacher, monkeypatch):
    def fill_up(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(kd.teacher, "write_atomically", fill_up)
    with pytest.raises(TrainingError, match="epoch 1 could not be written to .*No space left.*make room"):
        distil(teacher)
