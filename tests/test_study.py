"""Studies: what is planned, carried out, gone on with, measured and said of it."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
import torch

from kd import checkpoint, evaluation
from kd.cifar10 import IMAGE_SIZE, read_test_set
from kd.data_dir import open_data
from kd.files import write_json
from kd.recipe import RECIPES
from kd.results import read_results
from kd.studies.declared import STUDIES, Arm
from kd.studies.known import to_measure, with_others
from kd.studies.ledger import read_study, study_files
from kd.studies.runs import StudyError, differing, is_finished
from kd.studies.words import arm_name
from tests.serving import ROOT
from tests.studies import TINY, write_run
from train import study as command
from train.study import StudyProgress, main, make_parser, planned, train_all

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def options(tmp_path, data_dir):
    """Options of the command as given, for runs below tmp_path."""

    def options(*arguments, name="main"):
        fixed = ["--runs-dir", str(tmp_path / "runs"), "--data-dir", str(data_dir), "--device", "cpu"]
        return make_parser().parse_args([name, *fixed, *map(str, arguments)])

    return options


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
    runs = planned(STUDIES["main"], options("--recipe", "original"))
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
            runs = planned(study, options("--recipe", recipe, "--cifar10h", "counts.npy", name=name))
            for run in runs:
                twins = [other for other in runs if other.folder == run.folder]
                assert {(twin.recipe, twin.teacher) for twin in twins} == {(run.recipe, run.teacher)}
                assert len(run.log.name.encode()) <= 255  # what file systems allow


def test_study_of_the_losses_compares_all_with_hintons_at_the_recipes_temperature():
    _, hinton, *others = STUDIES["losses"].arms
    recipe = RECIPES["strong"]["distilled"]
    assert recipe.changed(**hinton.changes) == recipe
    assert all(arm.baseline == hinton for arm in others)
    assert {(arm.loss, arm.temperature) for arm in others} == {
        ("kd", 2), ("kd", 8), ("dkd", None), ("standardised-kd", 1.5),
    }  # fmt: skip


def test_baselines_and_teachers_are_arms_of_the_study_and_come_first():
    for study in STUDIES.values():
        names = [arm_name(arm) for arm in study.arms]
        assert len(names) == len(set(names))
        for position, arm in enumerate(study.arms):
            assert all(other is None or other in study.arms[:position] for other in (arm.teacher, arm.baseline))
            assert (arm.role == "distilled") == (arm.teacher is not None)


def test_studies_share_the_runs_they_have_in_common(options):
    main_runs = planned(STUDIES["main"], options("--recipe", "original", "--seeds", 3))
    project = planned(STUDIES["seed-project"], options(name="seed-project"))
    assert {run.folder for run in main_runs} <= {run.folder for run in project}


def test_study_of_people_asks_for_their_counts_before_it_trains(options):
    with pytest.raises(StudyError, match="--cifar10h"):
        planned(STUDIES["human-doubt"], options(name="human-doubt"))


def test_of_what_ships_the_three_roles_alone_are_recorded(options, monkeypatch):
    commands = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **settings: commands.append(command))
    asked = options("--ship", "checkpoints")
    student = planned(STUDIES["main"], asked)[1]
    another_seed = planned(STUDIES["main"], asked)[2]
    omitted = next(run for run in planned(STUDIES["omitted-class"], asked) if run.arm.omitted_class)
    for run in (student, another_seed, omitted):
        command.start(run, asked)
    command.start(student, options())
    assert ["--record" in given for given in commands] == [True, False, False, False]


def test_what_is_withheld_is_in_the_runs_folder_and_in_its_command(options, monkeypatch):
    runs = planned(STUDIES["few-labels"], options("--recipe", "original", "--seeds", 1, name="few-labels"))
    (run,) = [run for run in runs if arm_name(run.arm) == "4%, all images, starved teacher"]
    assert "label_fraction=0.04_keep_unlabelled=True" in run.folder.name
    commands = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **settings: commands.append(command))
    command.start(run, options())
    assert ["--label-fraction", "0.04", "--keep-unlabelled"] == commands[0][commands[0].index("--label-fraction") :][:3]
    (starved,) = [run for run in runs if arm_name(run.arm) == "4%, starved teacher"]
    assert run.teacher == starved.folder and "label_fraction=0.04" in starved.folder.name


def test_command_of_a_run_names_what_differs_from_its_preset_and_no_more():
    recipe = RECIPES["original"]["student"].changed(epochs=24, blur=0.5)
    told = differing(Arm("student", omitted_class="cat"), "original", recipe)
    assert told == {"epochs": 24, "blur": 0.5, "seed": 0, "omitted_class": "cat"}


def test_arms_can_be_left_out_but_not_a_teacher_that_is_needed(options):
    runs = planned(STUDIES["main"], options("--arms", "role=student", "--seeds", 2))
    assert [run.title for run in runs] == ["student alone, seed 0", "student alone, seed 1"]
    with pytest.raises(StudyError, match="the arm role=distilled needs its teacher: add role=teacher to --arms"):
        planned(STUDIES["main"], options("--arms", "role=distilled"))


def test_teacher_that_is_there_already_is_not_trained(options, tmp_path, monkeypatch):
    run = planned(TINY, options())[0]
    write_run(run)
    config = checkpoint.load_config(run.folder)
    write_json(run.folder / "config.json", config | {"epochs_done": 3})  # stopped early, and good enough
    run.folder.rename(tmp_path / "mine")
    runs = planned(TINY, options("--teacher", tmp_path / "mine", "--epochs", 1))
    assert runs[0].folder == tmp_path / "mine" and is_finished(runs[0])
    assert runs[0].recipe.epochs == RECIPES["original"]["teacher"].epochs
    assert runs[-1].teacher == tmp_path / "mine"
    assert runs[-1].folder != planned(TINY, options("--epochs", 1))[-1].folder


@pytest.mark.parametrize(
    "change", [{"role": "distilled"}, {"data": {"name": "CIFAR-10", "trained_on": 9, "omitted_class": "frog"}}]
)
def test_what_is_no_teacher_of_all_classes_is_not_taken_for_one(options, tmp_path, change):
    (run, *_) = planned(TINY, options())
    write_run(run)
    write_json(run.folder / "config.json", checkpoint.load_config(run.folder) | change)
    with pytest.raises(StudyError, match=f"{run.folder} is no teacher that was told everything"):
        planned(TINY, options("--teacher", run.folder))


def test_seeds_are_those_that_are_asked_for_of_an_omitted_class_too(options):
    arms = "role=teacher", "role=student,omitted_class=frog"
    runs = planned(STUDIES["omitted-class"], options("--arms", *arms, name="omitted-class"))
    assert [run.recipe.seed for run in runs] == [0, 0]
    runs = planned(STUDIES["omitted-class"], options("--arms", *arms, "--seeds", 3, name="omitted-class"))
    assert [run.recipe.seed for run in runs] == [0, 0, 1, 2]


# How it is carried out


def test_no_run_starts_before_its_teacher_is_finished(options, monkeypatch, tmp_path):
    done = str(tmp_path / "the teacher is done")
    programs = {
        "teacher": f"import time; time.sleep(.3); open({done!r}, 'w')",
        "student": "",
        "distilled": f"open({done!r})",  # fails where it comes too early, and with it the study
    }
    started = pretend(monkeypatch, lambda run: programs[run.arm.role])
    train_all(planned(TINY, options("--jobs", 9)), options("--jobs", 9))
    assert len(started) == 7


def test_jobs_run_side_by_side_and_never_more_than_asked_for(options, monkeypatch, tmp_path):
    trace = tmp_path / "trace"
    trace.touch()
    program = f"""
