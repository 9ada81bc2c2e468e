"""A study as people read it: its tables, its verdicts, and where they come from, made of its JSON's fields."""

from kd.dataset import data_name
from kd.recipe import beside_preset, settings_in_words
from kd.significance import MARGIN, judged
from kd.studies.declared import METRIC_OF
from kd.studies.findings import findings
from kd.studies.ledger import MeasuredArm, MeasuredStudy
from kd.studies.omitted_class import runs_of
from kd.studies.words import arm_name, interval
from kd.tables import markdown_table

COLUMNS = {
    "accuracy": ("test accuracy", "{:.2%}", 100),
    "validation_accuracy": ("validation accuracy", "{:.2%}", 100),
    "corrupted_accuracy": ("corrupted validation images", "{:.2%}", 100),
    "nll": ("NLL (nats)", "{:.3f}", 1),
    "ece": ("calibration error", "{:.2%}", 100),
    "agreement": ("agrees with teacher", "{:.2%}", 100),
}

_OF_VALIDATION = ("validation_accuracy", "corrupted_accuracy")

SHORT_RUNS_OF = "original"  # the recipe of which few epochs show little
_NAMED_AT_MOST = 3  # arms trained alike; of more, their number is told


# Before a command that an earlier program carried out: its presets, studies and arms have had other names.
EARLIER = "By earlier code, in names of today: "


def is_short(study: MeasuredStudy) -> bool:
    """Whether all students' runs are of `SHORT_RUNS_OF` and of 8 epochs at most: the page does not show such runs."""
    runs = [(arm.recipe["name"], run) for arm in study.arms if arm.role != "teacher" for run in arm.runs]
    return all(name == SHORT_RUNS_OF and run["epochs_done"] <= 8 for name, run in runs)


def study_table(study: MeasuredStudy) -> str:
    """What a study found, its arms and comparisons, and a line that says where they come from.

    A study that asks for something else than accuracy has tables of its own in place of the arms'.
    """
    comparisons = "\n".join(f"- {sentence}" for sentence in verdicts(study))
    analysed = runs_of(study) or study.human_labels
    tables = () if analysed else (arms_table(study), comparisons, rule_of_verdicts(study))
    parts = [*findings(study), *tables, study_provenance(study)]
    return "\n\n".join(part for part in parts if part) + "\n"


def arms_table(study: MeasuredStudy) -> str:
    """The arms with the mean and the standard deviation of each metric, as a Markdown table."""
    metrics = [key for key in _columns_of(study) if any(key in arm.mean for arm in study.carried_out)]
    published = any(arm.published_accuracy is not None for arm in study.arms)
    headings = ["arm", "runs", *(["published"] if published else []), *(COLUMNS[key][0] for key in metrics)]
    rows = []
    for arm in study.carried_out:
        row = [arm_name(arm), str(len(arm.runs))]
        if published:
            row.append("" if arm.published_accuracy is None else f"{arm.published_accuracy:.2%}")
        rows.append(row + [_mean_and_sd(arm, key) for key in metrics])
    return markdown_table(headings, rows)


def runs_table(study: MeasuredStudy) -> str:
    """Every run by itself, and what it came from, as a Markdown table."""
    metric, rows = METRIC_OF[study.measured_on], []
    heading, form, _ = COLUMNS[metric]
    for arm in study.carried_out:
        for run in arm.runs:
            before = run.get("epochs_before")
            epochs = f"{before} of earlier training, {run['epochs_done']}" if before else str(run["epochs_done"])
            commit = run.get("commit") or "not recorded"
            rows.append([arm_name(arm), str(run["seed"]), epochs, form.format(run[metric]), run["machine"], commit])
    return markdown_table(["arm", "seed", "epochs", heading, "machine", "commit"], rows)


def verdicts(study: MeasuredStudy) -> list[str]:
    """Each comparison as a sentence."""
    sentences = []
    for found in judged(study.comparisons):
        arm, baseline = (arm_name(study.arms[found[key]]) for key in ("arm", "baseline"))
        text = (
            f"**{arm}** against {baseline}: {found['verdict']}. "
            f"{found['mean'] * 100:+.2f} points of {COLUMNS[found['metric']][0]}"
        )
        if found["n"] > 1 and found["low"] == found["high"]:
            text += f", {interval(found, 100, '.2f')}"
        elif found["n"] > 1:
            p = _probability(found["p"])
            if found["p_corrected"] != found["p"]:
                p += f", corrected {_probability(found['p_corrected'], equal='')}"
            text += (
                f", 95% interval {found['low'] * 100:+.2f} to {found['high'] * 100:+.2f}, "
                f"p {p} (paired t-test, {found['n']} seeds)"
            )
        else:
            text += " with one seed, which proves nothing"
        if "by_image" in found:
            each = ", ".join(f"p {_probability(seed['p'])}" for seed in found["by_image"])
            text += f"; by image, seed by seed, {each} (McNemar)"
        sentences.append(text + ".")
    return sentences


def rule_of_verdicts(study: MeasuredStudy) -> str:
    """What the verdicts' words mean, where a study has more than one comparison; else nothing."""
    tested = sum(found["n"] > 1 for found in study.comparisons)
    if tested < 2:
        return ""
    return (
        f"BETTER and WORSE: p under .05 after Holm's correction for the {tested} comparisons. NO DIFFERENCE: p is "
        f"not, and the whole interval lies within {MARGIN * 100:g} points of zero. NOT SHOWN: neither."
    )


