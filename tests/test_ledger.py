"""A study's JSON: its fields are checked when it is read, and what it holds is not lost."""

import json
import logging
from dataclasses import replace

import pytest
import torch

from kd import checkpoint
from kd.cifar10 import IMAGE_SIZE
from kd.data_dir import open_data
from kd.recipe import RECIPES, as_config
from kd.studies.declared import DISTILLED, STUDENT, TEACHER, Study
from kd.studies.known import check_nothing_is_lost, recorded, to_measure
from kd.studies.ledger import SCHEMA, as_json, from_json, read_studies, read_study, write_study
from kd.studies.measure import summarise
from kd.studies.omitted_class import is_of, study_of
from kd.studies.report import study_table
from kd.studies.runs import StudyError
from tests.serving import ROOT
from tests.studies import made_study, make_few_labels, make_human_labels, make_omitted_class, measured, write_run
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
    "a comparison of several seeds without its interval": lambda content: json.dumps(
        content | {"comparisons": [content["comparisons"][0] | {"low": None}]}
    ),
    "a mean without its spread": lambda content: json.dumps(
        content | {"arms": [arm | {"mean": arm["mean"] | {"nll": {"mean": 0.5, "n": 3}}} for arm in content["arms"]]}
    ),
    "an arm of no network": lambda content: json.dumps(
        content | {"arms": [arm | {"architecture": None} for arm in content["arms"]]}
    ),
    "a published accuracy in words": lambda content: json.dumps(
        content | {"arms": [arm | {"published_accuracy": "high"} for arm in content["arms"]]}
    ),
    "doubts inherited by nobody": lambda _: json.dumps(
        (people := as_json(make_human_labels())) | {"human_labels": people["human_labels"] | {"inherited": {"n": 3}}}
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
    with pytest.raises(checkpoint.CheckpointError, match=r"made.json cannot be read .*: bring it back, or remove it"):
        read_study(path)
    declared = path.rename(path.with_name("losses.json"))
    with pytest.raises(checkpoint.CheckpointError, match=r"losses.json cannot be read .* train.study losses$"):
        read_study(declared)


def test_a_study_that_cannot_be_read_is_left_out_and_logged_and_the_others_are_there_by_name(path, caplog):
    for name in ("main-longer", "main", "early"):
        write_study(replace(make_few_labels(), study=name), path.with_name(f"{name}.json"))
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


# A study that goes on with its ledger


def written_down(arm, seeds=1, before=()):
    """An arm of the recipe `original` as a ledger has it, its runs with their digests and right answers."""
    recipe = as_config("original", RECIPES["original"][arm.role])
    del recipe["seed"]
    found = measured(arm, (0.5,) * seeds, before=before)
    own = {"taught_by": "teacher 0" if arm.teacher else None, "right": "/w=="}
    own |= {} if arm.role == "teacher" else {"agreement": 0.75}
    runs = tuple(run | own | {"weights": f"{arm.role} {run['seed']}"} for run in found.runs)
    return replace(found, recipe=recipe, runs=runs)


@pytest.fixture
def resumed(tmp_path, data_dir):
    """A study, its runs, and the content of a ledger in which they stand; no checkpoint is there any more."""
    study = Study("?", (TEACHER, STUDENT, DISTILLED), recipe="original", seeds=2)
    options = ["main", "--runs-dir", str(tmp_path), "--data-dir", str(data_dir), "--device", "cpu"]
    runs = planned(study, make_parser().parse_args(options))
    arms = [written_down(TEACHER)]
    arms += [written_down(arm, 2, before=arms) for arm in (STUDENT, DISTILLED)]
    return study, runs, as_json(made_study(*arms))


@pytest.mark.usefixtures("tiny")
def test_a_ledgers_runs_are_recognised_with_their_digests_and_right_answers(resumed, data_dir, tmp_path):
    study, runs, content = resumed
    ledger = from_json(content)
    assert to_measure(runs, study, ledger) == []
    found = recorded(runs[-1], runs, study, ledger)
    assert (found["weights"], found["taught_by"], found["right"]) == ("distilled 1", "teacher 0", "/w==")
    check_nothing_is_lost(runs, study, ledger, tmp_path)
    again = summarise(
        "made", study, runs, open_data(data_dir, IMAGE_SIZE), torch.device("cpu"), command="python", ledger=ledger
    )
    assert [arm.runs for arm in again.arms] == [tuple(arm["runs"]) for arm in content["arms"]]


def test_arms_of_one_recipe_share_a_run_and_none_of_them_counts_as_dropped(resumed, tmp_path):
    study, runs, content = resumed
    twin = json.loads(json.dumps(content["arms"][1])) | {"changes": {"soft_weight": 0.9}, "varies": "soft_weight"}
    check_nothing_is_lost(runs, study, from_json(content | {"arms": [*content["arms"], twin]}), tmp_path)


def test_a_ledgers_run_of_a_setting_that_is_gone_is_not_taken_for_another_and_not_dropped_either(resumed, tmp_path):
    study, runs, content = resumed
    content["arms"][1]["recipe"]["ema"] = 0.99
    ledger = from_json(content)
    assert recorded(runs[1], runs, study, ledger) is None
    with pytest.raises(StudyError, match="student alone, seed 0 first of 2"):
        check_nothing_is_lost(runs, study, ledger, tmp_path)


@pytest.mark.usefixtures("tiny")
def test_a_given_teacher_may_be_of_other_data_than_its_students(tmp_path, data_dir):
    study = Study("?", (TEACHER, STUDENT), recipe="original", seeds=1)
    runs = planned(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path)]))
    write_run(runs[0], sha256="another")
    write_run(runs[1], sha256="ours")
    runs = [replace(runs[0], given=True, data="ours"), replace(runs[1], data="ours")]
    found = summarise("two", study, runs, open_data(data_dir, IMAGE_SIZE), torch.device("cpu"), command="python")
    assert to_measure(runs, study, found) == []
    check_nothing_is_lost(runs, study, found, tmp_path)
    assert recorded(replace(runs[1], data="another"), runs, study, found) is None