import time
trace = open({str(trace)!r}, "ab+", 0)
trace.write(b"+")
deadline = time.monotonic() + 60
while not trace.seek(0) and trace.read().count(b"+") < 2 and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.3)  # in which a third would begin
trace.write(b"-")
"""
    pretend(monkeypatch, lambda run: program)
    train_all(planned(TINY, options()), options("--jobs", 2))
    at_once, most = 0, 0
    for mark in trace.read_text():
        at_once += 1 if mark == "+" else -1
        most = max(most, at_once)
    assert most == 2


def terminal_of(monkeypatch):
    """A terminal in the place of the standard error stream, from now on."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_on_a_terminal_all_runs_are_trained_under_one_bar(options, monkeypatch):
    terminal = terminal_of(monkeypatch)

    def behaviour(run):
        write_run(run)
        return ""

    pretend(monkeypatch, behaviour)
    runs = planned(TINY, options())
    train_all(runs, options("--jobs", 2))
    assert all(is_finished(run) for run in runs)
    assert "distilled, seed" in terminal.getvalue()


def add_epochs(run, *seconds):
    """Epochs in a run's history, each of so many seconds, as if it had trained so far."""
    run.folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"epoch": number + 1, "validation_accuracy": number / 16, "seconds": taken})
        for number, taken in enumerate(seconds)
    ]
    (run.folder / "history.jsonl").write_text("\n".join(lines))


