"""Studies: what is planned, carried out, gone on with, measured and said of it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from kd import checkpoint, evaluation, models
from kd.cifar10 import CLASSES, NORMALISATIONS, read_test_set
from kd.recipe import RECIPES, as_config
from kd.significance import paired_difference
from kd.studies import arms_table, in_short, provenance, read_studies, study_table, verdicts
from tests.serving import ROOT
from train import study as command
from train.readme import write_section
from train.studies import DISTILLED, STUDENT, STUDIES, TEACHER, Arm, Study
from train.study import StudyError, changed_fields, is_finished, main, make_parser, plan, train_all
from train.summary import median_run, summarise

TINY = Study("Does it run?", (TEACHER, STUDENT, DISTILLED), recipe="seed", seeds=3)


@pytest.fixture
def options(tmp_path, data_dir):
    """Options of the command as given, for runs below tmp_path."""

    def options(*arguments, name="main"):
        fixed = ["--runs-dir", str(tmp_path / "runs"), "--data-dir", str(data_dir), "--device", "cpu"]
        return make_parser().parse_args([name, *fixed, *map(str, arguments)])

    return options


def write_run(run, accuracy=0.5, seed=0):
    """A finished run's checkpoint, with random weights."""
    torch.manual_seed(seed)
    network = models.build(models.ARCHITECTURE_OF_ROLE[run.arm.role], run.recipe.stem)
    mean, std = NORMALISATIONS[run.recipe.normalisation]
    teacher = {"weights": checkpoint.load_config(run.teacher)["weights"]} if run.teacher else None
    config = {
        "role": run.arm.role, "architecture": models.ARCHITECTURE_OF_ROLE[run.arm.role], "stem": run.recipe.stem,
        "classes": list(CLASSES), "normalisation": {"mean": mean, "std": std}, "seed": run.recipe.seed,
        "recipe": as_config(run.recipe_name, run.recipe), "epochs_done": run.recipe.epochs, "teacher": teacher,
        "metrics": {"validation_accuracy": accuracy, "validation_loss": 1.0}, "machine": "an abacus",
        "data": {"trained_on": 450, "validated_on": 50, "name": "CIFAR-10"},
    }  # fmt: skip
    checkpoint.save(network, config, run.folder)


def pretend(monkeypatch, behaviour):
    """Let a run be an instant Python program instead of a training; returns the titles in order of their start."""
    started = []

    def start(run, options):
        started.append(run.title)
        run.log.parent.mkdir(parents=True, exist_ok=True)
        code = behaviour(run)
        with open(run.log, "w") as log:
            return subprocess.Popen([sys.executable, "-c", code], stderr=log)

    monkeypatch.setattr(command, "start", start)
    monkeypatch.setattr(command, "POLL_SECONDS", 0.01)
    return started


# What is planned


def test_main_pairs_students_by_seed_and_gives_them_one_teacher(options):
    runs = plan(STUDIES["main"], options("--recipe", "seed"))
    assert [run.title for run in runs] == ["teacher, seed 0"] + [
        f"{name}, seed {seed}" for name in ("student alone", "distilled") for seed in range(5)
    ]
    alone, distilled = runs[1:6], runs[6:]
    for one, other in zip(alone, distilled, strict=True):
        assert one.recipe == other.recipe  # the loss's own fields play no part without a teacher
        assert (one.teacher, other.teacher) == (None, runs[0].folder)
    assert len({run.folder for run in runs}) == 11


def test_every_study_can_be_planned_with_every_recipe_and_its_folders_tell_runs_apart(options):
    for name, study in STUDIES.items():
        for recipe in RECIPES:
            runs = plan(study, options("--recipe", recipe, "--cifar10h", "counts.npy", name=name))
            for run in runs:
                twins = [other for other in runs if other.folder == run.folder]
                assert {(twin.recipe, twin.teacher) for twin in twins} == {(run.recipe, run.teacher)}
                assert len(run.log.name.encode()) <= 255  # what file systems allow


