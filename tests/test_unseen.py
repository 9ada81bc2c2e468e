"""The bias of a class that was never seen: found without any image of it."""

import pytest
import torch

from kd.unseen import answers_with_bias, bias_like_teachers

UNSEEN = 3


def false_alarms(logits, bias=0.0):
    return (answers_with_bias(logits, UNSEEN, bias) == UNSEEN).sum().item()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("teachers", [0.0, 2.0, 20.0, -20.0])
def test_corrected_student_gives_as_many_false_alarms_as_its_teacher(seed, teachers):
    torch.manual_seed(seed)
    student, teacher = torch.randn(200, 10), torch.randn(200, 10)
    student[:, UNSEEN] -= 5  # what it never saw, it never answers
    teacher[:, UNSEEN] += teachers
    assert false_alarms(student) == 0
    bias = bias_like_teachers(student, teacher, UNSEEN)
    assert false_alarms(student, bias) == false_alarms(teacher)


def test_bias_moves_one_class_alone_and_leaves_the_logits_as_they_were():
    torch.manual_seed(0)
    logits = torch.randn(50, 10)
    before = logits.clone()
    with_bias = answers_with_bias(logits, UNSEEN, 1.5)
    assert torch.equal(logits, before)
    changed = with_bias != logits.argmax(dim=1)
    assert (with_bias[changed] == UNSEEN).all() and changed.any()
    assert torch.equal(answers_with_bias(logits, UNSEEN, 0.0), logits.argmax(dim=1))


def test_bias_by_hand():
    # The unseen class, here the last of three, lies 1, 2, 4 and 8 behind; the teacher answers it once.
    student = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 4.0, 0.0], [8.0, 0.0, 0.0]])
    teacher = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert bias_like_teachers(student, teacher, 2) == 1.5
