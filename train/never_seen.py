"""The study `never-seen`: what a student knows of a class that no image of its training shows."""

from pathlib import Path

from torch import Tensor

from kd.cifar10 import CLASSES
from kd.studies.declared import Run
from kd.studies.omitted_class import answers_with_bias, bias_like_teachers


def analyse(
    runs: list[Run],
    validation_answers: dict[Path, Tensor],
    validation_labels: Tensor,
    test_answers: dict[Path, Tensor],
    test_labels: Tensor,
) -> dict:
    """Measure each run on its unseen class, before and after the correction of its bias.

    The bias is found on the validation images of the nine seen classes (`kd.studies.omitted_class.bias_like_teachers`).

    Args:
        runs: the full teacher's, named "teacher", and those that were trained without a class.
        validation_answers, test_answers: logits, (N, 10), by the run's folder.

    Returns:
        In "runs" for each run its arm, seed, unseen class, temperature (null for one without a teacher), bias, and the
        test accuracy on the unseen class and on the nine others, each before and after the correction.
    """
    teacher = next(run for run in runs if run.arm.name == "teacher")
    measured = []
    for run in runs:
        name = run.arm.withheld.get("without_class")
        if name is None:
            continue
        unseen = CLASSES.index(name)
        seen = validation_labels != unseen
        bias = bias_like_teachers(
            validation_answers[run.folder][seen], validation_answers[teacher.folder][seen], unseen
        )
        logits = test_answers[run.folder]
        measured.append(
            {
                "arm": run.arm.name,
                "seed": run.recipe.seed,
                "unseen": name,
                "temperature": run.recipe.temperature if run.teacher else None,
                "bias": bias,
                "before": accuracies(logits.argmax(dim=1), test_labels, unseen),
                "after": accuracies(answers_with_bias(logits, unseen, bias), test_labels, unseen),
            }
        )
    return {
        "rule": "the unseen class's logit is raised until, on the validation images of the nine seen classes, "
        "the student answers with that class as often as its teacher does",
        "runs": measured,
    }


def accuracies(answers: Tensor, labels: Tensor, unseen: int) -> dict:
    """Accuracy on the unseen class and on the seen ones, 0 to 1."""
    right, of_class = answers == labels, labels == unseen
    return {"unseen": right[of_class].double().mean().item(), "seen": right[~of_class].double().mean().item()}
