"""results.json, which `python -m train.evaluate` writes beside the checkpoints, as people read it."""

import logging
from numbers import Real
from pathlib import Path

from kd.checkpoint import CheckpointError, digest, epochs_before, has_foreign_weights, load_config
from kd.cifar10 import NAME
from kd.dataset import data_name
from kd.files import lacking, parsed
from kd.models import ROLE_NAMES, architecture_name
from kd.recipe import RECIPES, beside_preset, settings_in_words
from kd.tables import markdown_table

RESULTS = "results.json"
_NUMBERS = ("accuracy", "nll", "ece", "agreement", "parameters", "macs", "bytes", "latency_ms", "epochs_done", "seed")
_FIELDS = dict.fromkeys(_NUMBERS, Real) | {"architecture": str}  # of each network

ANOTHER_TEACHER = "Another teacher taught the distilled student."

_log = logging.getLogger(__name__)


def read_results(checkpoints: str | Path) -> dict | None:
    """The results in a folder of checkpoints; None where none have been measured, or the file is damaged.

    Whoever needs the networks alone is not stopped by what was measured of them; the log says what is wrong.
    """
    try:
        return load_results(checkpoints)
    except CheckpointError as error:
        _log.warning("%s", error)
        return None


def load_results(checkpoints: str | Path) -> dict | None:
    """The results in a folder of checkpoints; None where none have been measured.

    Raises:
        CheckpointError: the file is damaged, or names what this program does not know.
    """
    path = Path(checkpoints) / RESULTS
    if not path.exists():
        return None
    try:
        results = parsed(path.read_text("utf-8"))
        if wrong := _wrong_fields(results):
            raise ValueError(f"it is without a usable {', '.join(wrong)}")
        return results
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}): write it anew with python -m train.evaluate --checkpoints {checkpoints}"
        ) from error


def present_results(checkpoints: str | Path) -> dict | None:
    """The results in a folder of checkpoints, as long as the networks that were measured are those that lie there.

    Raises:
        CheckpointError: the file or a network's config.json is damaged or missing.
    """
    results = load_results(checkpoints)
    if results is None:
        return None
    configs = [load_config(Path(checkpoints) / role) for role in results["models"]]
    return results if all(network_results(results, config) for config in configs) else None


def _wrong_fields(results: object) -> list[str]:
    """The fields that are missing, cannot be true, or name what is not known."""
    if wrong := lacking(results, {"models": dict, "data": dict}):
        return wrong
    wrong = [f"data.{key}" for key in lacking(results["data"], {"name": str, "images": int})]
    for role, model in results["models"].items():
        if role not in ROLE_NAMES:
            wrong.append(f"role {role}")
        wrong += [f"{role}.{key}" for key in lacking(model, _FIELDS)]
        of_class = model.get("per_class_accuracy", {})
        if not isinstance(of_class, dict) or lacking(of_class, dict.fromkeys(of_class, Real)):
            wrong.append(f"{role}.per_class_accuracy")
    return wrong


def network_results(results: dict, config: dict) -> dict | None:
    """The results of one network alone; None where they were measured with another one.

    Args:
        results: the content of a results.json.
        config: the network's config.json.
    """
    model = results["models"].get(config["role"], {})
    return {**results, "models": {config["role"]: model}} if model.get("weights") == digest(config) else None


def warning_rates(out_of_class: dict) -> str:
    """How often the page's warning is right and wrong, in a sentence, from what results.json has as "out_of_class"."""
    false, omitted = out_of_class["false_alarms"], out_of_class["omitted_class"]
    detected, corrupted = out_of_class["detected"].values(), out_of_class["false_alarms_corrupted"].values()
    said = (
        f"It is a false alarm for {false:.0%} of test images, and for up to {max(corrupted):.0%} of validation images "
        f"made blurred, noisy, pale or compressed; it catches {100 * min(detected):.0f}–{max(detected):.0%} of noise, "
        "patterns and text."
    )
    if omitted:
        said += (
            f" By the same rule a student never shown the class {omitted['class']} would warn of "
            f"{omitted['detected']:.0%} of that class's test images."
        )
    return said


def the_test_images(data: str) -> str:
    """The test images of a data set of this name, in words."""
    return "CIFAR-10's test images" if data == NAME else f"the test images of {data}"


def amount(number: float) -> str:
    """A large number in short: 23.5 M, or 1.7 k where it is far below a million."""
    return f"{number / 1e6:.1f} M" if number >= 1e5 else f"{number / 1e3:.1f} k"


def results_rows(results: dict) -> tuple[list[str], list[list[str]]]:
    """The headings and rows of the results table, as texts."""
    headings = [
        "network", "test accuracy", "NLL (nats)", "calibration error", "agrees with teacher",
        "parameters", "MACs", "file size", "latency",
    ]  # fmt: skip
    rows = [
        [
            f"{ROLE_NAMES[role]} ({architecture_name(model['architecture'])})",
            f"{model['accuracy']:.2%}",
            f"{model['nll']:.3f}",
            f"{model['ece']:.2%}",
            f"{model['agreement']:.2%}",
            amount(model["parameters"]),
            amount(model["macs"]),
            f"{amount(model['bytes'])}B",
            f"{model['latency_ms']:.1f} ms",
        ]
        for role, model in results["models"].items()
    ]
    return headings, rows


def results_table(results: dict) -> str:
    """The results as a Markdown table."""
    return markdown_table(*results_rows(results))


def results_section(results: dict) -> str:
    """The table, with a paragraph below it that says where it comes from."""
    return f"{results_table(results)}\n\n{results_provenance(results)}\n"


def training_sentences(models: dict[str, dict], another_teacher: bool = False) -> str:
    """How far each network was trained, by which recipe, and on what; from results or from configs.

    Args:
        models: by role, a dict with recipe, epochs_done, seed, machine and data; where the run began with the weights
            of an earlier one, with epochs_before and foreign_weights (as in results) or started_from (as in configs).
        another_teacher: whether another teacher than the one among them taught the distilled student.
    """
    roles: dict[str, list[str]] = {}
    for role, model in models.items():
        recipe = model["recipe"]
        preset = RECIPES.get(recipe["name"])  # an older recipe may be gone
        planned = preset[role].epochs if preset else model["epochs_done"]
        done = f"{model['epochs_done']} epochs"
        if model.get("foreign_weights", has_foreign_weights(model)):
            done = f"weights from elsewhere and {done}"
        elif before := model.get("epochs_before", epochs_before(model)):
            done = f"{before} epochs of earlier training and {done}"
        elif model["epochs_done"] != planned:
            done += f" (the recipe's schedule has {planned})"
        settings = settings_in_words(beside_preset(recipe, role).items())
        text = (
            f"recipe `{recipe['name']}` ({recipe['stem']} stem{settings}), seed {model['seed']}, "
            f"{done} on {model['data']['trained_on']:,} images, {model['machine']}"
        )
        roles.setdefault(text, []).append(ROLE_NAMES[role].lower())
    sentences = [f"{' and '.join(names).capitalize()}: {text}." for text, names in roles.items()]
    if another_teacher:
        sentences.append(ANOTHER_TEACHER)
    return " ".join(sentences)


def results_provenance(results: dict) -> str:
    """How the networks were trained, on which data and where they were measured, in one paragraph."""
    data = results["data"]
    return (
        f"{training_sentences(results['models'], results.get('another_teacher', False))} "
        f"Measured after the last epoch, on the {data['images']:,} test images of {data_name(data)}; "
        f"latency on one core ({results['machine']}), one image, median of {results['latency_runs']} runs."
    )
