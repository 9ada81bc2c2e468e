"""A study's JSON: its fields are checked when it is read, and what older versions wrote is not lost."""

import json
import logging
from collections import Counter
from dataclasses import replace

import pytest
import torch

from kd import checkpoint
from kd.recipe import RECIPES, as_config
from kd.studies.declared import DISTILLED, STUDENT, STUDIES, TEACHER, Study
from kd.studies.ledger import SCHEMA, as_json, from_json, read_studies, read_study, write_study
from kd.studies.measure import check_nothing_is_lost, recorded, summarise, to_measure
from kd.studies.omitted_class import BIAS, runs_of, study_of
from kd.studies.report import study_table
from kd.studies.runs import StudyError
from kd.studies.words import name_of
from tests.serving import ROOT
from tests.test_findings import make_few_labels, make_human_labels, make_omitted_class
from tests.test_study import write_run
from train.study import make_parser, planned

DAMAGE = {
    "nothing": lambda content: "",
    "a list": lambda content: "[]",
    "half of it": lambda content: json.dumps(content)[:-9],
    "no arms": lambda content: json.dumps(content | {"arms": None}),
    "an unknown role": lambda content: json.dumps(content | {"arms": [content["arms"][0] | {"role": "oracle"}]}),
    "a teacher that comes later": lambda content: json.dumps(
        content | {"arms": [arm | {"teacher": 99} for arm in content["arms"]]}
    ),
    "a run without its seed": lambda content: json.dumps(
        content | {"arms": [arm | {"runs": [{"accuracy": 1.0}]} for arm in content["arms"]]}
    ),
    **{
        f"a run whose omitted class is {odd!r}": lambda content, odd=odd: json.dumps(
            content
            | {
                "arms": [
                    arm | {"runs": [run | {"omitted_class": odd} for run in arm["runs"]]} for arm in content["arms"]
                ]
            }
        )
        for odd in (None, 0, [], {"bias": 1.0})
    },
    "a recipe without T": lambda content: json.dumps(
        content | {"arms": [arm | {"recipe": {"name": "strong", "stem": "cifar"}} for arm in content["arms"]]}
    ),
    "a comparison of no arm": lambda content: json.dumps(
        content | {"comparisons": [content["comparisons"][0] | {"baseline": 99}]}
    ),
    "a later version": lambda content: json.dumps(content | {"schema": SCHEMA + 1}),
}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "studies").mkdir()
    return tmp_path / "studies" / "made.json"


@pytest.mark.parametrize("make", [make_few_labels, make_human_labels, make_omitted_class])
def test_what_is_written_is_read_again(make, path):
    study = make()
    write_study(study, path)
    again = read_study(path)
    assert as_json(again) == as_json(study) and study_table(again) == study_table(study)
    assert json.loads(path.read_text())["schema"] == SCHEMA
    for arm in again.arms:
        assert all(other is None or any(other is arm for arm in again.arms) for other in (arm.teacher, arm.baseline))


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_study_is_refused_by_name_with_the_way_out(damage, path):
    path.write_text(DAMAGE[damage](as_json(make_few_labels())))
    with pytest.raises(checkpoint.CheckpointError, match=r"made.json cannot be read .* python -m train.study made"):
        read_study(path)


def test_a_study_that_cannot_be_read_is_left_out_and_logged_and_the_others_are_there_by_name(path, caplog):
    for name in ("main-longer", "main", "early"):
        write_study(make_few_labels(), path.with_name(f"{name}.json"))
    path.write_text("{")
    with caplog.at_level(logging.WARNING):
        assert list(read_studies(path.parent.parent)) == ["early", "main", "main-longer"]
    (line,) = caplog.messages
    assert "made.json cannot be read" in line
    assert read_studies(path.parent) == {}