def test_baselines_and_teachers_are_arms_of_the_study_and_come_first():
    for study in STUDIES.values():
        names = [arm.name for arm in study.arms]
        assert len(names) == len(set(names))
        for position, arm in enumerate(study.arms):
            assert {arm.teacher, arm.baseline} - {None} <= set(names[:position])
            assert (arm.role == "distilled") == (arm.teacher is not None)


def test_studies_share_the_runs_they_have_in_common(options):
    main_runs = plan(STUDIES["main"], options("--recipe", "seed", "--seeds", 3))
    project = plan(STUDIES["seed-project"], options(name="seed-project"))
    assert {run.folder for run in main_runs} <= {run.folder for run in project}


def test_study_of_people_asks_for_their_counts_before_it_trains(options):
    with pytest.raises(StudyError, match="--cifar10h"):
        plan(STUDIES["human-doubt"], options(name="human-doubt"))


def test_what_is_withheld_is_in_the_runs_folder_and_in_its_command(options, monkeypatch):
    runs = plan(STUDIES["few-labels"], options("--recipe", "seed", "--seeds", 1, name="few-labels"))
    (run,) = [run for run in runs if run.arm.name == "4%, all images, starved teacher"]
    assert "label_fraction=0.04_keep_unlabelled=True" in run.folder.name
    commands = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **settings: commands.append(command))
    command.start(run, options())
    assert ["--label-fraction", "0.04", "--keep-unlabelled"] == commands[0][commands[0].index("--label-fraction") :][:3]
    (starved,) = [run for run in runs if run.arm.name == "4%, starved teacher"]
    assert run.teacher == starved.folder and "label_fraction=0.04" in starved.folder.name


def test_command_of_a_run_names_what_differs_from_its_preset_and_no_more():
    recipe = RECIPES["seed"]["student"].changed(epochs=24, pretrained=True)
    assert changed_fields("seed", "student", recipe) == {"epochs": 24, "pretrained": True, "seed": 0}


def test_arms_can_be_left_out_but_not_a_teacher_that_is_needed(options):
    runs = plan(STUDIES["main"], options("--arms", "student alone", "--seeds", 2))
    assert [run.title for run in runs] == ["student alone, seed 0", "student alone, seed 1"]
    with pytest.raises(StudyError, match="needs its teacher: add 'teacher' to --arms"):
        plan(STUDIES["main"], options("--arms", "distilled"))
    with pytest.raises(StudyError, match="no arm 'dstilled': choose from 'teacher', 'student alone', 'distilled'"):
        plan(STUDIES["main"], options("--arms", "dstilled"))


def test_arms_can_be_named_by_a_pattern(options):
    runs = plan(STUDIES["never-seen"], options("--arms", "teacher", "no frog*", name="never-seen"))
    assert [run.arm.name for run in runs] == [
        "teacher", "no frog, alone", "no frog, T = 1", "no frog, T = 4", "no frog, T = 8", "no frog, T = 20"
    ]  # fmt: skip
    with pytest.raises(StudyError, match="no arm 'no fox"):
        plan(STUDIES["never-seen"], options("--arms", "teacher", "no fox*", name="never-seen"))


def test_teacher_that_is_there_already_is_not_trained(options, tmp_path, monkeypatch):
    run = plan(TINY, options())[0]
    write_run(run)
    run.folder.rename(tmp_path / "mine")
    runs = plan(TINY, options("--teacher", tmp_path / "mine", "--epochs", 1))
    assert runs[0].folder == tmp_path / "mine" and is_finished(runs[0])
    assert runs[0].recipe.epochs == RECIPES["seed"]["teacher"].epochs
    assert runs[-1].teacher == tmp_path / "mine"
    assert runs[-1].folder != plan(TINY, options("--epochs", 1))[-1].folder


# How it is carried out


def test_no_run_starts_before_its_teacher_is_finished(options, monkeypatch):
    runs = plan(TINY, options("--jobs", 9))
    started = pretend(monkeypatch, lambda run: "import time; time.sleep(.3)")
    train_all(runs, options("--jobs", 9))
    assert len(started) == 7
    assert started.index("teacher, seed 0") < min(started.index(f"distilled, seed {seed}") for seed in range(3))