@pytest.fixture
def of_digits(options):
    """A teacher and two students of 12 epochs each."""
    return planned(STUDIES["digits"], options("--recipe", "digits", "--data-dir", "digits", name="digits"))[:3]


@pytest.fixture
def clock(monkeypatch):
    """Seconds since midnight of a Sunday, by which progress goes."""
    now = [0.0]

    class Clock(datetime):
        @classmethod
        def now(cls):
            return datetime(2026, 11, 29) + timedelta(seconds=now[0])

    monkeypatch.setattr(command, "datetime", Clock)
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_on_a_terminal_a_bar_counts_the_epochs_of_all_runs_together(of_digits, monkeypatch):
    terminal = terminal_of(monkeypatch)
    teacher, student, _ = of_digits
    progress = StudyProgress(of_digits, jobs=1)
    progress.show([teacher], of_digits[1:])
    add_epochs(teacher, *[60] * 12)
    progress.take_in([teacher])
    add_epochs(student, 60, 60, 60)
    progress.show([student], of_digits[2:])
    progress.close()
    said = terminal.getvalue()
    assert "0/36, the first epoch will tell when all is done; teacher, seed 0" in said
    assert "15/36, all done about " in said and "student alone, seed 0 12.5%" in said


@pytest.mark.parametrize(
    ("before", "jobs", "said"),
    [
        # The teacher still has 9 epochs of 600 s, each student 12 like these for want of better.
        ([(600, 600), (), ()], 1, "teacher, seed 0: epoch 3 of 12; all done about Sun 05:32"),
        ([(600, 600), (), ()], 2, "teacher, seed 0: epoch 3 of 12; all done about Sun 02:47"),
        # One student has trained 11 before: the other's are like them.
        ([(600, 600), (60,) * 11, ()], 1, "teacher, seed 0: epoch 3 of 12; all done about Sun 01:45"),
    ],
)
def test_the_end_is_told_by_what_epochs_of_such_networks_took(of_digits, clock, capsys, before, jobs, said):
    teacher, *students = of_digits
    for run, seconds in zip(of_digits, before, strict=True):
        add_epochs(run, *seconds)
    progress = StudyProgress(of_digits, jobs)
    clock[0] = 50.0
    progress.show([teacher], students)
    assert capsys.readouterr().out == ""
    add_epochs(teacher, 600, 600, 600)
    clock[0] = 120.0
    progress.show([teacher], students)
    assert capsys.readouterr().out == f"{said}\n"
    add_epochs(teacher, 600, 600, 600, 600)
    clock[0] = 170.0  # sooner than a minute after the last line
    progress.show([teacher], students)
    progress.close()
    assert capsys.readouterr().out == ""


