"""What the studies found beyond accuracy, in sentences and tables made of their JSON's fields."""

import math
import statistics
from collections.abc import Mapping

from kd.significance import Verdict, judged, paired_difference
from kd.studies.ledger import MeasuredArm, MeasuredStudy, paired_runs
from kd.studies.omitted_class import OmittedClassRun, runs_of, told_runs
from kd.studies.words import arm_name, interval, setting, share, way_of_teaching
from kd.tables import markdown_table

TOLD_SHARE = 0.04  # of the labels: fixed beforehand, like the T that is told


def findings(study: MeasuredStudy) -> list[str]:
    """The paragraphs (Markdown) of a study's own analysis; none where it has none."""
    paragraphs = [*few_labels_sentence(study), *epochs_sentences(study), *selection_sentences(study)]
    if runs := runs_of(study):
        paragraphs += [omitted_class_sentence(study), omitted_class_table(runs)]
    if study.human_labels:
        paragraphs += [human_labels_table(study), *human_labels_sentences(study)]
    return paragraphs


def few_labels_sentence(study: MeasuredStudy) -> list[str]:
    """What soft targets for all images add to `TOLD_SHARE` of the labels; empty where those arms have not been run."""
    told, alone = [], []
    for found in judged(study.comparisons):
        arm = study.arms[found["arm"]]
        if arm.label_fraction == TOLD_SHARE and arm.keep_unlabelled and arm.teacher:
            alone = [run["accuracy"] for _, run in paired_runs(arm, study.arms[found["baseline"]])]
            starved = arm.teacher.label_fraction < 1
            teacher = "a teacher that has no other labels itself" if starved else "the full teacher"
            gain = f"{found['mean'] * 100:+.1f} points where {teacher} gives them"
            told.append(f"{gain} ({_verdict(found, 100, '.1f')})")
    if not told:
        return []
    return [
        f"With {share(TOLD_SHARE)} of the labels a student alone has {statistics.fmean(alone):.1%} of the test "
        f"images right; soft targets for all training images, labelled or not, add {' and '.join(told)}."
    ]


def accuracy_by_epochs(study: MeasuredStudy) -> dict[str, dict[int, dict[int, float]]]:
    """Test accuracy by role, epochs of the schedule and seed; empty unless both students had several schedules."""
    if study.measured_on != "test":
        return {}
    found: dict[str, dict[int, dict[int, float]]] = {"student": {}, "distilled": {}}
    for arm in study.carried_out:
        if arm.role in found and not arm.withheld:
            found[arm.role][arm.recipe["epochs"]] = {run["seed"]: run["accuracy"] for run in arm.runs}
    return found if min(map(len, found.values())) > 1 else {}


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
            part = (accuracy - measured[few]) / (measured[more] - measured[few])
            return math.exp((1 - part) * math.log(few) + part * math.log(more))
    return None


def epochs_alone(study: MeasuredStudy) -> dict[int, dict[int, float | None]]:
    """For each schedule with a teacher, how many epochs each seed's student alone takes for as much (`epochs_for`)."""
    found = accuracy_by_epochs(study)
    return {
        epochs: {
            seed: epochs_for(accuracy, {each: by_seed[seed] for each, by_seed in found["student"].items()})
            for seed, accuracy in found["distilled"][epochs].items()
            if all(seed in by_seed for by_seed in found["student"].values())
        }
        for epochs in sorted(found.get("distilled", ()))
    }


def epochs_sentences(study: MeasuredStudy) -> list[str]:
    """For each schedule with a teacher, how many epochs a student alone takes for as much."""
    found, told = accuracy_by_epochs(study), []
    for epochs, by_seed in epochs_alone(study).items():
        if not by_seed:
            continue
        seeds, needed = list(by_seed), list(by_seed.values())
        shortest, longest = min(found["student"]), max(found["student"])
        number = f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed"
        if all(value is not None and value > shortest for value in needed) and len(seeds) > 1:
            spread = f"standard deviation {statistics.stdev(needed):.1f} over {number}"
            worth = f"{statistics.fmean(needed):.1f} epochs ({spread})"
        else:  # a mean of what lies beyond the measured schedules would be none
            each = [
                f"more than the {longest} that were tried" if value is None
                else f"{shortest} or fewer" if value == shortest else f"{value:.1f}"
                for value in needed
            ]  # fmt: skip
            worth = f"{each[0] if len(set(each)) == 1 else ', '.join(each)} ({number})"
        reached = statistics.fmean(found["distilled"][epochs][seed] for seed in seeds)
        told.append(f"for the {reached:.1%} that {epochs} epochs with the teacher give, {worth}")
    along = "interpolated between the measured schedules, linearly in the logarithm of their epochs"
    return [f"How long a student alone takes: {'; '.join(told)}; {along}."] if told else []


def trials(study: MeasuredStudy) -> dict[str, dict[str, list[MeasuredArm]]]:
    """The arms that try a value of a field of the recipe, by that field and by who is taught how.

    Empty where the study chooses nothing.
    """
    found: dict[str, dict[str, list[MeasuredArm]]] = {}
    for arm in study.carried_out if study.measured_on == "validation" else ():
        if arm.varies:
            found.setdefault(arm.varies, {}).setdefault(way_of_teaching(arm), []).append(arm)
    return found


def selection_sentences(study: MeasuredStudy) -> list[str]:
    """Which setting of each field was best on the validation images, a line for each network; one paragraph or none."""
    lines: dict[str, list[str]] = {}
    for field, networks in trials(study).items():
        for who, arms in networks.items():
            best = max(arms, key=lambda arm: arm.mean["validation_accuracy"]["mean"])
            accuracy = best.mean["validation_accuracy"]["mean"]
            lines.setdefault(who, []).append(f"{setting(field, best.changes[field])} ({accuracy:.2%})")
    told = [f"- {who}: {', '.join(settings)}" for who, settings in lines.items()]
    return ["\n".join(["Best on the validation images, one setting changed at a time:", "", *told])] if told else []


