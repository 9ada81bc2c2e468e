"""A class that a student was never shown, and the correction of its bias (Hinton 2015, arXiv 1503.02531, section 3).

A student that never saw a class learns from the soft targets what its images would look like, but also that it is
rare. Adding a constant to that class's logit corrects the second and leaves the first. How much to add is found
without an image of the class: among images of the other classes each answer with it is a false alarm, and the student
is allowed a certain number of them. There are two rules for that number.
"""

from torch import Tensor

# By the key that a study's JSON has them under: how far the unseen class's logit is raised.
RULES = {
    "teacher": "as often as its teacher does",
    "others": "as often as it wrongly answers with one of the nine others, on average",
}


def answers_with_bias(logits: Tensor, unseen: int, bias: float) -> Tensor:
    """The classes answered, int64, (N,), when `bias` is added to one class's logit; logits are (N, K)."""
    corrected = logits.clone()
    corrected[:, unseen] += bias
    return corrected.argmax(dim=1)


def bias_like_teachers(logits: Tensor, teacher_logits: Tensor, unseen: int) -> float:
    """The bias with which a student gives as many false alarms as its teacher, who knows the class.

    Args:
        logits, teacher_logits: (N, K), of the same images, none of them of the unseen class.
        unseen: the position of the class that the student never saw.

    Returns:
        What to add to the unseen class's logit; it may be negative.
    """
    return bias_for(logits, unseen, int((teacher_logits.argmax(dim=1) == unseen).sum()))


def bias_like_other_classes(logits: Tensor, labels: Tensor, unseen: int) -> float:
    """The bias with which a student raises false alarms for the unseen class at the mean rate of its other classes.

    A student that knows less than its teacher cannot recognise as much at the teacher's rate; at its own, the class is
    treated like those that it was shown.

    Args:
        logits: (N, K), of images none of which is of the unseen class.
        labels: (N,), of these images.
        unseen: the position of the class that the student never saw.

    Returns:
        What to add to the unseen class's logit; it may be negative.
    """
    answers = logits.argmax(dim=1)
    rates = [(answers[labels != seen] == seen).double().mean().item() for seen in labels.unique()]
    return bias_for(logits, unseen, round(sum(rates) / len(rates) * len(labels)))


def bias_for(logits: Tensor, unseen: int, false_alarms: int) -> float:
    """The bias with which so many of the images, (N, K), none of them of the unseen class, are answered with it."""
    others = logits.clone()
    others[:, unseen] = float("-inf")
    # An image is answered with the unseen class once the bias exceeds how far its logit lies behind the best other.
    behind = (others.max(dim=1).values - logits[:, unseen]).sort().values
    if false_alarms == 0:
        return behind[0].item() - 1
    if false_alarms == len(behind):
        return behind[-1].item() + 1
    return (behind[false_alarms - 1] + behind[false_alarms]).item() / 2