def test_the_last_run_takes_its_own_time_however_many_may_run_at_once(of_digits, clock):
    teacher, student, _ = of_digits
    add_epochs(teacher, *[60] * 12)
    assert len({StudyProgress(of_digits, jobs).end_of([student]) for jobs in (1, 4)}) == 1


def test_failed_run_is_named_with_its_log_and_the_others_are_finished(options, monkeypatch, capsys):
    started = pretend(
        monkeypatch, lambda run: "raise SystemExit('the roof fell in')" if "alone, seed 1" in run.title else ""
    )
    runs = planned(TINY, options())
    with pytest.raises(StudyError, match="not finished: student alone, seed 1. .*seed=1.log.*give the command again"):
        train_all(runs, options())
    assert len(started) == 7
    assert "the roof fell in" in capsys.readouterr().out


def test_runs_whose_teacher_failed_are_not_started_and_are_named(options, monkeypatch):
    started = pretend(monkeypatch, lambda run: "raise SystemExit(1)" if run.arm.role == "teacher" else "")
    with pytest.raises(StudyError, match="not finished: teacher, seed 0, distilled, seed 0, distilled, seed 1"):
        train_all(planned(TINY, options()), options())
    assert not any("distilled" in title for title in started)


def test_finished_runs_are_not_started_again_and_the_others_go_seed_by_seed(options, monkeypatch):
    runs = planned(TINY, options())
    write_run(runs[0])
    write_run(runs[1])
    write_run(runs[4])
    started = pretend(monkeypatch, lambda run: "")
    train_all(runs, options())
    assert started == ["student alone, seed 1", "distilled, seed 1", "student alone, seed 2", "distilled, seed 2"]


def test_run_of_another_recipe_does_not_count_as_finished_and_one_of_another_teacher_is_in_the_way(options):
    runs = planned(TINY, options())
    teacher, distilled = runs[0], runs[4]
    write_run(teacher)
    write_run(distilled)
    assert is_finished(distilled)
    write_run(teacher, seed=5)  # a teacher of other weights took its place
    with pytest.raises(StudyError, match="holds a run of another teacher: name another folder with --runs-dir"):
        is_finished(distilled)
    away = teacher.folder.rename(teacher.folder.with_name("away"))
    with pytest.raises(StudyError, match=f"whose teacher is not in {teacher.folder} any more: bring it back, name it"):
        is_finished(distilled)
    away.rename(teacher.folder)
    config = checkpoint.load_config(teacher.folder)
    for change in ({"epochs_done": 39}, {"recipe": config["recipe"] | {"weight_decay": 0.1}}):
        write_json(teacher.folder / "config.json", config | change)
        assert not is_finished(teacher)


def test_run_from_before_a_field_existed_still_counts(options):
    run = planned(TINY, options())[1]
    write_run(run)
    config = checkpoint.load_config(run.folder)
    del config["recipe"]["schedule"]
    write_json(run.folder / "config.json", config)
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
        train_all(planned(TINY, options()), options("--jobs", 2))
    assert processes[0].poll() is not None
    processes[1].kill()


# The study's JSON as its ledger


@pytest.fixture
def measured(options, tmp_path, data_dir, monkeypatch):
    """A study of tiny networks that is carried out but for the last seed, and what carries it out again."""
    monkeypatch.setitem(STUDIES, "main", TINY)
    arguments = ["main", "--runs-dir", str(tmp_path / "runs"), "--data-dir", str(data_dir), "--device", "cpu",
                 "--output-dir", str(tmp_path)]  # fmt: skip
    runs = planned(TINY, options())
    for number, run in enumerate(runs):
        write_run(run, seed=number)
    main([*arguments, "--seeds", "2"])
    return arguments, runs, tmp_path / "main.json"


