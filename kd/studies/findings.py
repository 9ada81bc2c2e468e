"""What the studies found beyond accuracy, in sentences and tables drawn from their JSON."""

import dataclasses
import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple

from kd.recipe import Recipe
from kd.significance import judged, paired_difference

TOLD_SHARE = 0.04  # of the labels: fixed beforehand, like the T that is told


def findings(study: dict) -> list[str]:
    """The paragraphs (Markdown) of a study's own analysis; none where it has none."""
    paragraphs = [*few_labels_sentence(study), *epochs_sentences(study), *selection_sentences(study)]
    if "never_seen" in study:
        paragraphs += [never_seen_sentence(study["never_seen"]), never_seen_table(study["never_seen"])]
    if study.get("human_doubt"):
        paragraphs += [human_doubt_table(study["human_doubt"]), *human_doubt_sentences(study["human_doubt"])]
    return paragraphs


def few_labels_sentence(study: dict) -> list[str]:
    """What soft targets for all images add to `TOLD_SHARE` of the labels; empty where those arms have not been run."""
    share = f"{TOLD_SHARE:.0%}"
    alone = [arm for arm in study["arms"] if arm["name"] == f"{share}, alone" and arm["runs"]]
    gains = {found["arm"]: found for found in judged(study["comparisons"])}
    told = [
        f"{gains[name]['mean'] * 100:+.1f} points where {teacher} gives them ({_verdict(gains[name], 100, '.1f')})"
        for name, teacher in (
            (f"{share}, all images, full teacher", "the full teacher"),
            (f"{share}, all images, starved teacher", "a teacher that has no other labels itself"),
        )
        if name in gains
    ]
    if not alone or not told:
        return []
    return [
        f"With {share} of the labels a student alone has {alone[0]['mean']['accuracy']['mean']:.1%} of the test images "
        f"right; soft targets for all training images, labelled or not, add {' and '.join(told)}."
    ]


def accuracy_by_epochs(study: dict) -> dict[str, dict[int, dict[int, float]]]:
    """Test accuracy by role, epochs of the schedule and seed; empty unless both students had several schedules."""
    if study.get("measured_on") != "test":
        return {}
    students = [arm for arm in study["arms"] if arm["runs"] and arm["role"] != "teacher" and not arm["withheld"]]
    for role in ("student", "distilled"):
        if len({arm["recipe"].get("epochs") for arm in students if arm["role"] == role}) < 2:
            return {}
    found: dict[str, dict[int, dict[int, float]]] = {"student": {}, "distilled": {}}
    for arm in students:
        found[arm["role"]][arm["recipe"]["epochs"]] = {run["seed"]: run["accuracy"] for run in arm["runs"]}
    return found


def epochs_for(accuracy: float, measured: Mapping[int, float]) -> float | None:
    """How many epochs reach an accuracy, between the measured schedules along a line over the logarithm of epochs.

    Args:
        accuracy: what is to be reached, 0 to 1.
        measured: accuracy by epochs.

    Returns:
        None where no measured schedule reaches it; the shortest one's epochs where that does already.
    """
    epochs = sorted(measured)
    if measured[epochs[0]] >= accuracy:
        return float(epochs[0])
    for few, more in zip(epochs, epochs[1:], strict=False):
        if measured[more] >= accuracy:
            share = (accuracy - measured[few]) / (measured[more] - measured[few])
            return math.exp((1 - share) * math.log(few) + share * math.log(more))
    return None


def epochs_sentences(study: dict) -> list[str]:
    """For each schedule with a teacher, how many epochs the labels alone take for as much."""
    found = accuracy_by_epochs(study)
    if not found:
        return []
    told, longest = [], max(found["student"])
    for epochs, by_seed in sorted(found["distilled"].items()):
        seeds = [seed for seed in by_seed if all(seed in schedule for schedule in found["student"].values())]
        needed = [
            epochs_for(by_seed[seed], {each: found["student"][each][seed] for each in found["student"]})
            for seed in seeds
        ]
        reached = [value for value in needed if value is not None]
        if not reached:
            worth = f"more than the {longest} that were tried"
        elif len(reached) < len(needed):
            worth = f"{min(reached):.1f} or more; {len(needed) - len(reached)} of {len(needed)} seeds never get there"
        elif len(reached) == 1:
            worth = f"{reached[0]:.1f}, with one seed"
        else:
            worth = f"{statistics.fmean(reached):.1f} ± {statistics.stdev(reached):.1f} ({len(reached)} seeds)"
        told.append(f"{epochs} epochs with the teacher give {statistics.fmean(by_seed.values()):.1%}: alone {worth}")
    return [f"Epochs that the labels alone take for as much, between the measured schedules: {'; '.join(told)}."]


class Trial(NamedTuple):
    """An arm that sets one field of the recipe otherwise than its like; its name says so: "who, field value"."""

    who: str
    field: str  # of `Recipe`
    arm: dict


def trials(study: dict) -> list[Trial]:
    """The trials that were run, in the study's order; empty where the study chooses nothing."""
    fields = {entry.name for entry in dataclasses.fields(Recipe)}
    found = []
    for arm in study["arms"]:
        who, _, setting = arm["name"].partition(", ")
        field = setting.rpartition(" ")[0].replace(" ", "_")
        if arm["runs"] and field in fields and study["measured_on"] == "validation":
            found.append(Trial(who, field, arm))
    return found