def test_jobs_run_side_by_side_and_never_more_than_asked_for(options, monkeypatch, tmp_path):
    trace = tmp_path / "trace"
    trace.touch()
    program = f"import time; f = open({str(trace)!r}, 'ab', 0); f.write(b'+'); time.sleep(1); f.write(b'-')"
    pretend(monkeypatch, lambda run: program)
    train_all(plan(TINY, options()), options("--jobs", 2))
    at_once, most = 0, 0
    for mark in trace.read_text():
        at_once += 1 if mark == "+" else -1
        most = max(most, at_once)
    assert most == 2


def test_failed_run_is_named_with_its_log_and_the_others_are_finished(options, monkeypatch, capsys):
    started = pretend(
        monkeypatch, lambda run: "raise SystemExit('the roof fell in')" if "alone, seed 1" in run.title else ""
    )
    runs = plan(TINY, options())
    with pytest.raises(StudyError, match="not finished: student alone, seed 1. .*seed=1.log.*give the command again"):
        train_all(runs, options())
    assert len(started) == 7
    assert "the roof fell in" in capsys.readouterr().out


def test_runs_whose_teacher_failed_are_not_started_and_are_named(options, monkeypatch):
    started = pretend(monkeypatch, lambda run: "raise SystemExit(1)" if run.arm.role == "teacher" else "")
    with pytest.raises(StudyError, match="not finished: teacher, seed 0, distilled, seed 0, distilled, seed 1"):
        train_all(plan(TINY, options()), options())
    assert not any("distilled" in title for title in started)


def test_finished_runs_are_not_started_again(options, monkeypatch):
    runs = plan(TINY, options())
    write_run(runs[0])
    write_run(runs[1])
    write_run(runs[4])
    started = pretend(monkeypatch, lambda run: "")
    train_all(runs, options())
    assert started == [run.title for run in runs if run not in (runs[0], runs[1], runs[4])]


def test_run_of_another_recipe_or_of_another_teacher_does_not_count_as_finished(options):
    runs = plan(TINY, options())
    teacher, distilled = runs[0], runs[4]
    write_run(teacher)
    write_run(distilled)
    assert is_finished(distilled)
    write_run(teacher, seed=5)  # a teacher of other weights took its place
    assert not is_finished(distilled)
    config = checkpoint.load_config(teacher.folder)
    for change in ({"epochs_done": 39}, {"recipe": config["recipe"] | {"weight_decay": 0.1}}):
        checkpoint.write_json(teacher.folder / "config.json", config | change)
        assert not is_finished(teacher)


def test_run_from_before_a_field_existed_still_counts(options):
    run = plan(TINY, options())[1]
    write_run(run)
    config = checkpoint.load_config(run.folder)
    del config["recipe"]["schedule"]
    checkpoint.write_json(run.folder / "config.json", config)
    assert is_finished(run)