def test_what_the_ledger_holds_needs_no_checkpoint_any_more(measured, monkeypatch):
    arguments, runs, path = measured
    before = json.loads(path.read_text())
    assert [len(arm["runs"]) for arm in before["arms"]] == [1, 2, 2]
    for run in runs:
        if run.arm.role != "teacher" and run.recipe.seed < 2:
            shutil.rmtree(run.folder)
    started = pretend(monkeypatch, lambda run: "")
    main(arguments)
    assert started == []  # seed 2 is finished, the others stand in the file
    after = json.loads(path.read_text())
    assert [arm["runs"][: len(old["runs"])] for arm, old in zip(after["arms"], before["arms"], strict=True)] == [
        old["runs"] for old in before["arms"]
    ]
    (comparison,) = after["comparisons"]
    assert comparison["n"] == 3 and comparison["by_image"][:2] == before["comparisons"][0]["by_image"]


def test_comparisons_by_image_are_those_of_the_predictions(measured, data_dir):
    _, runs, path = measured
    test = read_test_set(data_dir)
    right = {}
    for run in runs:
        network, config = checkpoint.load(run.folder)
        logits = evaluation.predict(network, test.images, checkpoint.normalisation_of(config))
        right[run.title] = logits.argmax(dim=1) == test.labels
    by_image = json.loads(path.read_text())["comparisons"][0]["by_image"]
    assert any(counts["only_arm_right"] != counts["only_baseline_right"] for counts in by_image)
    for seed, counts in enumerate(by_image):
        ours, theirs = right[f"distilled, seed {seed}"], right[f"student alone, seed {seed}"]
        assert counts["only_arm_right"] == int((ours & ~theirs).sum())
        assert counts["only_baseline_right"] == int((theirs & ~ours).sum())


def test_runs_of_another_recipe_or_another_teacher_are_not_taken_from_the_ledger(measured, options, monkeypatch):
    arguments, runs, path = measured
    ledger = read_study(path)
    assert to_measure(runs, TINY, ledger) == [runs[0], runs[3], runs[6]]  # the teacher, for whom seed 2 is compared
    assert len(to_measure(planned(TINY, options("--epochs", 2)), TINY, ledger)) == 7
    write_run(runs[0], seed=99)
    again = {run.title for run in to_measure(runs, TINY, ledger)}
    assert again >= {f"distilled, seed {seed}" for seed in range(3)} and "student alone, seed 0" not in again


def test_a_measured_teacher_whose_checkpoint_is_gone_is_not_trained_again(measured, monkeypatch):
    arguments, runs, path = measured
    before, started = path.read_bytes(), pretend(monkeypatch, lambda run: "")
    shutil.rmtree(runs[0].folder)
    with pytest.raises(SystemExit, match="whose checkpoint is not there any more: bring it back, name it with --teach"):
        main(arguments)
    assert path.read_bytes() == before and started == []


def test_what_was_measured_without_its_teacher_is_measured_beside_it(measured, monkeypatch):
    arguments, runs, path = measured
    path.unlink()
    pretend(monkeypatch, lambda run: "")
    main([*arguments, "--arms", "role=student"])
    assert all("agreement" not in run for run in json.loads(path.read_text())["arms"][1]["runs"])
    main(arguments)
    assert all("agreement" in run for run in json.loads(path.read_text())["arms"][1]["runs"])


def test_another_teacher_does_not_take_the_place_of_measured_runs(measured, monkeypatch):
    arguments, runs, path = measured
    before, started = path.read_bytes(), pretend(monkeypatch, lambda run: "")
    write_run(runs[0], seed=99)
    with pytest.raises(SystemExit, match="arms or teachers, teacher, seed 0 first of 3"):
        main(arguments)
    assert path.read_bytes() == before and started == []


def measured_by_another(measured, monkeypatch, change=lambda study: None):
    """Carry out another study of the same arms, whose checkpoints are gone; returns what it trained."""
    arguments, runs, path = measured
    monkeypatch.setitem(STUDIES, "epochs", replace(TINY, seeds=2))
    for run in runs[1:]:
        shutil.rmtree(run.folder)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))

    def behaviour(run):
        write_run(run)
        return ""

    started = pretend(monkeypatch, behaviour)
    main(["epochs", *arguments[1:]])
    return started


