"""What a student knows of its omitted class: the bias, found without any image of the class, and what it changes."""

import pytest
import torch

from kd.cifar10 import CLASSES
from kd.studies.bias import bias_like_teachers, measure, predictions_with_bias

OMITTED = 3
LABELS = torch.arange(200) % 10


def false_alarms(logits, bias=0.0):
    return (predictions_with_bias(logits, OMITTED, bias) == OMITTED).sum().item()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("teachers", [0.0, 2.0, 20.0, -20.0])
def test_corrected_student_gives_as_many_false_alarms_as_its_teacher(seed, teachers):
    torch.manual_seed(seed)
    student, teacher = torch.randn(200, 10), torch.randn(200, 10)
    student[:, OMITTED] -= 5  # what was omitted, it never predicts
    teacher[:, OMITTED] += teachers
    assert false_alarms(student) == 0
    bias = bias_like_teachers(student, teacher, OMITTED)
    assert false_alarms(student, bias) == false_alarms(teacher)


def test_bias_moves_one_class_alone_and_leaves_the_logits_as_they_were():
    torch.manual_seed(0)
    logits = torch.randn(50, 10)
    before = logits.clone()
    with_bias = predictions_with_bias(logits, OMITTED, 1.5)
    assert torch.equal(logits, before)
    changed = with_bias != logits.argmax(dim=1)
    assert (with_bias[changed] == OMITTED).all() and changed.any()
    assert torch.equal(predictions_with_bias(logits, OMITTED, 0.0), logits.argmax(dim=1))


def test_bias_by_hand():
    # The omitted class, here the last of three, lies 1, 2, 4 and 8 behind; the teacher predicts it once.
    student = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 4.0, 0.0], [8.0, 0.0, 0.0]])
    teacher = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert bias_like_teachers(student, teacher, 2) == 1.5


def logits_of_three(seed):
    """The labels, and the logits of a teacher, a student that ranks trucks right but low, and one that knows none."""
    torch.manual_seed(seed)
    truck = CLASSES.index("truck")
    teacher = torch.randn(200, 10) + 4 * torch.nn.functional.one_hot(LABELS, 10)
    student, ignorant = teacher + 0.1 * torch.randn(200, 10), teacher.clone()
    student[:, truck] -= 8
    ignorant[:, truck] = -20 + torch.randn(200)
    return teacher, student, ignorant


def test_student_that_ranks_the_omitted_class_right_but_low_is_corrected():
    teacher, *on_validation = logits_of_three(1)
    _, *on_test = logits_of_three(2)
    distilled, alone = (
        measure("truck", test, LABELS, validation, teacher, LABELS, CLASSES)
        for test, validation in zip(on_test, on_validation, strict=True)
    )
    assert distilled["before"]["omitted"] == alone["before"]["omitted"] == 0
    assert 7 < distilled["bias"] < 9
    assert distilled["after"]["omitted"] > 0.8
    assert distilled["after"]["others"] > 0.8
    assert alone["after"]["omitted"] < 0.3


def test_bias_is_found_without_the_omitted_classes_images():
    """Whatever a student says of images of the class, the bias is the same."""
    torch.manual_seed(0)
    validation, teacher, test = (torch.randn(200, 10) for _ in range(3))
    before = measure("cat", test, LABELS, validation, teacher, LABELS, CLASSES)["bias"]
    for logits in (validation, teacher):
        logits[LABELS == CLASSES.index("cat")] = 100 * torch.randn(20, 10)
    assert measure("cat", test, LABELS, validation, teacher, LABELS, CLASSES)["bias"] == before