def test_what_is_gone_since_a_study_was_measured_stops_nobody():
    content = as_json(make_few_labels())
    for arm in content["arms"]:
        arm["changes"], arm["recipe"] = (
            {"ema": 0.99},
            arm["recipe"] | {"ema": 0.99, "name": "golden"} if arm["runs"] else {},
        )
    study = from_json(content | {"study": "abandoned"})
    assert "recipe `golden` (cifar stem), 24 epochs" in study_table(study)
    assert "4%, student alone, ema 0.99" in study_table(study)


# The first version, which had no number


def numbers(content):
    """All numbers in a JSON, counted."""
    if isinstance(content, dict | list):
        values = content.values() if isinstance(content, dict) else content
        return sum(map(numbers, values), Counter())
    return Counter([repr(content)] if isinstance(content, int | float) and not isinstance(content, bool) else [])


def old_arm(name, role, seeds=1, changes=None, **withheld):
    """An arm as the first version has it: its name tells what parts it from the others."""
    recipe = as_config("original", RECIPES["original"][role].changed(**changes or {}))
    del recipe["seed"]
    runs = [
        {
            "seed": seed, "commit": "c91ad4a", "weights": f"{name} {seed}", "epochs_done": 40, "trained_on": 45_000,
            "taught_by": "teacher 0" if role == "distilled" else None, "machine": "an abacus", "minutes": 1.5 + seed,
            "validation_accuracy": 0.5 + seed / 8, "validation_loss": 1.25, "accuracy": 0.53125 + seed / 16,
            "nll": 0.75, "ece": 0.0625, "right": "/w==",
        }
        for seed in range(seeds)
    ]  # fmt: skip
    mean = {"accuracy": {"mean": 0.5625, "sd": 0.03125, "n": seeds}, "nll": {"mean": 0.75, "sd": 0.0, "n": seeds}}
    return {"name": name, "role": role, "withheld": withheld, "runs": runs, "architecture": "mobilenet_v2",
            "macs": 6124928, "recipe": recipe, "mean": mean, "median_seed": 0}  # fmt: skip


def old_study(*arms, comparisons=(), **more):
    compared = [
        {"arm": arm, "baseline": baseline, "metric": "accuracy", "n": 2, "mean": 0.0123, "sd": 0.01, "low": -0.1,
         "high": 0.2, "p": 0.4, "verdict": "NOT SHOWN", "by_image": [{"seed": 0, "only_arm_right": 12,
                                                                       "only_baseline_right": 7, "p": 0.3591}]}
        for arm, baseline in comparisons
    ]  # fmt: skip
    return {
        "study": "old", "question": "Then?", "measured_on": "test", "arms": list(arms), "comparisons": compared,
        "data": {"name": "CIFAR-10", "images": 10_000}, "machine": "an abacus", "versions": {"torch": "2"},
        "command": "python -m train.study old", **more,
    }  # fmt: skip


def test_an_arm_of_the_first_version_keeps_what_its_name_told():
    old = old_study(
        old_arm("teacher", "teacher"), old_arm("4%, alone", "student", label_fraction=0.04),
        old_arm("4%, starved teacher", "teacher", label_fraction=0.04),
        old_arm("4%, all images, starved teacher", "distilled", label_fraction=0.04, keep_unlabelled=True),
        old_arm("4%, same images, full teacher", "distilled", label_fraction=0.04),
        old_arm("8 epochs, distilled", "distilled", changes={"epochs": 8}),
        old_arm("dkd (soft weight 1)", "distilled", changes={"loss": "dkd", "soft_weight": 1.0}),
        old_arm("alone, weight decay 4e-05", "student", changes={"weight_decay": 4e-5}),
        old_arm("distilled, temperature 8", "distilled", changes={"temperature": 8.0}),
        old_arm("student alone", "student"), old_arm("colour", "student", changes={"contrast": 0.5}),
        comparisons=[("4%, all images, starved teacher", "4%, alone"), ("colour", "student alone")],
    )  # fmt: skip
    arms = from_json(old).arms
    teacher, alone, starved, *_ = arms
    assert (alone.label_fraction, starved.role, starved.is_plain_teacher) == (0.04, "teacher", False)
    assert arms[3].teacher is starved and arms[3].baseline is alone and arms[3].keep_unlabelled
    assert arms[4].teacher is teacher and not arms[4].keep_unlabelled
    assert arms[5].changes == {"epochs": 8} and arms[6].changes == {"loss": "dkd", "soft_weight": 1.0}
    assert (arms[7].varies, arms[7].changes) == ("weight_decay", {"weight_decay": 4e-5})
    assert (arms[8].varies, arms[8].temperature) == ("temperature", 8.0)
    assert arms[10].label == "colour" and arms[10].changes == {"contrast": 0.5}
    assert [name_of(arm) for arm in arms[:6]] == [
        arm["name"].replace(", alone", ", student alone") for arm in old["arms"][:6]
    ]


