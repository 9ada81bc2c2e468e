"""The first form of a study's JSON, which had no version: an arm was known by its name alone.

This is the one place that reads names, so that runs measured then are not lost. Every number is taken over as it is.
"""

import re

from kd.studies.declared import LOSS_SETTINGS, STUDIES

_FORMER_STUDIES = {"never-seen": "omitted-class", "never-seen-longer": "omitted-class-longer"}
_FORMER_FIELDS = {"without_class": "omitted_class"}
_KD = "distilled"  # what the trials of the loss "kd" were called


def upgraded(old: dict) -> dict:
    """The same study in the second form.

    Raises:
        ValueError, LookupError or TypeError: it is damaged.
    """
    names = [arm["name"] for arm in old["arms"]]
    if len(set(names)) < len(names):
        raise ValueError("two arms have one name")
    baselines = {found["arm"]: found["baseline"] for found in old["comparisons"]}
    by_name = {arm["name"]: arm for arm in old["arms"]}
    arms = []
    for arm in old["arms"]:
        name, baseline = arm["name"], baselines.get(arm["name"])
        teacher = _teacher(arm)
        kept = {key: value for key, value in arm.items() if key not in ("name", "withheld")}
        arms.append(
            {
                "teacher": names.index(teacher) if teacher in by_name else None,
                "baseline": names.index(baseline) if baseline else None,
                "label_fraction": 1.0,
                "keep_unlabelled": False,
                "omitted_class": None,
                "varies": None,
                "label": "",
                "published_accuracy": None,
                "architecture": None,
                "macs": None,
                "recipe": {},
                "mean": {},
                **{_FORMER_FIELDS.get(key, key): value for key, value in arm["withheld"].items()},
                **_told_by_name(name, arm, by_name.get(baseline)),
                **kept,
            }
        )
    new = {"schema": 2, **{key: value for key, value in old.items() if key not in ("never_seen", "human_doubt")}}
    new["arms"] = arms
    new["comparisons"] = [
        found | {"arm": names.index(found["arm"]), "baseline": names.index(found["baseline"])}
        for found in old["comparisons"]
    ]
    if old["study"] in _FORMER_STUDIES:
        new["study"] = _FORMER_STUDIES[old["study"]]
        new["question"] = STUDIES[new["study"]].question
        new["command"] = old["command"].replace(f"train.study {old['study']}", f"train.study {new['study']}")
    for run in old.get("never_seen", {"runs": []})["runs"]:
        _omitted_class_into(arms[names.index(run["arm"])], run)
    new["human_labels"] = _human_labels(old["human_doubt"], names) if old.get("human_doubt") else None
    return new


def _teacher(arm: dict) -> str | None:
    if arm["role"] != "distilled":
        return None
    if arm["name"].endswith(", starved teacher"):
        return arm["name"].partition(",")[0] + ", starved teacher"
    return "teacher, as it was" if arm["name"].endswith(", as it was") else "teacher"


def _told_by_name(name: str, arm: dict, baseline: dict | None) -> dict:
    """The fields that only an arm's name told."""
    if name in ("teacher", "student alone", "distilled") or re.fullmatch(r"\d+%, .*|no \w+, alone", name):
        return {"changes": {}}
    if found := re.fullmatch(r"no \w+, T = (\S+)", name):
        return {"changes": {"temperature": float(found[1])}}
    if found := re.fullmatch(r"(\d+) epochs, \w+", name):
        return {"changes": {"epochs": int(found[1])}}
    if found := re.fullmatch(r"([\w-]+), ([a-z ]+) ([\d.e-]+)", name):  # a trial of one setting
        who, field = found[1], found[2].replace(" ", "_")
        loss = LOSS_SETTINGS.get(who, {"loss": who}) if who not in ("alone", _KD) else {}
        return {"changes": loss | {field: arm.get("recipe", {}).get(field, float(found[3]))}, "varies": field}
    if name.partition(" (")[0] in LOSS_SETTINGS:
        return {"changes": LOSS_SETTINGS[name.partition(" (")[0]]}
    given, usual = arm.get("recipe", {}), (baseline or {}).get("recipe", {})
    changes = {key: value for key, value in given.items() if key in usual and usual[key] != value}
    return {"changes": changes, "label": name}


def _omitted_class_into(arm: dict, found: dict) -> None:
    """Put what was measured of an omitted class into the run that it was measured of."""
    (place,) = [place for place, run in enumerate(arm["runs"]) if run["seed"] == found["seed"]]
    measured = {"bias": found["bias"]} | {
        key: {"omitted": found[key]["unseen"], "others": found[key]["seen"]} for key in ("before", "after")
    }
    arm["runs"] = [run | {"omitted_class": measured} if n == place else run for n, run in enumerate(arm["runs"])]


def _human_labels(old: dict, names: list[str]) -> dict:
    roles = {"student alone": "student", "distilled": "distilled"}
    former = {"best_temperature": "temperature", "kl_at_best": "kl_at_temperature"}

    def renamed(found: dict) -> dict:
        return {former.get(key, key): value for key, value in found.items()}

    arms = [
        {"arm": names.index(name)} | renamed(found) | {"runs": [renamed(run) for run in found["runs"]]}
        for name, found in old["arms"].items()
    ]
    inherited = old["inherited"] and old["inherited"] | {
        "rank_correlation": {roles[name]: values for name, values in old["inherited"]["rank_correlation"].items()}
    }
    return old | {"temperature_from": "test", "arms": arms, "inherited": inherited}
