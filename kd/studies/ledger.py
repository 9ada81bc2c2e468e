"""A study's JSON: NAME.json in the folder `studies` beside the checkpoints.

The file is a ledger: a run that stands in it is measured, for good. It is not looked at again, so that the test images
are asked once, and its checkpoint may be gone: a study can go on elsewhere with the file and its teachers' checkpoints.

docs/architecture.md describes the fields. An arm refers to its teacher and its baseline by their positions in "arms".
"""

import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kd.checkpoint import CheckpointError
from kd.files import lacking, parsed, write_json
from kd.models import ROLES
from kd.studies.declared import METRIC_OF, STUDIES, Arm

STUDIES_FOLDER = "studies"
FIGURES_FOLDER = "figures"  # in it; what the documentation shows
SCHEMA = 2  # the version of the file's fields

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MeasuredArm(Arm):
    """An arm with what was measured of it; all is empty where it has not been run.

    Attributes:
        architecture, macs: of its network; multiply-accumulates of one image.
        recipe: as config.json has it, without the seed. Fields that recipes no longer have may stand in it.
        runs: for each its seed, how it came about, and its metrics.
        mean: mean, sd and n of each metric over the runs.
    """

    architecture: str | None = None
    macs: int | None = None
    recipe: Mapping[str, object] = field(default_factory=dict)
    runs: tuple[dict, ...] = ()
    mean: Mapping[str, dict] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MeasuredStudy:
    """What a study's JSON holds.

    Attributes:
        arms: those that teach, and those that others are compared with, come before those others.
        comparisons: dicts with the positions of `arm` and `baseline`, `metric`, and the paired difference.
        data: what it was measured on.
        machine, versions: where and with what it was measured.
        command: what wrote the file.
        human_labels: the comparison with people, where the study asks for it (see `kd.studies.human_labels`).
    """

    study: str
    question: str
    measured_on: str
    arms: tuple[MeasuredArm, ...]
    comparisons: tuple[dict, ...]
    data: dict
    machine: str
    versions: dict
    command: str
    human_labels: dict | None = None

    @property
    def carried_out(self) -> list[MeasuredArm]:
        """The arms that have been run."""
        return [arm for arm in self.arms if arm.runs]


def paired_runs(arm: MeasuredArm, baseline: MeasuredArm) -> list[tuple[dict, dict]]:
    """The runs of the seeds that both arms have, in the order of these: while a study is under way one lacks some."""
    ours, theirs = ({run["seed"]: run for run in each.runs} for each in (arm, baseline))
    return [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]


def bits_as_text(right: Tensor) -> str:
    """Which images a run has right, bool, (N,): a bit an image, as base64 text."""
    return base64.b64encode(np.packbits(right.numpy()).tobytes()).decode()


def bits_of_text(text: str) -> Tensor:
    """What `bits_as_text` has made a text of, up to zeros at the end that fill the last byte."""
    return torch.from_numpy(np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8)).astype(bool))


def read_studies(checkpoints: str | Path) -> dict[str, MeasuredStudy]:
    """The studies beside the checkpoints, as of `read_folder`."""
    return read_folder(Path(checkpoints) / STUDIES_FOLDER)


def read_folder(folder: Path) -> dict[str, MeasuredStudy]:
    """The studies in a folder, by name; a file that cannot be read is logged and left out."""
    found = {}
    for path in study_files(folder):
        try:
            found[path.stem] = read_study(path)
        except CheckpointError as error:
            _log.warning("%s", error)
    return found


def study_files(folder: Path) -> list[Path]:
    """The studies' files in a folder, in the order of their names."""
    return sorted(folder.glob("*.json"), key=lambda path: path.stem)


def read_study(path: Path) -> MeasuredStudy:
    """A study's JSON.

    Raises:
        CheckpointError: it is missing, damaged or of another version.
    """
    try:
        study = from_json(parsed(path.read_text("utf-8")))
        if study.study != path.stem:  # a copy, of which one would be shown with the other's tables
            raise ValueError(f"it is of the study {study.study}: rename or remove it")
        return study
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        way_out = "bring it back, or remove it"  # of a study that is declared no more, no command writes it
        if path.stem in STUDIES:
            way_out = f"bring it back, or move it away and write it anew with python -m train.study {path.stem}"
        raise CheckpointError(f"{path} cannot be read ({error!r}): {way_out}") from error


def write_study(study: MeasuredStudy, path: Path) -> None:
    """Write a study's JSON, atomically."""
    write_json(path, as_json(study))


