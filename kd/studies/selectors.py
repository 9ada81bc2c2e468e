"""Which of a study's arms are meant: `role=distilled,temperature=8` means those of which all of that is so.

A selector's fields are an arm's own, the recipe's where the arm changes them, and, after `teacher.`, those of the arm
that teaches it. `none` means that the arm does not set the field; unset, keep_unlabelled is false and label_fraction 1.
"""

from collections.abc import Sequence
from dataclasses import fields

from kd.recipe import Recipe
from kd.studies.declared import Arm, Study
from kd.studies.runs import StudyError

_OWN = {"role": str, "label_fraction": float, "keep_unlabelled": bool, "omitted_class": str, "varies": str}
_KINDS = _OWN | {entry.name: entry.type for entry in fields(Recipe) if entry.name != "seed"}
_READ = {str: str, int: int, float: float, bool: lambda text: {"true": True, "false": False}[text.lower()]}
_IN_WORDS = {int: "a whole number", float: "a number", bool: "true or false"}
_TEACHERS = "teacher."


def chosen(study: Study, selectors: Sequence[str]) -> list[Arm]:
    """The arms of a study that any of the selectors means, in the study's order.

    Raises:
        StudyError: a selector has a field or a value that cannot be, or means no arm; or an arm's teacher is left out.
    """
    wanted = {text: read_selector(text) for text in selectors}
    for text, selector in wanted.items():
        if not any(means(selector, arm) for arm in study.arms):
            there_are = " ".join(selector_of(arm, study) for arm in study.arms)
            raise StudyError(f"--arms {text} means none of the study's arms: choose from {there_are}")
    arms = [arm for arm in study.arms if any(means(selector, arm) for selector in wanted.values())]
    for arm in arms:
        if arm.teacher and arm.teacher not in arms:
            teacher = selector_of(arm.teacher, study)
            raise StudyError(f"the arm {selector_of(arm, study)} needs its teacher: add {teacher} to --arms")
    return arms


def read_selector(text: str) -> dict[str, object]:
    """The fields of a selector with the values that an arm is to have.

    Raises:
        StudyError: it is no list of FIELD=VALUE, no arm can have such a field, or it is of another type.
    """
    selector: dict[str, object] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise StudyError(f"--arms {text}: {part!r} is no FIELD=VALUE, like role=teacher")
        kind = _KINDS.get(name.removeprefix(_TEACHERS))
        if kind is None:
            raise StudyError(
                f"--arms {text}: an arm has no field {name!r}: choose from {', '.join(_KINDS)}, each after {_TEACHERS} "
                "for the teacher's"
            )
        try:
            selector[name] = None if value.lower() == "none" else _READ[kind](value)
        except (ValueError, KeyError) as error:
            raise StudyError(f"--arms {text}: {name} is {_IN_WORDS[kind]}, not {value!r}") from error
    return selector


def means(selector: dict[str, object], arm: Arm) -> bool:
    """Whether all fields of a selector agree with an arm's."""
    found = fields_of(arm)
    return all(found.get(name) == value for name, value in selector.items())


def fields_of(arm: Arm) -> dict[str, object]:
    """An arm's fields by the names that selectors have for them."""
    found = {name: getattr(arm, name) for name in _OWN} | dict(arm.changes)
    of_teacher = fields_of(arm.teacher) if arm.teacher else {}
    return found | {_TEACHERS + name: value for name, value in of_teacher.items()}


def selector_of(arm: Arm, study: Study) -> str:
    """A selector that means an arm, of those fields that any arm of its study sets."""
    unset = fields_of(Arm("distilled", teacher=Arm("teacher")))
    told = {name for other in study.arms for name, value in fields_of(other).items() if value != unset.get(name)}
    values = {name: value for name, value in fields_of(arm).items() if name in told}
    return ",".join(f"{name}={value}" for name, value in values.items() if value is not None and value is not False)