def test_interruption_ends_the_runs_too(options, monkeypatch):
    processes = []
    pretend(monkeypatch, lambda run: "import time; time.sleep(60)")
    start = command.start

    def interrupt(run, options):
        processes.append(start(run, options))
        if len(processes) == 2:
            raise KeyboardInterrupt
        return processes[-1]

    monkeypatch.setattr(command, "start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_all(plan(TINY, options()), options("--jobs", 2))
    assert processes[0].poll() is not None
    processes[1].kill()


def test_study_ended_from_outside_ends_its_runs_and_says_how_to_go_on(tmp_path, data_dir):
    arguments = [
        "main", "--recipe", "seed", "--batch-size", "64", "--arms", "student alone", "--seeds", "1", "--device", "cpu",
        "--data-dir", str(data_dir), "--runs-dir", str(tmp_path), "--output-dir", str(tmp_path),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    whole = [sys.executable, "-m", "train.study", *arguments]
    process = subprocess.Popen(whole, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("*/config.json")):  # the first epoch is done
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert "interrupted; the same command goes on" in errors
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    before = (folder / "history.jsonl").read_bytes()
    time.sleep(3)
    assert (folder / "history.jsonl").read_bytes() == before  # nobody trains on
    assert before.count(b"\n") < 40


# What is measured and said


@pytest.fixture(scope="module")
def summary(data_dir, tmp_path_factory):
    """The summary of a study whose networks have random weights, and its runs."""
    folder = tmp_path_factory.mktemp("study")
    options = make_parser().parse_args(["main", "--runs-dir", str(folder), "--data-dir", str(data_dir)])
    runs = plan(TINY, options)
    for number, run in enumerate(runs):
        write_run(run, accuracy=[0.5, 0.7, 0.6][run.recipe.seed], seed=number)
    found = summarise("tiny", TINY, runs, data_dir, torch.device("cpu")) | {"command": "python -m train.study tiny"}
    return found, runs


def test_summary_holds_each_runs_own_metrics_and_their_mean(summary, data_dir):
    found, runs = summary
    test = read_test_set(data_dir)
    logits = {}
    for run in runs:
        network, config = checkpoint.load(run.folder)
        logits[run.title] = evaluation.predict(network, test.images, checkpoint.normalisation_of(config))
    for arm in found["arms"]:
        for measured in arm["runs"]:
            assert ("agreement" in measured) == (arm["role"] != "teacher")
            own = logits[f"{arm['name']}, seed {measured['seed']}"]
            assert measured["accuracy"] == evaluation.accuracy(own, test.labels)
            assert measured["ece"] == pytest.approx(evaluation.calibration_error(own, test.labels), rel=1e-5)
            if arm["role"] != "teacher":
                assert measured["agreement"] == evaluation.agreement(own, logits["teacher, seed 0"])
            assert sum(measured["reliability"]["images"]) == 100
        accuracies = [measured["accuracy"] for measured in arm["runs"]]
        assert arm["mean"]["accuracy"]["mean"] == pytest.approx(sum(accuracies) / len(accuracies))
        assert arm["mean"]["accuracy"]["n"] == len(accuracies) == (1 if arm["name"] == "teacher" else 3)
    assert found["data"] == test.description
    json.dumps(found, allow_nan=False)


def test_comparison_pairs_by_seed_and_by_image(summary, data_dir):
    found, runs = summary
    (comparison,) = found["comparisons"]
    alone, distilled = ([run["accuracy"] for run in arm["runs"]] for arm in found["arms"][1:])
    expected = paired_difference(distilled, alone)
    assert {key: comparison[key] for key in expected._fields} == expected._asdict()
    assert comparison["verdict"] == expected.verdict
    for seed, counts in enumerate(comparison["by_image"]):
        gain = counts["only_arm_right"] - counts["only_baseline_right"]
        assert gain / 100 == pytest.approx(distilled[seed] - alone[seed])


def test_median_seed_is_chosen_on_the_validation_images(summary):
    assert [arm["median_seed"] for arm in summary[0]["arms"]] == [0, 2, 2]
    assert median_run([{"validation_accuracy": a, "seed": a} for a in (4, 1, 3, 2)])["seed"] == 2


def test_table_gives_every_arm_its_mean_and_spread(summary):
    found, _ = summary
    lines = arms_table(found).splitlines()
    for arm, line in zip(found["arms"], lines[2:], strict=True):
        assert line.startswith(f"| {arm['name']} | {len(arm['runs'])} | {arm['mean']['accuracy']['mean']:.2%}")
        assert ("±" in line) == (len(arm["runs"]) > 1)
    assert "x86_64" in provenance(found) or "an abacus" in provenance(found)
    assert "`python -m train.study tiny`" in provenance(found)


def test_sentences_say_verdict_interval_and_both_tests(summary):
    found, _ = summary
    (sentence,) = verdicts(found)
    comparison = found["comparisons"][0]
    assert sentence.startswith(f"**distilled** against student alone: {comparison['verdict']}. ")
    assert f"{comparison['mean'] * 100:+.2f} points" in sentence
    assert "paired t-test, 3 seeds" in sentence and "McNemar" in sentence


def test_provenance_tells_what_all_arms_of_a_role_set_otherwise_than_the_preset(data_dir, tmp_path):
    study = Study("?", (STUDENT, Arm("lighter", "student", {"weight_decay": 1e-4})), seeds=1, recipe="seed")
    arguments = ["main", "--runs-dir", str(tmp_path), "--batch-size", "64", "--epochs", "3"]
    runs = plan(study, make_parser().parse_args(arguments))
    for run in runs:
        write_run(run)
    found = summarise("settings", study, runs, data_dir, torch.device("cpu")) | {"command": "python"}
    assert "recipe `seed` (imagenet stem, batch size 64), 3 epochs" in provenance(found)
    assert "weight decay" not in provenance(found)  # which the arm's name is to tell
    given = {**found["arms"][0], "name": "teacher", "role": "teacher"}
    given["recipe"] = given["recipe"] | {"batch_size": 512, "precision": "bfloat16"}
    own = {**found["arms"][0], "name": "starved teacher", "role": "teacher"}
    both = provenance(found | {"arms": [given, own]})
    assert "Teacher (seed 0): recipe `seed` (imagenet stem, precision bfloat16), 3 epochs" in both
    assert "Starved teacher (seed 0): recipe `seed` (imagenet stem, batch size 64), 3 epochs" in both
    assert in_short(found).startswith("Recipe seed, 3 epochs, 1 seed<br>")


def test_provenance_tells_the_number_of_many_arms_that_were_trained_alike_and_names_the_others(data_dir, tmp_path):
    slow = {"learning_rate": 0.1}
    arms = (TEACHER, *(Arm(f"student {number}", "student", slow) for number in range(4)))
    study = Study("?", arms, seeds=1, recipe="seed")
    runs = plan(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path)]))
    for run in runs:
        write_run(run)
    found = summarise("many", study, runs, data_dir, torch.device("cpu")) | {"command": "python"}
    found["arms"][2]["runs"][0]["trained_on"] = 45
    told = provenance(found)
    assert told.startswith("Teacher (seed 0): ")
    assert "The 4 other arms (seed 0): recipe `seed` (imagenet stem, learning rate 0.1), 40 epochs on 45 or 450" in told
    assert "student 1" not in told


