"""The bias of a student with an omitted class, and what it knows of that class without it and with it.

Such a student learns from the soft targets what the class's images would look like, but also that the class is rare
(Hinton 2015, arXiv 1503.02531, section 3). Adding a constant to that class's logit, the bias, corrects the second and
leaves the first.
"""

from collections.abc import Sequence

from torch import Tensor


def predictions_with_bias(logits: Tensor, omitted: int, bias: float) -> Tensor:
    """The predicted classes, int64, (N,), when `bias` is added to one class's logit; logits are (N, K)."""
    corrected = logits.clone()
    corrected[:, omitted] += bias
    return corrected.argmax(dim=1)


def bias_like_teachers(logits: Tensor, teacher_logits: Tensor, omitted: int) -> float:
    """The bias with which a student predicts the omitted class as often as its teacher does, on images of the others.

    No image of the omitted class is needed: among images of the others each such prediction is a false alarm, and the
    student is allowed as many of them as the teacher, who knows the class, gives.

    Args:
        logits, teacher_logits: (N, K), of the same images, none of them of the omitted class.
        omitted: the position of the class that was omitted from the student's training.

    Returns:
        What to add to the omitted class's logit; it may be negative.
    """
    false_alarms = int((teacher_logits.argmax(dim=1) == omitted).sum())
    others = logits.clone()
    others[:, omitted] = float("-inf")
    # The omitted class is predicted once the bias exceeds how far its logit lies behind the best other.
    behind = (others.max(dim=1).values - logits[:, omitted]).sort().values
    if false_alarms == 0:
        return behind[0].item() - 1
    if false_alarms == len(behind):
        return behind[-1].item() + 1
    return (behind[false_alarms - 1] + behind[false_alarms]).item() / 2


def measure(
    name: str,
    logits: Tensor,
    labels: Tensor,
    validation_logits: Tensor,
    validation_teacher_logits: Tensor,
    validation_labels: Tensor,
    classes: Sequence[str],
) -> dict:
    """A student's accuracy on its omitted class and on the others, before and after the correction of its bias.

    The bias is found on the validation images of the other classes, and by nothing else.

    Args:
        name: of the omitted class.
        logits, labels: of the test images, (N, K) and (N,).
        validation_logits, validation_teacher_logits, validation_labels: of the validation images.
        classes: the names, in the order of the logits.

    Returns:
        bias; `before` and `after` it, each with the test accuracy (0 to 1) on `omitted` and on `others`.
    """
    omitted = classes.index(name)
    others = validation_labels != omitted
    bias = bias_like_teachers(validation_logits[others], validation_teacher_logits[others], omitted)
    return {
        "bias": bias,
        "before": _accuracies(logits.argmax(dim=1), labels, omitted),
        "after": _accuracies(predictions_with_bias(logits, omitted, bias), labels, omitted),
    }


def _accuracies(predicted: Tensor, labels: Tensor, omitted: int) -> dict:
    right, of_class = predicted == labels, labels == omitted
    return {"omitted": right[of_class].double().mean().item(), "others": right[~of_class].double().mean().item()}