def test_what_one_study_has_measured_another_takes_over(measured, monkeypatch):
    path = measured[2]
    assert measured_by_another(measured, monkeypatch) == []
    ours, theirs = (json.loads(each.read_text())["arms"] for each in (path.with_stem("epochs"), path))
    assert [arm["runs"] for arm in ours] == [arm["runs"] for arm in theirs]


def of_other_training_images(content):
    for arm in content["arms"][1:]:
        for run in arm["runs"]:
            run["data"] = "another"


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["arms"][0]["runs"][0].update(weights="another"),  # the teacher
        lambda content: content["data"].update(sha256="another"),
        of_other_training_images,
    ],
)
def test_what_was_measured_by_another_teacher_or_on_other_data_is_not_taken_over(measured, monkeypatch, change):
    assert len(measured_by_another(measured, monkeypatch, change)) == 4


def test_what_others_hold_is_added_to_a_ledger_of_ones_own(measured, monkeypatch):
    arguments, runs, _ = measured
    monkeypatch.setitem(STUDIES, "epochs", replace(TINY, seeds=2))
    main(["epochs", *arguments[1:], "--seeds", "1"])
    assert measured_by_another(measured, monkeypatch) == []


def test_what_was_measured_on_other_images_is_not_added(measured, data_dir):
    _, runs, path = measured
    ledger, data = read_study(path), open_data(data_dir, IMAGE_SIZE)
    other = replace(ledger, measured_on="validation", data=data.split()[0].description)
    assert with_others(ledger, [other], runs, TINY, data) == ledger


def test_afresh_takes_nothing_over(measured, monkeypatch):
    measured[0].append("--afresh")
    assert len(measured_by_another(measured, monkeypatch)) == 4


def test_a_study_whose_file_is_damaged_is_no_hindrance_to_another(measured, monkeypatch):
    measured[2].with_stem("losses").write_text("{")
    assert measured_by_another(measured, monkeypatch) == []


def test_each_network_is_asked_for_its_logits_once(measured, monkeypatch):
    arguments, runs, path = measured
    path.unlink()
    for run in (runs[2], runs[3]):
        shutil.rmtree(run.folder)
    asked = []

    def logits(folder, images, device):
        asked.append(folder)
        return torch.eye(10)[images.labels]

    def behaviour(run):
        write_run(run)
        return ""

    monkeypatch.setattr(evaluation, "checkpoint_logits", logits)
    pretend(monkeypatch, behaviour)
    main(arguments)
    assert sorted(asked) == sorted(run.folder for run in runs)


def test_a_study_on_validation_images_measures_nothing_before_its_teacher(options, tmp_path, data_dir, monkeypatch):
    study = replace(TINY, seeds=1, measured_on="validation")
    monkeypatch.setitem(STUDIES, "main", study)
    teacher, student, distilled = planned(study, options())

    def behaviour(run):
        write_run(run)
        if run.arm.role != "teacher":
            return ""
        away = run.folder.rename(tmp_path / "not there yet")
        return f"import os, time; time.sleep(1); os.rename({str(away)!r}, {str(run.folder)!r})"

    started = pretend(monkeypatch, behaviour)
    main(["main", "--runs-dir", str(tmp_path / "runs"), "--data-dir", str(data_dir), "--device", "cpu",
          "--output-dir", str(tmp_path), "--jobs", "2"])  # fmt: skip
    assert started == [teacher.title, student.title, distilled.title]
    assert [len(arm.runs) for arm in read_study(tmp_path / "main.json").arms] == [1, 1, 1]


def test_afresh_measures_what_the_ledger_holds_anew(measured, monkeypatch):
    arguments, runs, path = measured
    ledger = json.loads(path.read_text())
    ledger["arms"][1]["runs"][0]["accuracy"] = 0.999
    write_json(path, ledger)
    pretend(monkeypatch, lambda run: "")
    main(arguments)
    assert json.loads(path.read_text())["arms"][1]["runs"][0]["accuracy"] == 0.999
    before = path.read_bytes()
    main([*arguments, "--afresh"])
    assert json.loads(path.read_text())["arms"][1]["runs"][0]["accuracy"] != 0.999
    assert path.with_suffix(".json.former").read_bytes() == before
    assert study_files(path.parent) == [path]