def test_no_number_of_the_first_version_is_lost_or_changed():
    def found(arm, bias):
        return {"arm": arm, "seed": 0, "unseen": "frog", "temperature": 4.0, "bias": bias,
                "before": {"unseen": 0.111, "seen": 0.222}, "after": {"unseen": 0.333, "seen": 0.444}}  # fmt: skip

    people = {
        "cross_entropy": [1.1, 1.2], "kl": [0.9, 0.8], "best_temperature": 1.25, "kl_at_best": 0.77,
        "rank_correlation": 0.66, "runs": [{"seed": 0, "best_temperature": 1.26, "kl_at_best": 0.78}],
    }  # fmt: skip
    old = old_study(
        old_arm("teacher", "teacher"), old_arm("no frog, alone", "student", without_class="frog"),
        old_arm("no frog, T = 4", "distilled", without_class="frog"),
        comparisons=[("no frog, T = 4", "no frog, alone")],
        never_seen={"rule": "as often", "runs": [found("no frog, alone", 6.5), found("no frog, T = 4", 0.75)]},
        human_doubt={
            "people": "CIFAR-10H", "temperatures": [1.0, 1.25], "people_entropy": 0.123,
            "arms": {"no frog, alone": people, "teacher": people},
            "inherited": {"seeds": [0], "images": [77], "n": 1, "mean": 0.1, "p": None,
                          "rank_correlation": {"student alone": [0.51], "distilled": [0.61]}},
        },
    ) | {"study": "never-seen"}  # fmt: skip
    new = as_json(from_json(old))
    gone = numbers(old) - numbers(new)
    # A run's T stands in its recipe; which seed is the median, and a verdict, follow from the rest.
    assert not gone.keys() - {"4.0", "0"}
    assert (new["study"], new["question"]) == ("omitted-class", STUDIES["omitted-class"].question)
    alone, distilled = runs_of(from_json(old))
    assert (alone.bias, alone.before["omitted"], alone.after["others"]) == (6.5, 0.111, 0.444)
    assert (distilled.bias, distilled.temperature, distilled.arm.omitted_class) == (0.75, 4.0, "frog")
    assert new["human_labels"]["temperature_from"] == "test"
    assert [arm["arm"] for arm in new["human_labels"]["arms"]] == [1, 0]
    assert new["human_labels"]["inherited"]["rank_correlation"] == {"student": [0.51], "distilled": [0.61]}


@pytest.fixture
def resumed(tmp_path, data_dir):
    """A study whose runs stand in a ledger of the first version; its teacher alone has a checkpoint."""
    study = Study("?", (TEACHER, STUDENT, DISTILLED), recipe="original", seeds=2)
    options = ["main", "--runs-dir", str(tmp_path), "--data-dir", str(data_dir), "--device", "cpu"]
    runs = planned(study, make_parser().parse_args(options))
    old = old_study(
        old_arm("teacher", "teacher"), old_arm("student alone", "student", 2), old_arm("distilled", "distilled", 2)
    )  # fmt: skip
    return study, runs, old


