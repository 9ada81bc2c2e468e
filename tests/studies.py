"""Studies made by hand, for tests of what is said and drawn of them."""

from dataclasses import fields, replace

import torch

from kd import checkpoint, models
from kd.significance import paired_difference
from kd.studies.declared import DISTILLED, STUDENT, TEACHER, Arm, Study
from kd.studies.ledger import MeasuredArm, MeasuredStudy
from tests.configs import made_config

# Of 100 predictions 40 are 55 % sure and 60 are 95 % sure.
RELIABILITY = {"images": [0, 40, 60], "confidence": [0.0, 22.0, 57.0], "right": [0.0, 20.0, 50.0]}
RECIPE = {"name": "seed", "stem": "cifar", "epochs": 24, "temperature": 4.0}  # a preset that is gone

TINY = Study("Does it run?", (TEACHER, STUDENT, DISTILLED), recipe="original", seeds=3)


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
        } | ({"agreement": accuracy} if arm.role != "teacher" else {})
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
    changes = ({"loss": loss} if loss != "kd" else {}) | change
    return measured(replace(declared, changes=changes, varies=field), (accuracy + 0.01,) if accuracy else ())


def made_study(*arms, comparisons=(), measured_on="test", **more):
    """A study of measured arms."""
    return MeasuredStudy(
        study="made", question="By hand?", measured_on=measured_on, arms=tuple(arms), comparisons=tuple(comparisons),
        data={"name": "CIFAR-10", "images": 100, "validated_on": 50}, machine="an abacus", versions={},
        command="python", **more,
    )  # fmt: skip


def make_main(alone=(0.86, 0.88, 0.87), distilled=(0.9, 0.93, 0.91)):
    """The study of a student alone and a distilled one, with an accuracy for each seed."""
    arms = [measured(TEACHER, (0.95,))]
    for declared, accuracies in ((STUDENT, alone), (DISTILLED, distilled)):
        arms.append(measured(declared, accuracies, before=arms))
    gain = {"arm": 2, "baseline": 1, "metric": "accuracy", **paired_difference(distilled, alone)._asdict()}
    return replace(made_study(*arms, comparisons=[gain]), study="main")


def make_omitted_class():
    """A study of two omitted classes, each with its control, at one T or two."""

    def arm(name, temperature, before, after, bias):
        if temperature is None:
            declared = replace(STUDENT, omitted_class=name)
        else:
            declared = replace(DISTILLED, omitted_class=name, changes={"temperature": temperature})
        found = {
            "bias": bias, "before": {"omitted": before, "others": 0.8}, "after": {"omitted": after, "others": 0.7}
        }  # fmt: skip
        arm = measured(declared)
        return replace(arm, runs=(arm.runs[0] | {"omitted_class": found},))

    return made_study(
        measured(TEACHER),
        arm("frog", None, 0.0, 0.05, 9.0), arm("frog", 4.0, 0.01, 0.7, 3.0), arm("frog", 20.0, 0.02, 0.9, 2.5),
        arm("cat", None, 0.0, 0.11, 8.0), arm("cat", 4.0, 0.0, 0.3, 2.0),
    )  # fmt: skip


def make_human_labels(seeds=2, temperature_from="validation"):
    """A study that compares with people, and the doubts that students inherit."""

    def arm(position, kl):
        runs = [{"seed": seed, "kl_at_temperature": kl + seed / 1000} for seed in range(seeds)]
        return {"arm": position, "kl": [kl + 0.2, kl + 0.1, kl], "kl_at_temperature": kl, "temperature": 4.0,
                "rank_correlation": 0.4, "runs": runs}  # fmt: skip

    inherited = {
        "seeds": [0, 1], "rank_correlation": {"student": [0.5, 0.6], "distilled": [0.7, 0.8]},
        "mean": 0.2, "low": 0.1, "high": 0.3, "p": 0.01 if seeds > 1 else None, "n": seeds,
    }  # fmt: skip
    found = {
        "temperatures": [0.5, 1.0, 4.0], "people_entropy": 0.05, "temperature_from": temperature_from,
        "arms": [arm(0, 0.3), arm(1, 0.25), arm(2, 0.2)], "inherited": inherited,
    }  # fmt: skip
    return made_study(measured(TEACHER), measured(STUDENT), measured(DISTILLED), human_labels=found)


def make_few_labels():
    """A study of few labels, in which the starved teacher of the least taught nobody yet."""
    teacher = measured(TEACHER, (0.9,))
    arms = [teacher]

    def add(declared, *accuracies):
        arms.append(measured(declared, accuracies, before=arms))

    for share, alone, taught in ((0.01, 0.3, 0.6), (0.04, 0.45, 0.7)):
        student, starved = Arm("student", label_fraction=share), Arm("teacher", label_fraction=share)
        add(student, alone)
        add(starved)
        for by in (TEACHER, starved):
            accuracies = (taught,) if by is TEACHER or share > 0.01 else ()
            add(Arm("distilled", teacher=by, baseline=student, label_fraction=share, keep_unlabelled=True), *accuracies)
    add(STUDENT, 0.8)
    add(Arm("student", label_fraction=0.25))

    def gain(arm, mean):
        baseline = next(place for place, other in enumerate(arms) if other is arms[arm].baseline)
        interval = {"sd": 0.004, "low": mean - 0.01, "high": mean + 0.01, "n": 3, "p": 0.001}
        return {"arm": arm, "baseline": baseline, "metric": "accuracy", "mean": mean, **interval}

    return made_study(*arms, comparisons=[gain(3, 0.3), gain(7, 0.25), gain(8, 0.02)])


def write_run(run, accuracy=0.5, seed=0, **data):
    """A finished run's checkpoint, with random weights; `data` is what its config.json says of these besides."""
    torch.manual_seed(seed)
    network = models.build(models.ARCHITECTURE_OF_ROLE[run.arm.role], run.recipe.stem)
    teacher = {"weights": checkpoint.load_config(run.teacher)["weights"]} if run.teacher else None
    config = made_config(
        run.arm.role,
        run.recipe_name,
        run.recipe,
        seed=run.recipe.seed,
        epochs_done=run.recipe.epochs,
        teacher=teacher,
        metrics={"validation_accuracy": accuracy, "validation_loss": 1.0},
        data={"name": "CIFAR-10", "trained_on": 450, "validated_on": 50} | data,
    )
    checkpoint.save(network, config, run.folder)