def test_arm_that_was_not_run_is_listed_as_such_with_what_was_published(data_dir, tmp_path):
    study = Study("?", (STUDENT, Arm("theirs", "student", baseline="student alone")), seeds=1, recipe="seed",
                  published={"theirs": 0.7119})  # fmt: skip
    arguments = ["main", "--runs-dir", str(tmp_path), "--data-dir", str(data_dir), "--arms", "student alone"]
    runs = plan(study, make_parser().parse_args(arguments))
    write_run(runs[0])
    found = summarise("partial", study, runs, data_dir, torch.device("cpu")) | {"command": "python"}
    assert found["comparisons"] == []
    assert "| theirs | not run | 71.19% |" in arms_table(found)
    assert "1 of the study's 2 arms have not been run" in provenance(found)
    del found["arms"][1]["published_accuracy"]
    assert "theirs" not in arms_table(found)


def test_study_on_validation_images_never_reads_the_test_set(tmp_path, monkeypatch):
    study = Study("?", (STUDENT, Arm("other", "student", {"weight_decay": 1e-4}, baseline="student alone")), seeds=2,
                  recipe="seed", measured_on="validation")  # fmt: skip
    runs = plan(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path)]))
    for run, accuracy in zip(runs, (0.70, 0.71, 0.72, 0.73), strict=True):
        write_run(run, accuracy)
    found = summarise("choice", study, runs, Path("nowhere"), torch.device("cpu")) | {"command": "python"}
    assert found["comparisons"][0]["mean"] == pytest.approx(0.02)
    assert "by_image" not in found["comparisons"][0]
    assert "validation accuracy" in arms_table(found) and "test accuracy" not in study_table(found)