def study_provenance(study: MeasuredStudy) -> str:
    """By which recipes, for how long, on which machine and data; then the command, in a paragraph of its own.

    Runs without the field `commit` are of a program that need not have had today's options.
    """
    trained_alike: dict[tuple[str, str], list[MeasuredArm]] = {}
    for arm in study.carried_out:
        trained_alike.setdefault(_training(study, arm), []).append(arm)
    in_order = sorted(trained_alike.items(), key=lambda alike: len(alike[1]) > _NAMED_AT_MOST)
    trained = " ".join(_told_together(arms, *training) for training, arms in in_order)
    left_out = len(study.arms) - len(study.carried_out)
    have = "have" if left_out > 1 else "has"
    not_run = f" {left_out} of the study's {len(study.arms)} arms {have} not been run." if left_out else ""
    dated = all("commit" in run for arm in study.carried_out for run in arm.runs)
    return f"{trained} {_measuring(study)}.{not_run}\n\n{'' if dated else EARLIER}`{study.command}`"


def _training(study: MeasuredStudy, arm: MeasuredArm) -> tuple[str, str]:
    """How an arm was trained, and on which machines."""
    settings = settings_in_words(shared_changes(study, arm))
    recipe = f"recipe `{arm.recipe['name']}` ({arm.recipe['stem']} stem{settings})"
    seeds = f"seed{'s' * (len(arm.runs) > 1)} {', '.join(str(run['seed']) for run in arm.runs)}"
    before = arm.runs[0].get("epochs_before")
    earlier = f"{before} epochs of earlier training and " if before else ""
    machines = " and ".join(sorted({run["machine"] for run in arm.runs}))
    return f"({seeds}): {recipe}, {earlier}{arm.runs[0]['epochs_done']} epochs", machines


def _told_together(arms: list[MeasuredArm], how: str, machines: str) -> str:
    """The sentence on arms that were trained alike; `how` and `machines` as `_training` returns them."""
    names = "; ".join(map(arm_name, arms))
    if len(arms) > _NAMED_AT_MOST:
        names = f"{arm_name(arms[0])} and {len(arms) - 1} more arms"
    numbers = [f"{number:,}" for number in sorted({arm.runs[0]["trained_on"] for arm in arms})]
    images = " or ".join([", ".join(numbers[:-1]), *numbers[-1:]] if len(numbers) > 1 else numbers)
    # str.capitalize() would make the T of a temperature small.
    return f"{names[0].upper()}{names[1:]} {how} on {images} images, {machines}."


def _measuring(study: MeasuredStudy) -> str:
    """When and on which images the arms were measured, and what stands beside a mean."""
    data, test = study.data, study.measured_on == "test"
    spread = "; mean ± standard deviation over the seeds" if any(len(arm.runs) > 1 for arm in study.arms) else ""
    number, part = (data["images"], "test") if test else (data["validated_on"], "validation")
    held_out = "" if test else ", held out of the training images"
    return f"Measured after the last epoch, on the {number:,} {part} images{held_out} of {data_name(data)}{spread}"


def shared_changes(study: MeasuredStudy, arm: MeasuredArm) -> list[tuple[str, object]]:
    """The recipe's fields, epochs apart, that an arm and its like set otherwise than the preset.

    What the arms of a role differ in, their names tell. The plain teacher, which studies share, stands by itself.
    """
    alike = [
        set(beside_preset(other.recipe, other.role).items())
        for other in study.carried_out
        if (other.role, other.is_plain_teacher) == (arm.role, arm.is_plain_teacher)
    ]
    return list(set.intersection(*alike))


def in_short(study: MeasuredStudy) -> str:
    """Recipe, epochs and seeds of a study's students in a line, for its figures."""
    students = [arm for arm in study.carried_out if arm.role != "teacher"] or study.carried_out
    recipes = " and ".join(sorted({arm.recipe["name"] for arm in students}))
    epochs = sorted({run["epochs_done"] for arm in students for run in arm.runs})
    seeds = max(len(arm.runs) for arm in students)
    from_to = " to ".join(map(str, epochs[:1] + epochs[1:][-1:]))
    up_to = "up to " if any(len(arm.runs) < seeds for arm in students) else ""
    return f"Recipe {recipes}, {from_to} epochs, {up_to}{seeds} seed{'s' * (seeds > 1)}"


def _columns_of(study: MeasuredStudy) -> list[str]:
    on_test = study.measured_on == "test"
    return [key for key in COLUMNS if (key in _OF_VALIDATION) != on_test]


def _mean_and_sd(arm: MeasuredArm, key: str) -> str:
    if key not in arm.mean:
        return ""
    spread, (_, form, scale) = arm.mean[key], COLUMNS[key]
    text = form.format(spread["mean"])
    if spread["sd"] is None:
        return text
    return f"{text} ± " + (f"{spread['sd'] * scale:.2f}" if scale == 100 else f"{spread['sd']:.3f}")


def _probability(p: float, equal: str = "= ") -> str:
    return f"{equal}{p:.3f}" if p >= 0.001 else "< 0.001"