def as_json(study: MeasuredStudy) -> dict:
    """The content of a study's JSON."""
    content = {"schema": SCHEMA} | {entry.name: getattr(study, entry.name) for entry in fields(MeasuredStudy)}
    arms = [
        {entry.name: getattr(arm, entry.name) for entry in fields(MeasuredArm) if entry.name != "seeds"}
        | {
            key: None if (other := getattr(arm, key)) is None else study.arms.index(other)
            for key in ("teacher", "baseline")
        }
        | {"runs": list(arm.runs)}
        for arm in study.arms
    ]
    return content | {"arms": arms, "comparisons": list(study.comparisons)}


def from_json(content: dict) -> MeasuredStudy:
    """The study that a JSON holds.

    Raises:
        ValueError, LookupError or TypeError: it is damaged, or of another version.
    """
    if content["schema"] != SCHEMA:
        raise ValueError(f"it is of version {content['schema']}, this program reads version {SCHEMA}")
    kinds = {"study": str, "question": str, "data": dict, "machine": str, "versions": dict, "command": str}
    _check(content, kinds, "the study")
    _check(content["data"], {"name": str} | ({"images": int} if content["measured_on"] == "test" else {}), "its data")
    metric = METRIC_OF[content["measured_on"]]
    arms: list[MeasuredArm] = []
    for stored in content["arms"]:
        arms.append(_arm(stored, arms, metric))
    for found in content["comparisons"]:
        _check(found, {"metric": str, "n": int, "mean": Real}, "a comparison")
        if found["n"] > 1:
            _check(found, {"sd": Real, "low": Real, "high": Real, "p": Real}, "a comparison")
        for key in ("arm", "baseline"):
            _at(found[key], arms)
    if people := content["human_labels"]:
        _check(people, {"temperatures": list, "people_entropy": Real, "temperature_from": str}, "human_labels")
        if people["temperature_from"] != "validation":
            raise ValueError("its T were chosen on the test images, by an earlier version")
        told = {"kl": list, "temperature": Real, "kl_at_temperature": Real, "rank_correlation": Real}
        for found in people["arms"]:
            _check(found, told | {"runs": list}, "an arm of human_labels")
            _at(found["arm"], arms)
        if inherited := people.get("inherited"):
            _check(inherited, {"rank_correlation": dict, "n": int, "mean": Real}, "inherited")
    return MeasuredStudy(
        **{key: content[key] for key in kinds},
        measured_on=content["measured_on"],
        arms=tuple(arms),
        comparisons=tuple(content["comparisons"]),
        human_labels=people,
    )


def _arm(stored: dict, before: list[MeasuredArm], metric: str) -> MeasuredArm:
    """An arm, whose teacher and baseline are among those before it."""
    kinds = {"role": str, "label_fraction": Real, "keep_unlabelled": bool, "changes": dict, "label": str, "runs": list,
             "recipe": dict, "mean": dict, "published_accuracy": Real | None}  # fmt: skip
    _check(stored, kinds, "an arm")
    if stored["role"] not in ROLES:
        raise ValueError(f"an arm has the unknown role {stored['role']!r}")
    for run in stored["runs"]:
        _check(run, {"seed": int, "epochs_done": int, "trained_on": int, "machine": str, metric: Real}, "a run")
        if "omitted_class" in run:
            _check(run, {"omitted_class": dict}, "a run")
            found = run["omitted_class"]
            _check(found, {"bias": Real, "before": dict, "after": dict}, "omitted_class")
            for accuracies in (found["before"], found["after"]):
                _check(accuracies, {"omitted": Real, "others": Real}, "omitted_class")
    if stored["runs"]:
        _check(stored, {"architecture": str, "macs": int}, "an arm")
        _check(stored["recipe"], {"name": str, "stem": str, "epochs": int, "temperature": Real}, "a recipe")
        for name in {metric} | stored["mean"].keys():
            _check(stored["mean"].get(name, {}), {"mean": Real, "n": int, "sd": Real | None}, f"the mean {name}")
    values = {entry.name: stored[entry.name] for entry in fields(MeasuredArm) if entry.name != "seeds"}
    referred = {key: None if stored[key] is None else _at(stored[key], before) for key in ("teacher", "baseline")}
    return MeasuredArm(**values | referred | {"runs": tuple(stored["runs"])})


def _at(place: int, arms: list[MeasuredArm]) -> MeasuredArm:
    if not 0 <= place < len(arms):
        raise ValueError(f"{place} is the position of no arm that comes before")
    return arms[place]


def _check(found: dict, kinds: dict[str, type], what: str) -> None:
    if wrong := lacking(found, kinds):
        raise ValueError(f"{what} is without a usable {', '.join(wrong)}")