def test_augmented_test_images_are_measured_where_asked_alone(data_dir, tmp_path):
    study = Study("?", (Arm("augmented", "student", augmented_test=True), STUDENT), seeds=1, recipe="seed")
    runs = plan(study, make_parser().parse_args(["main", "--runs-dir", str(tmp_path)]))
    write_run(runs[0])
    found = summarise("augmented", study, runs, data_dir, torch.device("cpu"))
    first, second = (arm["runs"][0] for arm in found["arms"])
    assert first["accuracy"] == second["accuracy"]  # the two arms share a run
    assert "accuracy_augmented" in first and "accuracy_augmented" not in second


def test_median_seed_of_each_arm_is_shipped_as_the_checkpoint_of_its_role(summary, options, tmp_path, data_dir):
    found, runs = summary
    command.ship(runs, found, options("--ship", tmp_path / "shipped"))
    for role, number in (("teacher", 0), ("student", 3), ("distilled", 6)):
        shipped = checkpoint.load_config(tmp_path / "shipped" / role)
        assert shipped["role"] == role
        assert shipped["recipe"] == checkpoint.load_config(runs[number].folder)["recipe"]
        assert shipped["precision"]["weights"] in ("float16", "float32")


def test_study_with_two_arms_of_a_role_does_not_know_which_to_ship(summary, options, tmp_path):
    found, runs = summary
    two = found | {"arms": [*found["arms"], found["arms"][1]]}
    with pytest.raises(StudyError, match="--ship wants one arm a role"):
        command.ship(runs, two, options("--ship", tmp_path))
    assert list(tmp_path.iterdir()) == []


# Files


def test_damaged_study_is_refused_by_name_with_the_way_out(tmp_path, summary):
    assert read_studies(tmp_path) == {}
    (tmp_path / "studies").mkdir()
    path = tmp_path / "studies" / "main.json"
    path.write_text(json.dumps(summary[0]))
    assert read_studies(tmp_path) == {"main": summary[0]}
    for damage in ("", "[]", "{}", '{"study": 1'):
        path.write_text(damage)
        with pytest.raises(checkpoint.CheckpointError, match="main.json cannot be read .* python -m train.study main"):
            read_studies(tmp_path)


def test_section_is_replaced_between_its_own_markers_and_nothing_else(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- one -->\nold\n<!-- end of one -->\nb\n<!-- two -->\nkept\n<!-- end of two -->\n")
    write_section(path, "one", "new\n")
    assert path.read_text() == "a\n<!-- one -->\nnew\n<!-- end of one -->\nb\n<!-- two -->\nkept\n<!-- end of two -->\n"
    with pytest.raises(OSError, match="no lines <!-- three --> and <!-- end of three -->"):
        write_section(path, "three", "new\n")


def test_whole_study_from_nothing_to_the_readme_and_again_without_training(tmp_path, data_dir, capsys):
    readme, output = tmp_path / "README.md", tmp_path / "studies"
    readme.write_text("<!-- study main -->\n<!-- end of study main -->\n")
    arguments = [
        "main", "--recipe", "seed", "--seeds", "2", "--epochs", "1", "--batch-size", "225", "--device", "cpu",
        "--jobs", "2",
        "--data-dir", str(data_dir), "--runs-dir", str(tmp_path / "runs"), "--output-dir", str(output),
        "--readme", str(readme),
    ]  # fmt: skip
    main(arguments)
    written = json.loads((output / "main.json").read_text())
    assert written["command"].startswith("python -m train.study main --recipe seed --seeds 2")
    assert [len(arm["runs"]) for arm in written["arms"]] == [1, 2, 2]
    assert study_table(written) in readme.read_text()
    assert study_table(written) in capsys.readouterr().out
    assert len(list((tmp_path / "runs" / "answers").glob("*/*.safetensors"))) == 2  # one epoch of each seed
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.safetensors")}
    main(arguments)
    assert "5 runs, 5 of them finished already" in capsys.readouterr().out
    assert json.loads((output / "main.json").read_text()) == written
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.safetensors")} == before