def selection_sentences(study: dict) -> list[str]:
    """Which setting of each field was best on the validation images, a line for each network; one paragraph or none."""
    best: dict[str, dict[str, dict]] = {}
    for who, field, arm in trials(study):
        fields = best.setdefault(who, {})
        fields[field] = max(fields.get(field, arm), arm, key=lambda arm: arm["mean"]["validation_accuracy"]["mean"])
    lines = [
        f"- {who}: "
        + ", ".join(
            f"{arm['name'].partition(', ')[2]} ({arm['mean']['validation_accuracy']['mean']:.2%})"
            for arm in fields.values()
        )
        for who, fields in best.items()
    ]
    return ["\n".join(["Best on the validation images, one setting changed at a time:", "", *lines])] if lines else []


def never_seen_table(found: dict) -> str:
    """A row a run: its accuracy on the class it never saw and on the nine others, before and after the correction."""
    rows = [
        ["never saw", "taught by", "unseen class, before", "after correction", "seen classes, before", "after", "bias"],
        ["---", "---"] + ["---:"] * 5,
    ]
    for run in found["runs"]:
        before, after = run["before"], run["after"]
        taught = "the labels alone" if run["temperature"] is None else f"the teacher, T = {run['temperature']:g}"
        shares = (before["unseen"], after["unseen"], before["seen"], after["seen"])
        rows.append([run["unseen"], taught, *(f"{share:.1%}" for share in shares), f"{run['bias']:+.2f}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def never_seen_sentence(found: dict, unseen: str | None = None) -> str:
    """What students know of the classes they never saw, next to their controls.

    Every class is told, with the student distilled at the recipes' own T, or at the only T that was run: the test
    images may not choose.

    Args:
        found: the study's analysis.
        unseen: the class to tell of; None for all.
    """
    told = []
    for name in dict.fromkeys(run["unseen"] for run in found["runs"]):
        by_temperature = {run["temperature"]: run for run in found["runs"] if run["unseen"] == name}
        alone = by_temperature.pop(None, None)
        temperature = next(iter(by_temperature)) if len(by_temperature) == 1 else Recipe.temperature
        if temperature not in by_temperature or unseen not in (None, name):
            continue
        control = f"; taught by the labels alone {alone['after']['unseen']:.1%}" if alone else ""
        before, after = (f"{by_temperature[temperature][key]['unseen']:.1%}" for key in ("before", "after"))
        told.append(f"{after} of the {name} images at T = {temperature:g} ({before} before{control})")
    rule = f"Bias correction: {found['rule']}."
    if not told:
        return rule
    return (
        "A distilled student that was never shown a class recognises, after the correction of its bias, "
        f"{', '.join(told)}. {rule}"
    )


def human_doubt_table(found: dict) -> str:
    """A row an arm: how near its doubts come to people's, and at which T."""
    rows = [
        [
            "network",
            "KL from people at T = 1 (nats)",
            "least KL",
            "at T =",
            "rank correlation of its entropy with people's",
        ],
        ["---"] + ["---:"] * 4,
    ]
    at_one = found["temperatures"].index(1.0)
    for name, arm in found["arms"].items():
        numbers = (arm["kl"][at_one], arm["kl_at_best"], arm["best_temperature"], arm["rank_correlation"])
        rows.append([name, *(f"{number:.3f}" for number in numbers)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def human_doubt_sentences(found: dict) -> list[str]:
    """Who doubts most like people, and whether the distilled student has its teacher's doubts."""
    nearness = ", ".join(f"{name} {arm['kl_at_best']:.3f}" for name, arm in found["arms"].items())
    sentences = [
        f"Each softened by the T at which it comes nearest to people, the networks are so far from them, in nats: "
        f"{nearness}; people's own entropy is {found['people_entropy']:.3f}. These T were chosen on the same images, "
        "so that each figure is the best case of its network."
    ]
    runs = {name: {run["seed"]: run["kl_at_best"] for run in arm["runs"]} for name, arm in found["arms"].items()}
    ours, theirs = (runs.get(name, {}) for name in ("distilled", "student alone"))
    if seeds := sorted(ours.keys() & theirs.keys()):
        difference = paired_difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
        (judgement,) = judged([difference._asdict()], margin=None)
        told = {"BETTER": "is farther from people than", "WORSE": "is nearer to people than"}  # less is nearer
        nearer = told.get(judgement["verdict"], "is not shown to differ from")
        sentences.append(
            f"The distilled student {nearer} the student alone in this: "
            f"{difference.mean:+.3f} nats{_interval(judgement, 1, '.3f')}."
        )
    inherited = found.get("inherited")
    if inherited:
        alone, distilled = (
            sum(inherited["rank_correlation"][name]) / len(inherited["seeds"])
            for name in ("student alone", "distilled")
        )
        sentences.append(
            f"On images that all three networks have right, the distilled student's entropy goes with the teacher's at "
            f"a rank correlation of {distilled:.3f}, the student's alone at {alone:.3f}: {inherited['mean']:+.3f} "
            f"({_verdict(judged([inherited], margin=None)[0], 1, '.3f')})."
        )
    return sentences


def _verdict(difference: dict, scale: int, form: str) -> str:
    """A judged difference's verdict with its interval (in points where the scale is 100) and the number of seeds."""
    if difference["n"] == 1:
        return "one seed, which proves nothing"
    return f"{difference['verdict']}{_interval(difference, scale, form)}"


def _interval(difference: dict, scale: int, form: str) -> str:
    if difference["n"] == 1:
        return " with one seed"
    low, high = (format(difference[end] * scale, "+" + form) for end in ("low", "high"))
    return f", 95 % interval {low} to {high}, {difference['n']} seeds"
