"""What an arm is called in tables, figures and logs, made of its fields; and a difference's interval in words."""

from collections.abc import Mapping

from kd.studies.declared import Arm


def arm_name(arm: Arm, before_settings: str = ", ") -> str:
    """The arm's name, which is unique within its study.

    Args:
        before_settings: what parts the arm from the recipe's settings that it changes; a figure puts them on a line
            of their own.
    """
    if arm.label:
        return arm.label
    parts = [f"no {arm.omitted_class}"] if arm.omitted_class else []
    if arm.label_fraction < 1:
        parts.append(share(arm.label_fraction))
    if "epochs" in arm.changes:
        parts.append(f"{arm.changes['epochs']} epochs")
    settings = [setting(field, value) for field, value in arm.changes.items() if field not in ("epochs", "loss")]
    if not (arm.omitted_class and arm.temperature is not None):  # a T says that there is a teacher
        parts.append(way_of_teaching(arm))
    return before_settings.join([", ".join(parts), *([", ".join(settings)] if settings else [])])


def way_of_teaching(arm: Arm) -> str:
    """Who teaches it what: nobody but its labels, or which teacher by which images and which loss."""
    if arm.role == "teacher":
        return "starved teacher" if arm.label_fraction < 1 else "teacher"
    if arm.role == "student":
        return "student alone"
    return images_and_teacher(arm) if arm.label_fraction < 1 else arm.loss or "distilled"


def images_and_teacher(arm: Arm) -> str:
    """Of which images a distilled student is taught, and by whom: the teacher may know no more labels than it does."""
    images = "all" if arm.keep_unlabelled or arm.label_fraction == 1 else "same"
    teacher = "starved" if arm.teacher and arm.teacher.label_fraction < 1 else "full"
    return f"{images} images, {teacher} teacher"


def setting(field: str, value: object) -> str:
    """A field of the recipe with its value, in words."""
    words = "T =" if field == "temperature" else field.replace("_", " ")
    return f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}"


def share(fraction: float) -> str:
    """A share of the labels, in per cent."""
    return f"{100 * fraction:g}%"


def interval(difference: Mapping, scale: int, form: str) -> str:
    """The 95% interval of a mean difference and its number of seeds; of one seed, which has no interval, that alone.

    Args:
        difference: as `kd.significance.paired_difference` returns it.
        scale: what it is told in: 100 for points of accuracy, 1 for nats and correlations.
        form: the format of a bound.
    """
    if difference["n"] == 1:
        return "one seed"
    if difference["low"] == difference["high"]:  # no spread is known
        return f"the same in all {difference['n']} seeds, so nothing can be tested"
    low, high = (format(difference[bound] * scale, "+" + form) for bound in ("low", "high"))
    return f"95% interval {low} to {high}, {difference['n']} seeds"
