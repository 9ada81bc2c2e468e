"""Studies made by hand, for tests of what is said and drawn of them."""

from dataclasses import fields, replace

from kd.studies.declared import LOSS_SETTINGS, Arm
from kd.studies.ledger import MeasuredArm, MeasuredStudy

# Of 100 predictions 40 are 55 % sure and 60 are 95 % sure.
RELIABILITY = {"images": [0, 40, 60], "confidence": [0.0, 22.0, 57.0], "right": [0.0, 20.0, 50.0]}
RECIPE = {"name": "seed", "stem": "cifar", "epochs": 24, "temperature": 4.0}  # a preset that is gone


def measured(arm, accuracies=(0.5,), epochs=24, sd=0.01, recipe=(), before=()):
    """An arm with a run for each accuracy, or none.

    Args:
        sd: of every metric, where there are several runs.
        recipe: fields of its recipe.
        before: the measured arms that stand before it, which hold its teacher and its baseline.
    """
    values = {entry.name: getattr(arm, entry.name) for entry in fields(Arm)}
    for key in ("teacher", "baseline"):
        values[key] = next((other for other in before if values[key] and other.trains_like(values[key])), None)
    if not accuracies:
        return MeasuredArm(**values)
    runs = tuple(
        {
            "seed": seed, "epochs_done": epochs, "trained_on": 450, "machine": "an abacus", "accuracy": accuracy,
            "validation_accuracy": accuracy - 0.01, "ece": accuracy / 10,
            "reliability": RELIABILITY | {"right": [0.0, 20.0, 50.0 + seed]},
        }
        for seed, accuracy in enumerate(accuracies)
    )  # fmt: skip
    n, mean = len(accuracies), sum(accuracies) / len(accuracies)
    spread = {"mean": mean, "sd": sd if n > 1 else None, "n": n}
    metrics = {
        "accuracy": spread,
        "validation_accuracy": spread | {"mean": mean - 0.01},
        "ece": spread | {"mean": mean / 10},
    } | ({"agreement": spread} if arm.role != "teacher" else {})
    recipe = RECIPE | {"epochs": epochs} | dict(arm.changes) | dict(recipe)
    return MeasuredArm(**values, architecture="resnet50", macs=6_000_000, recipe=recipe, runs=runs, mean=metrics)


def trial(declared, accuracy, loss="kd", **change):
    """An arm that tries a value of a field of the recipe, with its validation accuracy, or None if it was not run."""
    ((field, _),) = change.items()
    changes = (LOSS_SETTINGS[loss] if loss != "kd" else {}) | change
    return measured(replace(declared, changes=changes, varies=field), (accuracy + 0.01,) if accuracy else ())


def made_study(*arms, comparisons=(), measured_on="test", **more):
    """A study of measured arms."""
    return MeasuredStudy(
        study="made", question="By hand?", measured_on=measured_on, arms=tuple(arms), comparisons=tuple(comparisons),
        data={"name": "CIFAR-10", "images": 100, "validated_on": 50}, machine="an abacus", versions={},
        command="python", **more,
    )  # fmt: skip