def test_runs_of_the_first_version_are_recognised_with_their_digests_and_right_answers(resumed, data_dir, tmp_path):
    study, runs, old = resumed
    ledger = from_json(old)
    assert to_measure(runs, study, ledger) == []
    found = recorded(runs[-1], runs, study, ledger)
    assert (found["weights"], found["taught_by"], found["right"]) == ("distilled 1", "teacher 0", "/w==")
    check_nothing_is_lost(runs, ledger, tmp_path)
    (tmp_path / "nowhere").mkdir()
    again = summarise("old", study, runs, data_dir, torch.device("cpu"), command="python", ledger=ledger)
    assert [arm.runs for arm in again.arms] == [tuple(arm["runs"]) for arm in old["arms"]]


def test_a_ledgers_run_of_a_setting_that_is_gone_is_not_taken_for_another_and_not_dropped_either(resumed, tmp_path):
    study, runs, old = resumed
    old["arms"][1]["recipe"]["ema"] = 0.99
    ledger = from_json(old)
    assert recorded(runs[1], runs, study, ledger) is None
    with pytest.raises(StudyError, match="student alone, seed 0 first of 2"):
        check_nothing_is_lost(runs, ledger, tmp_path)


def test_a_teacher_of_fewer_labels_is_not_taken_for_the_full_one(resumed):
    study, runs, old = resumed
    ledger = from_json(old)
    starved = replace(TEACHER, label_fraction=0.04)
    other = replace(runs[-1], arm=replace(DISTILLED, teacher=starved))
    assert recorded(other, [*runs, replace(runs[0], arm=starved)], study, ledger) is None


def test_a_config_that_names_its_class_in_the_old_way_is_read_in_the_new(tmp_path):
    config = json.loads((ROOT / "checkpoints" / "omitted-class" / "config.json").read_text())
    old = config | {"data": {key: value for key, value in config["data"].items() if key != "omitted_class"}}
    old["data"]["without_class"] = "frog"
    checkpoint.write_json(tmp_path / "config.json", old)
    assert checkpoint.load_config(tmp_path) == config


def test_an_old_runs_folder_is_found_under_its_old_name(tmp_path):
    options = make_parser().parse_args(
        ["omitted-class", "--runs-dir", str(tmp_path), "--arms", "no cat, student alone"]
    )
    (run,) = planned(STUDIES["omitted-class"], options)
    assert "omitted_class=cat" in run.folder.name
    former = run.folder.with_name(run.folder.name.replace("omitted_class", "without_class"))
    former.mkdir()
    assert planned(STUDIES["omitted-class"], options)[0].folder == former


# The bias of a student, by its config.json


@pytest.fixture
def student():
    return checkpoint.load_config(ROOT / "checkpoints" / "omitted-class")


def test_a_shipped_students_bias_is_the_one_that_a_study_found_for_it(student):
    found = study_of(student, read_studies(ROOT / "checkpoints"))
    assert found.study.study == "omitted-class-longer" and found.run.bias == student[BIAS]


@pytest.mark.parametrize("change", [{"temperature": 1.5}, {"seed": 99}, {"epochs": 3}, {"ema": 0.5}])
def test_no_other_students_bias_is_taken(student, change):
    recipe = student["recipe"] | change
    assert study_of(student | {"recipe": recipe}, read_studies(ROOT / "checkpoints")) is None
    assert study_of(student | {"data": {}}, read_studies(ROOT / "checkpoints")) is None


def test_a_finished_run_of_a_study_is_written_down_as_what_it_is(tmp_path, data_dir):
    study = Study("?", (STUDENT,), recipe="original", seeds=1)
    runs = planned(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path)]))
    write_run(runs[0])
    found = summarise("one", study, runs, data_dir, torch.device("cpu"), command="python")
    write_study(found, tmp_path / "one.json")
    assert recorded(runs[0], runs, study, read_study(tmp_path / "one.json")) == found.arms[0].runs[0]
