"""A class that a student was never shown, and the correction of its bias (Hinton 2015, arXiv 1503.02531, section 3).

A student that never saw a class learns from the soft targets what its images would look like, but also that it is
rare. Adding a constant to that class's logit corrects the second and leaves the first.
"""

from torch import Tensor


def answers_with_bias(logits: Tensor, unseen: int, bias: float) -> Tensor:
    """The classes answered, int64, (N,), when `bias` is added to one class's logit; logits are (N, K)."""
    corrected = logits.clone()
    corrected[:, unseen] += bias
    return corrected.argmax(dim=1)


def bias_like_teachers(logits: Tensor, teacher_logits: Tensor, unseen: int) -> float:
    """The bias with which a student answers the unseen class as often as its teacher does, on images of the others.

    No image of the unseen class is needed: among images of the seen classes each such answer is a false alarm, and the
    student is allowed as many of them as the teacher, who knows the class, gives.

    Args:
        logits, teacher_logits: (N, K), of the same images, none of them of the unseen class.
        unseen: the position of the class that the student never saw.

    Returns:
        What to add to the unseen class's logit; it may be negative.
    """
    false_alarms = int((teacher_logits.argmax(dim=1) == unseen).sum())
    others = logits.clone()
    others[:, unseen] = float("-inf")
    # An image is answered with the unseen class once the bias exceeds how far its logit lies behind the best other.
    behind = (others.max(dim=1).values - logits[:, unseen]).sort().values
    if false_alarms == 0:
        return behind[0].item() - 1
    if false_alarms == len(behind):
        return behind[-1].item() + 1
    return (behind[false_alarms - 1] + behind[false_alarms]).item() / 2
