"""Studies: what is measured of their runs, and how it is told."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from kd import checkpoint, evaluation
from kd.cifar10 import IMAGE_SIZE, read_test_set
from kd.data_dir import open_data
from kd.files import write_json
from kd.significance import judged, paired_difference
from kd.studies.declared import CORRUPTIONS, DISTILLED, HUMAN_LABELS, STUDENT, TEACHER, Arm, Study
from kd.studies.human_labels import fitted_temperature
from kd.studies.known import to_measure, with_others
from kd.studies.ledger import as_json
from kd.studies.measure import summarise
from kd.studies.omitted_class import CONTROL_FOLDER, FOLDER, runs_of
from kd.studies.report import (
    arms_table,
    in_short,
    rule_of_verdicts,
    runs_table,
    study_provenance,
    study_table,
    verdicts,
)
from kd.studies.runs import StudyError
from kd.studies.words import arm_name
from tests.studies import TINY, write_run
from train.document import write_section, write_studies
from train.ship import check_shipping, ship, shipped_as
from train.study import make_parser, planned

LIGHTER = Arm("student", changes={"weight_decay": 1e-4})

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def summary(data_dir, tmp_path_factory, tiny):
    """The summary of a study whose networks have random weights, and its runs."""
    folder = tmp_path_factory.mktemp("study")
    options = make_parser().parse_args(["main", "--runs-dir", str(folder), "--data-dir", str(data_dir)])
    runs = planned(TINY, options)
    for number, run in enumerate(runs):
        write_run(run, accuracy=[0.5, 0.7, 0.6][run.recipe.seed], seed=number)
    found = summarise(
        "tiny", TINY, runs, open_data(data_dir, IMAGE_SIZE), torch.device("cpu"), command="python -m train.study tiny"
    )
    return found, runs


def test_summary_holds_each_runs_own_metrics_and_their_mean(summary, data_dir):
    found, runs = summary
    test = read_test_set(data_dir)
    logits = {}
    for run in runs:
        network, config = checkpoint.load(run.folder)
        logits[run.title] = evaluation.predict(network, test.images, checkpoint.normalisation_of(config))
    for arm in found.arms:
        for measured in arm.runs:
            assert ("agreement" in measured) == (arm.role != "teacher")
            own = logits[f"{arm_name(arm)}, seed {measured['seed']}"]
            assert measured["accuracy"] == evaluation.accuracy(own, test.labels)
            assert measured["ece"] == pytest.approx(evaluation.calibration_error(own, test.labels), rel=1e-5)
            if arm.role != "teacher":
                assert measured["agreement"] == evaluation.agreement(own, logits["teacher, seed 0"])
            assert sum(measured["reliability"]["images"]) == 100
        accuracies = [measured["accuracy"] for measured in arm.runs]
        assert arm.mean["accuracy"]["mean"] == pytest.approx(sum(accuracies) / len(accuracies))
        assert arm.mean["accuracy"]["n"] == len(accuracies) == (1 if arm.role == "teacher" else 3)
    assert found.data == test.description
    json.dumps(as_json(found), allow_nan=False)


def test_comparison_pairs_by_seed_and_by_image(summary, data_dir):
    found, runs = summary
    (comparison,) = found.comparisons
    alone, distilled = ([run["accuracy"] for run in arm.runs] for arm in found.arms[1:])
    assert (comparison["arm"], comparison["baseline"]) == (2, 1)
    expected = paired_difference(distilled, alone)
    assert {key: comparison[key] for key in expected._fields} == expected._asdict()
    for seed, counts in enumerate(comparison["by_image"]):
        gain = counts["only_arm_right"] - counts["only_baseline_right"]
        assert gain / 100 == pytest.approx(distilled[seed] - alone[seed])


def test_table_gives_every_arm_its_mean_and_spread(summary):
    found, _ = summary
    lines = arms_table(found).splitlines()
    for arm, line in zip(found.arms, lines[2:], strict=True):
        assert line.startswith(f"| {arm_name(arm)} | {len(arm.runs)} | {arm.mean['accuracy']['mean']:.2%}")
        assert ("±" in line) == (len(arm.runs) > 1)
    assert "an abacus" in study_provenance(found)
    assert "`python -m train.study tiny`" in study_provenance(found)


@pytest.mark.parametrize(
    ("more", "epochs", "commit"),
    [
        ({"commit": "0123abc", "epochs_before": 11}, "11 of earlier training, 40", "0123abc"),
        ({"commit": None}, "40", "not recorded"),
    ],
)
def test_every_run_is_listed_with_its_seed_epochs_accuracy_machine_and_commit(summary, more, epochs, commit):
    found, _ = summary
    teacher = found.arms[0]
    (run,) = teacher.runs
    listed = runs_table(replace(found, arms=(replace(teacher, runs=(run | more,)), *found.arms[1:]))).splitlines()[2:]
    assert listed[0] == f"| teacher | 0 | {epochs} | {run['accuracy']:.2%} | {run['machine']} | {commit} |"
    assert [line.split(" | ")[1] for line in listed] == ["0", "0", "1", "2", "0", "1", "2"]


def test_sentences_say_verdict_interval_and_both_tests(summary):
    found, _ = summary
    (sentence,) = verdicts(found)
    (comparison,) = judged(found.comparisons)
    assert sentence.startswith(f"**distilled** against student alone: {comparison['verdict']}. ")
    assert f"{comparison['mean'] * 100:+.2f} points" in sentence
    assert "paired t-test, 3 seeds" in sentence and "McNemar" in sentence


def test_seeds_that_differ_by_the_same_are_told_without_an_interval(summary):
    found, _ = summary
    same = found.comparisons[0] | {"mean": 0.02, "sd": 0.0, "low": 0.02, "high": 0.02, "p": 1.0, "n": 3}
    (sentence,) = verdicts(replace(found, comparisons=(same,)))
    assert "NOT SHOWN. +2.00 points of test accuracy, the same in all 3 seeds, so nothing can be tested;" in sentence
    assert "interval" not in sentence


def test_verdicts_of_several_comparisons_say_that_they_are_corrected(summary):
    found, _ = summary
    assert rule_of_verdicts(found) == ""
    compared = found.comparisons[0] | {"p": 0.04}
    twice = replace(found, comparisons=(compared, compared))
    assert "p = 0.040, corrected 0.080" in verdicts(twice)[0]
    assert "Holm's correction for the 2 comparisons" in study_table(twice)


def test_provenance_tells_what_all_arms_of_a_role_set_otherwise_than_the_preset(data_dir, tmp_path):
    study = Study("?", (STUDENT, LIGHTER), seeds=1, recipe="original")
    arguments = ["main", "--runs-dir", str(tmp_path), "--batch-size", "64", "--epochs", "3"]
    runs = planned(study, make_parser().parse_args(arguments))
    for run in runs:
        write_run(run)
    found = summarise("settings", study, runs, open_data(data_dir, IMAGE_SIZE), torch.device("cpu"), command="python")
    names = "Student alone; student alone, weight decay 0.0001"  # which tell what parts the arms
    assert study_provenance(found).startswith(
        f"{names} (seed 0): recipe `original` (imagenet stem, batch size 64), 3 epochs"
    )
    own = replace(found.arms[0], role="teacher", label_fraction=0.04)
    given = replace(own, label_fraction=1.0, recipe=own.recipe | {"batch_size": 512, "precision": "bfloat16"})
    both = study_provenance(replace(found, arms=(given, own)))
    assert "Teacher (seed 0): recipe `original` (imagenet stem, precision bfloat16), 3 epochs" in both
    assert "4%, starved teacher (seed 0): recipe `original` (imagenet stem, batch size 64), 3 epochs" in both
    assert in_short(found) == "Recipe original, 3 epochs, 1 seed"
    twice = replace(found.arms[0], runs=found.arms[0].runs * 2)
    assert in_short(replace(found, arms=(twice, found.arms[1]))).endswith(", up to 2 seeds")


def test_provenance_names_few_arms_that_were_trained_alike_and_tells_the_number_of_many(data_dir, tmp_path):
    slow = {"learning_rate": 0.1}
    arms = (TEACHER, *(Arm("student", changes=slow, label=f"student {number}") for number in range(4)))
    study = Study("?", arms, seeds=1, recipe="original")
    runs = planned(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path)]))
    for run in runs:
        write_run(run)
    found = summarise("many", study, runs, open_data(data_dir, IMAGE_SIZE), torch.device("cpu"), command="python")
    fewer = replace(found.arms[2], runs=(found.arms[2].runs[0] | {"trained_on": 45},))
    found = replace(found, arms=(*found.arms[:2], fewer, *found.arms[3:]))
    told = study_provenance(found)
    assert told.startswith("Teacher (seed 0): ")
    assert "Student 0 and 3 more arms (seed 0): recipe `original` (imagenet stem, learning rate 0.1), 40 epochs" in told
    assert " on 45 or 450 images, an abacus." in told
    assert "student 1" not in told


def test_arms_that_were_not_run_are_counted(data_dir, tmp_path):
    theirs = replace(LIGHTER, baseline=STUDENT, label="theirs")
    study = Study("?", (STUDENT, theirs), seeds=1, recipe="original")
    arguments = ["main", "--runs-dir", str(tmp_path), "--data-dir", str(data_dir), "--arms", "weight_decay=none"]
    runs = planned(study, make_parser().parse_args(arguments))
    write_run(runs[0])
    found = summarise("partial", study, runs, open_data(data_dir, IMAGE_SIZE), torch.device("cpu"), command="python")
    assert found.comparisons == ()
    assert "theirs" not in arms_table(found)
    assert "1 of the study's 2 arms has not been run" in study_provenance(found)


def test_what_was_published_for_an_arm_stands_beside_what_was_measured(summary):
    found, _ = summary
    published = [None, 0.7119, None]
    arms = [replace(arm, published_accuracy=accuracy) for arm, accuracy in zip(found.arms, published, strict=True)]
    table = arms_table(replace(found, arms=tuple(arms)))
    assert "| arm | runs | published |" in table
    assert "| student alone | 3 | 71.19% |" in table and "| distilled | 3 |  |" in table
    assert "published" not in arms_table(found)


def test_study_on_validation_images_never_reads_the_test_set(tmp_path, data_dir):
    study = Study(
        "?", (STUDENT, replace(LIGHTER, baseline=STUDENT)), seeds=2, recipe="original", measured_on="validation"
    )
    runs = planned(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path)]))
    for run, accuracy in zip(runs, (0.70, 0.71, 0.72, 0.73), strict=True):
        write_run(run, accuracy)
    data = replace(open_data(data_dir, IMAGE_SIZE), test=lambda: pytest.fail("the test images were read"))
    found = summarise("choice", study, runs, data, torch.device("cpu"), command="python")
    assert found.comparisons[0]["mean"] == pytest.approx(0.02)
    assert "by_image" not in found.comparisons[0]
    assert "validation accuracy" in arms_table(found) and "test accuracy" not in study_table(found)
    # Of the data at hand: what the runs' checkpoints say of theirs is not asked.
    training, validation = data.split()
    assert found.data["sha256"] == training.description["sha256"]
    assert f"on the {len(validation):,} validation images" in study_table(found)


def test_study_of_damaged_images_measures_each_kind_on_the_validation_images(data_dir, tmp_path):
    study = Study("?", (STUDENT,), seeds=1, recipe="original", measured_on="validation", analysis=CORRUPTIONS)
    runs = planned(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path)]))
    write_run(runs[0])
    data = open_data(data_dir, IMAGE_SIZE)
    found = summarise("damage", study, runs, data, torch.device("cpu"), command="python")
    (run,) = found.arms[0].runs
    assert set(run["corruptions"]) == {"noise", "blur", "jpeg", "contrast"}
    assert run["corrupted_accuracy"] == pytest.approx(sum(run["corruptions"].values()) / 4)
    assert f"{run['corrupted_accuracy']:.2%}" in arms_table(found)
    without = summarise("plain", replace(study, analysis=None), runs, data, torch.device("cpu"), command="python")
    assert to_measure(runs, study, found) == [] and to_measure(runs, study, without) == runs
    plain = replace(study, analysis=None)
    for asks, held in ((study, without), (plain, found)):
        assert with_others(None, [held], runs, asks, data) is None
    assert with_others(None, [without], runs, plain, data).arms == without.arms


@pytest.mark.filterwarnings("ignore:cov")  # the tiny networks are all right on one image at most
def test_study_of_peoples_doubts_fits_each_t_on_the_validation_images_and_reads_no_ledger(data_dir, tmp_path):
    study = Study("?", (TEACHER, STUDENT, DISTILLED), seeds=1, recipe="original", analysis=HUMAN_LABELS)
    runs = planned(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path), "--cifar10h", "counts.npy"]))
    for number, run in enumerate(runs):
        write_run(run, seed=number)
    data, counts = open_data(data_dir, IMAGE_SIZE), tmp_path / "counts.npy"
    test, (_, validation) = data.test(), data.split()
    np.save(counts, 50 * np.eye(10, dtype=int)[test.labels])
    given = {"command": "python", "cifar10h": counts}
    found = summarise("people", study, runs, data, torch.device("cpu"), **given)
    for arm, run in zip(found.human_labels["arms"], runs, strict=True):
        logits = evaluation.checkpoint_logits(run.folder, validation)
        assert arm["temperature"] == fitted_temperature(logits, validation.labels)
        shown = evaluation.checkpoint_logits(run.folder, test).double() / arm["temperature"]
        assert arm["kl_at_temperature"] == pytest.approx(cross_entropy(shown, test.labels).item())
    assert to_measure(runs, study, found) == runs


def test_seed_0_of_each_arm_is_shipped_as_the_checkpoint_of_its_role_with_its_recording(summary, tmp_path, data_dir):
    _, runs = summary
    (runs[1].folder / "recording.safetensors").write_bytes(b"moments")
    ship([replace(runs[0], given=True)], tmp_path, data_dir)
    assert not (tmp_path / "teacher").exists()  # one that was given is no run of the study
    ship(runs, tmp_path, data_dir)
    for role, number in (("teacher", 0), ("student", 1), ("distilled", 4)):
        shipped = checkpoint.load_config(tmp_path / role)
        assert shipped["role"] == role
        assert shipped["recipe"] == checkpoint.load_config(runs[number].folder)["recipe"]
        assert shipped["stored_in"]["weights"] in ("float16", "float32")
    assert (tmp_path / "student" / "recording.safetensors").read_bytes() == b"moments"
    before = (tmp_path / "student" / "config.json").stat().st_mtime_ns
    ship(runs, tmp_path, data_dir)  # what is there stays
    assert (tmp_path / "student" / "config.json").stat().st_mtime_ns == before
    other = checkpoint.load_config(tmp_path / "student")
    write_json(tmp_path / "student" / "config.json", other | {"stored_in": other["stored_in"] | {"made_of": "another"}})
    ship(runs, tmp_path, data_dir)  # of a run of the same recipe, and not this one
    assert checkpoint.load_config(tmp_path / "student") == other


def test_a_bias_that_was_measured_anew_is_shipped_anew(tmp_path, data_dir):
    (run,) = planned(
        Study("?", (replace(STUDENT, omitted_class="cat"),), recipe="original", seeds=1),
        make_parser().parse_args(["main", "--runs-dir", str(tmp_path / "runs")]),
    )
    write_run(run)
    for bias in (1.5, 2.5):
        write_json(run.folder / "config.json", checkpoint.load_config(run.folder) | {checkpoint.BIAS: bias})
        ship([run], tmp_path, data_dir)
        assert checkpoint.load_config(tmp_path / CONTROL_FOLDER)[checkpoint.BIAS] == bias


def test_a_student_without_a_class_and_its_control_are_shipped_side_by_side():
    alone = replace(STUDENT, omitted_class="cat")
    assert shipped_as(replace(DISTILLED, omitted_class="cat", baseline=alone)) == FOLDER
    assert shipped_as(alone) == CONTROL_FOLDER
    assert shipped_as(STUDENT) == "student"


def test_study_with_two_arms_of_a_role_does_not_know_which_to_ship(tmp_path):
    study = Study("?", (STUDENT, LIGHTER), seeds=1, recipe="original")
    with pytest.raises(StudyError, match="--ship wants one arm a role"):
        check_shipping(planned(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path)])))


def test_what_is_known_of_an_omitted_class_is_measured_and_the_bias_goes_into_the_networks_own_config(
    data_dir, tmp_path
):
    alone = replace(STUDENT, omitted_class="cat")
    study = Study(
        "?", (TEACHER, alone, replace(DISTILLED, omitted_class="cat", baseline=alone)), seeds=1, recipe="original"
    )
    runs = planned(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path)]))
    for number, run in enumerate(runs):
        write_run(run, seed=number)
    data = open_data(data_dir, IMAGE_SIZE)
    found = summarise("omitted", study, runs, data, torch.device("cpu"), command="python")
    measured = runs_of(found)
    assert [(each.arm.role, each.temperature) for each in measured] == [("student", None), ("distilled", 4.0)]
    for run, each in zip(runs[1:], measured, strict=True):
        assert checkpoint.load_config(run.folder)[checkpoint.BIAS] == each.bias
        of_all = 0.1 * each.before["omitted"] + 0.9 * each.before["others"]  # ten of the hundred images are cats
        assert of_all == pytest.approx(each.arm.runs[0]["accuracy"])
    assert checkpoint.BIAS not in checkpoint.load_config(runs[0].folder)
    for run in runs[1:]:
        (run.folder / "model.safetensors").unlink()  # what the ledger holds is not looked at again
    assert summarise("omitted", study, runs, data, torch.device("cpu"), command="python", ledger=found) == found


def test_section_is_replaced_between_its_own_markers_and_nothing_else(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- one -->\nold\n<!-- end of one -->\nb\n<!-- two -->\nkept\n<!-- end of two -->\n")
    write_section(path, "one", "new\n")
    assert path.read_text() == "a\n<!-- one -->\nnew\n<!-- end of one -->\nb\n<!-- two -->\nkept\n<!-- end of two -->\n"
    with pytest.raises(OSError, match="no lines <!-- three --> and <!-- end of three -->"):
        write_section(path, "three", "new\n")


def test_a_document_gets_a_section_for_a_study_that_it_lacks_and_the_rest_of_it_stays(summary, tmp_path):
    path = tmp_path / "docs" / "studies.md"
    path.parent.mkdir()
    path.write_text("by hand\n\n## Short runs\n\nby hand too\n")
    write_studies(path, [summary[0]], tmp_path / "figures")
    text = path.read_text()
    section = text.split("<!-- study tiny -->\n")[1].split("<!-- end of study tiny -->")[0]
    assert section.startswith(study_table(summary[0]))
    assert f"<details><summary>Every run</summary>\n\n{runs_table(summary[0])}\n\n</details>" in section
    assert "![Agreement with the teacher](../figures/tiny-agreement.svg)" in section
    assert text.startswith("by hand\n\n## Does it run?\n\n<!-- study tiny -->\n")
    assert text.endswith("<!-- end of study tiny -->\n\n## Short runs\n\nby hand too\n")
    write_studies(path, [summary[0]], tmp_path / "figures")
    assert path.read_text() == text


def test_a_document_that_wants_verdicts_gets_those_of_the_study_that_it_names_and_no_section(summary, tmp_path):
    study = summary[0]
    path = tmp_path / "README.md"
    path.write_text("by hand\n<!-- verdicts of tiny -->\n<!-- end of verdicts of tiny -->\nby hand too\n")
    write_studies(path, [replace(study, study="another"), study], tmp_path / "figures")
    told = "\n\n".join(verdicts(study))
    assert told and path.read_text() == (
        f"by hand\n<!-- verdicts of tiny -->\n{told}\n<!-- end of verdicts of tiny -->\nby hand too\n"
    )
