"""results.json, which `python -m train.evaluate` writes beside the checkpoints, as people read it."""

import json
from pathlib import Path

from kd.checkpoint import CheckpointError
from kd.models import ARCHITECTURES

RESULTS = "results.json"

ROLE_NAMES = {"teacher": "Teacher", "student": "Student alone", "distilled": "Distilled student"}


def read_results(checkpoints: str | Path) -> dict | None:
    """The results in a folder of checkpoints; None where none have been measured.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = Path(checkpoints) / RESULTS
    if not path.exists():
        return None
    try:
        results = json.loads(path.read_text("utf-8"))
        results["models"], results["data"]
        return results
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error!r}): write it anew with python -m train.evaluate --checkpoints {checkpoints}"
        ) from error


def results_rows(results: dict) -> tuple[list[str], list[list[str]]]:
    """The headings and rows of the results table, as texts."""
    headings = [
        "network", "test accuracy", "NLL (nats)", "calibration error", "agrees with teacher",
        "parameters", "MACs", "file size", "CPU latency",
    ]  # fmt: skip
    rows = [
        [
            f"{ROLE_NAMES[role]} ({ARCHITECTURES[model['architecture']]})",
            f"{model['accuracy']:.2%}",
            f"{model['nll']:.3f}",
            f"{model['ece']:.2%}",
            f"{model['agreement']:.2%}",
            f"{model['parameters'] / 1e6:.1f} M",
            f"{model['macs'] / 1e6:.1f} M",
            f"{model['bytes'] / 1e6:.1f} MB",
            f"{model['latency_ms']:.1f} ms",
        ]
        for role, model in results["models"].items()
    ]
    return headings, rows


def results_table(results: dict) -> str:
    """The results as a Markdown table, with a line that says where they come from."""
    headings, rows = results_rows(results)
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n" + provenance(results) + "\n"


def provenance(results: dict) -> str:
    """How the networks were trained, on which data and where they were measured, in one paragraph."""
    sentences = []
    for role, model in results["models"].items():
        recipe = model["recipe"]
        planned = "" if model["epochs_done"] == recipe["epochs"] else f" of {recipe['epochs']}"
        sentences.append(
            f"{ROLE_NAMES[role]}: recipe `{recipe['name']}`, {recipe['stem']} stem, {model['epochs_done']}{planned} epochs, "
            f"seed {model['seed']}, trained on {model['trained_on']}."
        )
    data = results["data"]
    copy = f" ({data['copy']})" if "copy" in data else ""
    sentences.append(
        f"Measured once, after the last epoch, on the {data['images']:,} test images of {data['name']}{copy}; "
        f"latency on {results['machine']}, batch 1, median of {results['latency_runs']}."
    )
    return " ".join(sentences)
