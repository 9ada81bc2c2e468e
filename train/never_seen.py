"""The studies of a class never seen: what a student knows of a class that no image of its training shows."""

from pathlib import Path

from torch import Tensor

from kd.cifar10 import CLASSES
from kd.unseen import RULES, answers_with_bias, bias_like_other_classes, bias_like_teachers
from train.studies import Run


def analyse(
    runs: list[Run],
    validation_answers: dict[Path, Tensor],
    validation_labels: Tensor,
    test_answers: dict[Path, Tensor],
    test_labels: Tensor,
) -> dict:
    """Measure each run on its unseen class, as it is and with its bias corrected by each of `kd.unseen.RULES`.

    The biases are found on the validation images of the nine seen classes.

    Args:
        runs: the full teacher's, named "teacher", and those that were trained without a class.
        validation_answers, test_answers: logits, (N, 10), by the run's folder.

    Returns:
        In "runs" for each run its arm, seed, unseen class, temperature (null for one without a teacher), and its test
        accuracy on the unseen class and on the nine others: "uncorrected", and by rule, with the bias, "corrected".
    """
    teacher = next(run for run in runs if run.arm.name == "teacher")
    measured = []
    for run in runs:
        name = run.arm.withheld.get("without_class")
        if name is None:
            continue
        unseen = CLASSES.index(name)
        seen = validation_labels != unseen
        answers = validation_answers[run.folder][seen]
        biases = {
            "teacher": bias_like_teachers(answers, validation_answers[teacher.folder][seen], unseen),
            "others": bias_like_other_classes(answers, validation_labels[seen], unseen),
        }
        logits = test_answers[run.folder]
        measured.append(
            {
                "arm": run.arm.name,
                "seed": run.recipe.seed,
                "unseen": name,
                "temperature": run.recipe.temperature if run.teacher else None,
                "uncorrected": accuracies(logits, 0.0, test_labels, unseen),
                "corrected": {
                    rule: {"bias": bias} | accuracies(logits, bias, test_labels, unseen)
                    for rule, bias in biases.items()
                },
            }
        )
    return {"rules": RULES, "runs": measured}


def accuracies(logits: Tensor, bias: float, labels: Tensor, unseen: int) -> dict:
    """Accuracy on the unseen class and on the seen ones, 0 to 1, with a bias added to the unseen class's logit."""
    right, of_class = answers_with_bias(logits, unseen, bias) == labels, labels == unseen
    return {"unseen": right[of_class].double().mean().item(), "seen": right[~of_class].double().mean().item()}