def test_a_ledger_from_before_weights_were_noted_is_refused(resumed, tmp_path):
    study, runs, content = resumed
    for run in content["arms"][1]["runs"]:
        del run["weights"], run["taught_by"]
    ledger = from_json(content)
    assert recorded(runs[1], runs, study, ledger) is None
    with pytest.raises(StudyError, match="student alone, seed 0 first of 2"):
        check_nothing_is_lost(runs, study, ledger, tmp_path)


def test_a_teacher_of_fewer_labels_is_not_taken_for_the_full_one(resumed):
    study, runs, content = resumed
    ledger = from_json(content)
    starved = replace(TEACHER, label_fraction=0.04)
    other = replace(runs[-1], arm=replace(DISTILLED, teacher=starved))
    assert recorded(other, [*runs, replace(runs[0], arm=starved)], study, ledger) is None


# The bias of a student, by its config.json


@pytest.fixture
def student():
    return checkpoint.load_config(ROOT / "checkpoints" / "omitted-class")


def test_a_shipped_students_bias_is_the_one_that_a_study_found_for_it(student):
    found = study_of(student, read_studies(ROOT / "checkpoints"))
    assert found.study.study == "omitted-class" and found.run.bias == student[checkpoint.BIAS]


def test_a_student_of_other_weights_is_not_taken_for_the_measured_one(student):
    studies = read_studies(ROOT / "checkpoints")
    measured = study_of(student, studies).run
    for made_of, found in ((measured.weights, True), ("another", False), (None, False)):
        config = student | {"stored_in": {"weights": "float16", "made_of": made_of}}
        assert bool(study_of(config, studies)) == found
    whole = {key: value for key, value in student.items() if key != "stored_in"}  # as a run leaves it
    assert study_of(whole, studies) is None
    assert is_of(whole, measured._replace(weights=checkpoint.digest(whole)))


@pytest.mark.usefixtures("tiny")
def test_a_finished_run_of_a_study_is_written_down_as_what_it_is(tmp_path, data_dir):
    study = Study("?", (STUDENT,), recipe="original", seeds=1)
    runs = planned(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path)]))
    write_run(runs[0])
    found = summarise("one", study, runs, open_data(data_dir, IMAGE_SIZE), torch.device("cpu"), command="python")
    write_study(found, tmp_path / "one.json")
    assert recorded(runs[0], runs, study, read_study(tmp_path / "one.json")) == found.arms[0].runs[0]