def test_an_interrupted_afresh_goes_on_with_the_same_command(measured, monkeypatch, capsys):
    arguments, runs, path = measured
    former = path.with_suffix(".json.former")
    before = path.read_bytes()
    former.write_bytes(before)  # killed after the copy, before anything was measured
    pretend(monkeypatch, lambda run: "")
    asked = []

    def logits(folder, images, device):
        asked.append(folder)
        return torch.eye(10)[images.labels]

    monkeypatch.setattr(evaluation, "checkpoint_logits", logits)
    main([*arguments, "--afresh"])
    assert len(asked) == len(runs) and former.read_bytes() == before
    asked.clear()
    main([*arguments, "--afresh"])  # killed later: all is measured, and the command comes again
    assert asked == [] and former.read_bytes() == before
    assert f"to replace {path} too, move that away" in capsys.readouterr().out


def test_a_study_whose_last_run_fails_has_written_down_the_others(measured, monkeypatch):
    arguments, runs, path = measured
    path.unlink()
    for run in (runs[3], runs[6]):
        shutil.rmtree(run.folder)

    def behaviour(run):
        if run.folder == runs[6].folder:
            return "raise SystemExit(1)"
        write_run(run)
        return ""

    pretend(monkeypatch, behaviour)
    with pytest.raises(SystemExit, match="not finished: distilled, seed 2"):
        main(arguments)
    assert [len(arm["runs"]) for arm in json.loads(path.read_text())["arms"]] == [1, 3, 2]


@pytest.mark.parametrize("option", ["--jobs", "--seeds"])
def test_none_at_a_time_is_refused(option, capsys):
    with pytest.raises(SystemExit):
        main(["main", option, "0"])
    assert f"argument {option}: 0 is not 1 or more" in capsys.readouterr().err


def test_a_command_that_would_drop_measured_runs_is_refused_and_nothing_is_lost(measured, monkeypatch):
    arguments, _, path = measured
    before = path.read_bytes()
    started = pretend(monkeypatch, lambda run: "")
    for fewer in (["--seeds", "1"], ["--arms", "role=teacher", "role=student"], ["--epochs", "2"]):
        with pytest.raises(SystemExit, match=f"{path} holds runs of other settings.*--output-dir.*--afresh$"):
            main([*arguments, *fewer])
    assert path.read_bytes() == before and started == []


def test_a_study_takes_neither_runs_nor_measurements_of_other_data(measured, monkeypatch):
    arguments, runs, path = measured
    started = pretend(monkeypatch, lambda run: "")
    trained = checkpoint.load_config(runs[3].folder)
    other = trained | {"data": trained["data"] | {"sha256": "of other pictures"}}
    write_json(runs[3].folder / "config.json", other)
    with pytest.raises(SystemExit, match="seed=2 holds a run of other data: .*--runs-dir"):
        main(arguments)
    write_json(runs[3].folder / "config.json", trained)
    before = json.loads(path.read_text())
    write_json(path, before | {"data": before["data"] | {"sha256": "of other pictures"}})
    with pytest.raises(SystemExit, match=f"{path} holds what was measured on other data .CIFAR-10.*--afresh"):
        main(arguments)
    del before["data"]["sha256"]  # as a ledger without it is taken
    write_json(path, before)
    main(arguments)
    assert started == []


def test_the_shipped_ledgers_are_of_the_data_that_the_shipped_networks_were_trained_or_measured_on():
    trained = checkpoint.load_config(ROOT / "checkpoints" / "teacher")["data"]["sha256"]
    measured_on = read_results(ROOT / "checkpoints")["data"]["sha256"]
    for path in study_files(ROOT / "checkpoints" / "studies"):
        ledger = read_study(path)
        assert ledger.data["sha256"] == (measured_on if ledger.measured_on == "test" else trained)