def omitted_class_table(runs: list[OmittedClassRun]) -> str:
    """A row a run: its accuracy on the omitted class and on the nine others, before and after the correction."""
    headings = (
        "omitted class", "taught by", "seed", "accuracy on it, before", "after correction",
        "on the others, before", "after", "bias",
    )  # fmt: skip
    rows = []
    for run in runs:
        before, after = run.before, run.after
        taught = "nobody (student alone)" if run.temperature is None else f"the teacher, T = {run.temperature:g}"
        shares = (before["omitted"], after["omitted"], before["others"], after["others"])
        accuracies = (f"{each:.1%}" for each in shares)
        rows.append([run.arm.omitted_class, taught, str(run.seed), *accuracies, f"{run.bias:+.2f}"])
    return markdown_table(headings, rows, names=2)


def omitted_class_sentence(study: MeasuredStudy) -> str:
    """What students know of the classes that were omitted from their training, next to their controls.

    Every class is told, with the mean over the seeds of the student distilled at `told_temperature` and of its control.
    """
    told = []
    for name, (taught, alone) in told_runs(study).items():
        if not taught:
            continue
        before = statistics.fmean(run.before["omitted"] for run in taught)
        after = statistics.fmean(run.after["omitted"] for run in taught)
        control = f"; a student alone {statistics.fmean(run.after['omitted'] for run in alone):.1%}" if alone else ""
        seeds = f", mean of {len(taught)} seeds" if len(taught) > 1 else ""
        told.append(
            f"{after:.1%} of the class {name} at T = {taught[0].temperature:g} ({before:.1%} before{control}{seeds})"
        )
    rule = (
        "Bias correction: the omitted class's logit is shifted until, on the validation images of the nine others, the "
        "student predicts that class as often as the teacher does."
    )
    if not told:
        return rule
    return (
        "With its bias corrected, a distilled student whose training omitted a class recognises "
        f"{', '.join(told)}. {rule}"
    )


def human_labels_table(study: MeasuredStudy) -> str:
    """A row an arm: how near its doubts come to people's, and at which T."""
    headings = (
        "network", "KL from people at T = 1 (nats)", "KL at the fitted T", "fitted T",
        "rank correlation of its entropy with people's",
    )  # fmt: skip
    found, rows = study.human_labels, []
    at_one = found["temperatures"].index(1.0)
    for arm in found["arms"]:
        numbers = (arm["kl"][at_one], arm["kl_at_temperature"], arm["temperature"], arm["rank_correlation"])
        rows.append([arm_name(study.arms[arm["arm"]]), *(f"{number:.3f}" for number in numbers)])
    return markdown_table(headings, rows)


def human_labels_sentences(study: MeasuredStudy) -> list[str]:
    """Who doubts most like people, and whether the distilled student has its teacher's doubts."""
    found = study.human_labels
    *nearness_judged, inherited_judged = human_labels_judged(study)
    nearness = ", ".join(f"{arm_name(study.arms[arm['arm']])} {arm['kl_at_temperature']:.3f}" for arm in found["arms"])
    sentences = [
        "Distance from people in nats, each network softened by the T at which the labels of its validation images are "
        f"likeliest: {nearness}; people's own entropy is {found['people_entropy']:.3f}. CIFAR-10H labels only the "
        "test images, so no T is fitted to people."
    ]
    for found_nearer in nearness_judged:
        told = {Verdict.BETTER: "is farther from people than", Verdict.WORSE: "is nearer to people than"}  # less is so
        nearer = told.get(found_nearer["verdict"], "is not shown to differ from")
        sentences.append(
            f"The distilled student {nearer} the student alone in this: "
            f"{found_nearer['mean']:+.3f} nats, {interval(found_nearer, 1, '.3f')}."
        )
    if inherited_judged:
        correlations = found["inherited"]["rank_correlation"]
        alone, distilled = (statistics.fmean(correlations[role]) for role in ("student", "distilled"))
        sentences.append(
            f"On images that all three networks get right, the distilled student's entropy follows the teacher's with "
            f"a rank correlation of {distilled:.3f}, that of the student alone with {alone:.3f}: "
            f"{inherited_judged['mean']:+.3f} "
            f"({_verdict(inherited_judged, 1, '.3f')})."
        )
    return sentences


def human_labels_judged(study: MeasuredStudy) -> list[dict | None]:
    """What is compared between the two students, judged together.

    Returns:
        The distilled student's distance from people less that of the student alone (nats), where both have a seed in
        common; and last how much better its doubts follow the teacher's, None where that was not measured.
    """
    found, compared = study.human_labels, []
    runs = {
        study.arms[arm["arm"]].role: {run["seed"]: run["kl_at_temperature"] for run in arm["runs"]}
        for arm in found["arms"]
    }
    ours, theirs = (runs.get(role, {}) for role in ("distilled", "student"))
    if seeds := sorted(ours.keys() & theirs.keys()):
        compared.append(paired_difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])._asdict())
    inherited = found.get("inherited")
    together = judged([*compared, *([inherited] if inherited else [])], margin=None)
    return together if inherited else [*together, None]


def _verdict(difference: dict, scale: int, form: str) -> str:
    """A judged difference's verdict with its interval (in points where the scale is 100) and the number of seeds."""
    if difference["n"] == 1:
        return "one seed, which proves nothing"
    return f"{difference['verdict']}, {interval(difference, scale, form)}"
