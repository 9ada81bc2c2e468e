"""The commands as a user gives them: whole runs, killed runs, runs of two processes, and what is refused."""

import contextlib
import functools
import hashlib
import io
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file

import train.run
from kd import checkpoint, models
from kd.checkpoint import STATE
from kd.cifar10 import CLASSES, FOLDER, NORMALISATIONS
from kd.device import chosen_precision
from kd.files import write_json
from kd.model_card import model_card
from kd.recipe import RECIPES, Recipe, as_config
from kd.recording import RECORDING, read_recording
from kd.results import training_sentences
from tests.commands import contents, refusal
from tests.configs import made_config
from tests.train_plain_network import beside_others
from tests.train_plain_network import main as train_plain_network
from train.teachers import read_teacher, tell_what_follows

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}  # runs that are compared bit for bit need one number of threads
SEED_RUN = "--recipe original --epochs 3 --batch-size 64 --device cpu --data-dir".split() + [
    str(ROOT / "tests" / "data")
]


def command(*arguments, processes=1):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *(launcher if processes > 1 else []), "-m", *map(str, arguments)]


def run(*arguments, processes=1):
    done = subprocess.run(
        command(*arguments, processes=processes), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal_of(role, *arguments):
    return refusal(functools.partial(train.run.main, role), *arguments)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """The folder of a student that was trained without interruption."""
    folder = tmp_path_factory.mktemp("runs") / "student"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        train.run.main("student", [*SEED_RUN, "--output-dir", str(folder)])
    assert "epoch 3/3: loss" in said.getvalue() and f"{folder}: 3 epochs done" in said.getvalue()
    return folder


@pytest.fixture(scope="module")
def few_images(data_dir, tmp_path_factory):
    """A copy of the data with 20 images a file: one batch of 64 is all that is there to train on."""
    folder = tmp_path_factory.mktemp("few") / FOLDER
    folder.mkdir()
    for path in (data_dir / FOLDER).iterdir():
        with open(path, "rb") as file:
            content = pickle.load(file, encoding="bytes")
        if path.name == "batches.meta":
            content[b"num_cases_per_batch"] = 20
        else:
            labels = np.array(content[b"labels"])
            rows = np.concatenate([np.flatnonzero(labels == label)[:2] for label in range(10)])
            content = {b"labels": labels[rows].tolist(), b"data": content[b"data"][rows]}
        (folder / path.name).write_bytes(pickle.dumps(content, protocol=2))
    return folder.parent


@pytest.fixture(scope="module")
def teacher(few_images, tmp_path_factory):
    """The folder of a small teacher that took one step of the recipe `strong`."""
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    one_step = "--recipe strong --network convnet-16 --stem imagenet --epochs 1 --batch-size 64 --device cpu".split()
    train.run.main("teacher", [*one_step, "--data-dir", str(few_images), "--output-dir", str(folder)])
    return folder


# A run that begins with trained weights


def test_a_teacher_starts_from_another_one_and_says_so(teacher, few_images, tmp_path):
    small_step = "--recipe original --normalisation cifar10 --network convnet-16 --epochs 1 --batch-size 64 "
    small_step += "--learning-rate 1e-6 --device cpu"
    arguments = [*small_step.split(), "--data-dir", str(few_images), "--output-dir", str(tmp_path)]
    train.run.main("teacher", [*arguments, "--start-from", str(teacher)])
    (before, config_before), (after, config) = checkpoint.load(teacher), checkpoint.load(tmp_path)
    weights = after.state_dict()
    for name, expected in before.named_parameters():
        torch.testing.assert_close(weights[name], expected, atol=1e-3, rtol=0)
    assert config["started_from"]["weights"] == config_before["weights"]
    assert checkpoint.epochs_before(config) == 1 and checkpoint.epochs_before(config_before) == 0
    told = training_sentences({"teacher": config | {"epochs_before": checkpoint.epochs_before(config)}})
    assert "1 epochs of earlier training and 1 epochs on" in told
    assert "trained for 2 epochs on" in str(model_card(config, None))
    assert not checkpoint.has_foreign_weights(config)
    assert "differs in started_from" in refusal_of("teacher", *arguments)


@pytest.mark.parametrize(
    ("role", "option", "file"),
    [("teacher", "--start-from", ""), ("teacher", "--weights", ""), ("teacher", "--weights", "model.safetensors"),
     ("distilled", "--teacher", "")],
)  # fmt: skip
def test_a_run_does_not_write_over_what_it_begins_with_or_learns_from(teacher, role, option, file):
    before = contents(teacher)
    with pytest.raises(SystemExit, match="would begin with or learn from, and write over: choose another --output-dir"):
        train.run.main(role, [option, str(teacher / file), "--output-dir", str(teacher), "--restart"])
    assert contents(teacher) == before


def test_a_run_that_goes_on_elsewhere_names_every_commit_machine_and_precision(teacher, tmp_path):
    config = checkpoint.load_config(teacher)
    parts = [
        ("a1", "one", "float32"),
        ("a1", "another", "bfloat16"),
        ("b2", "another", "float32"),
        (None, "one", "bfloat16"),
    ]
    for commit, machine, precision in parts:
        here = config | {"commit": commit, "machine": machine, "precision": precision}
        here |= train.run.all_parts(tmp_path, here)
        write_json(tmp_path / "config.json", here)
    assert (here["commit"], here["machine"]) == ("a1, then b2", "one, then another")
    assert here["precision"] == "float32, then bfloat16"


def test_weights_of_another_network_are_refused_as_a_start(teacher, student, few_images, tmp_path):
    arguments = ["--data-dir", few_images, "--output-dir", tmp_path, "--device", "cpu"]
    said = refusal_of("teacher", "--stem", "cifar", "--start-from", teacher, *arguments)
    assert f"--start-from {teacher} holds a convnet-16 with the stem imagenet" in said and "--stem imagenet" in said
    said = refusal_of("teacher", "--stem", "imagenet", "--start-from", student, *arguments)
    assert "holds a mobilenet_v2" in said and "or pass --network mobilenet_v2 --stem imagenet" in said


def test_a_start_that_knows_other_classes_is_refused(teacher, few_images, tmp_path):
    other = shutil.copytree(teacher, tmp_path / "other")
    config = checkpoint.load_config(other)
    renamed = {"classes": config["classes"][::-1], "data": config["data"] | {"name": "pets"}}
    write_json(other / checkpoint.CONFIG, config | renamed)
    arguments = ["--data-dir", few_images, "--output-dir", tmp_path / "run", "--device", "cpu"]
    said = refusal_of("teacher", "--recipe", "original", "--network", "convnet-16", "--start-from", other, *arguments)
    assert f"{other} knows other classes than these data have: give its weights by --weights" in said


# A whole run


def test_config_holds_what_the_contract_promises(student, data_dir):
    network, config = checkpoint.load(student)
    assert models.count_parameters(network) == config["parameters"] == 2_236_682
    pixels = [pickle.loads((data_dir / FOLDER / f"data_batch_{n}").read_bytes(), encoding="bytes") for n in range(1, 6)]
    assert config["data"] == {
        "name": "CIFAR-10", "part": "train", "images": 500, "trained_on": 450, "validated_on": 50,
        "sha256": hashlib.sha256(b"".join(batch[b"data"].tobytes() for batch in pixels)).hexdigest(),
    }  # fmt: skip
    mean, std = NORMALISATIONS["seed-project"]
    assert config["normalisation"] == {"name": "seed-project", "mean": list(mean), "std": list(std)}
    recipe = RECIPES["original"]["student"].changed(epochs=3, batch_size=64)
    assert config["recipe"] == as_config("original", recipe)
    assert config["versions"] == {"torch": torch.__version__, "torchvision": torchvision.__version__}
    expected = {
        "role": "student", "architecture": "mobilenet_v2", "stem": "imagenet", "classes": list(CLASSES),
        "epochs_done": 3, "seed": 0, "macs": 6_124_928, "teacher": None,
    }  # fmt: skip
    assert {key: config[key] for key in expected} == expected
    last = checkpoint.read_history(student)[-1]
    assert config["metrics"] == {
        key: last[key] for key in ("loss", "accuracy", "validation_loss", "validation_accuracy")
    }


def test_history_has_a_line_an_epoch_and_nothing_else_is_left(student):
    lines = [json.loads(line) for line in (student / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    measured = {
        "learning_rate",
        "loss",
        "hard",
        "accuracy",
        "validation_accuracy",
        "validation_loss",
        "images_per_second",
    }
    assert all(isinstance(line[key], float) for line in lines for key in measured)
    assert sorted(contents(student)) == ["config.json", "history.jsonl", "model.safetensors"]


# Interruption


@pytest.mark.slow
def test_killed_run_given_the_same_command_ends_bit_for_bit_like_one_that_was_not(student, tmp_path):
    folder = tmp_path / "student"
    arguments = ["train.student", *SEED_RUN, "--output-dir", folder]
    process = subprocess.Popen(command(*arguments), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    try:
        while not (folder / "config.json").exists():  # the last that an epoch writes
            assert process.poll() is None, "it ended before its first epoch"
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (folder / STATE).exists()

    output = run(*arguments)
    assert "epoch 1/3" not in output and "epoch 3/3" in output
    before, after = contents(student), contents(folder)
    assert before.keys() == after.keys()
    assert before["model.safetensors"] == after["model.safetensors"]
    configs = [json.loads(each["config.json"]) for each in (before, after)]
    for config in configs:
        del config["commit"]  # the code may be edited meanwhile
    assert configs[0] == configs[1]


def test_finished_run_says_so_and_changes_nothing(student, capsys):
    before = contents(student)
    (student / STATE).write_bytes(b"left by a kill before the last step")
    train.run.main("student", [*SEED_RUN, "--output-dir", str(student)])
    assert "holds this run already, all 3 epochs of it" in capsys.readouterr().out
    assert contents(student) == before


def test_of_two_processes_one_says_that_the_run_is_finished_and_neither_waits_for_ever(student, monkeypatch, capsys):
    waits, said = [], []
    for first in (True, False):
        waiting = []
        monkeypatch.setattr(train.run, "join_processes", lambda device, first=first: first)
        monkeypatch.setattr(train.run, "wait_for_all", lambda waiting=waiting: waiting.append(1))
        train.run.main("student", [*SEED_RUN, "--output-dir", str(student)])
        waits.append(len(waiting))
        said.append(capsys.readouterr().out)
    assert waits[0] == waits[1] > 0  # a process waits until all others wait too
    assert "holds this run already" in said[0] and said[1] == ""


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (["--learning-rate", "0.1"], "learning_rate"),
        (["--seed", "1"], "seed"),
        (["--epochs", "4"], "epochs"),
        (["--recipe", "strong"], "name, stem, early_downsampling, dropout, normalisation"),
    ],
    ids=lambda change: " ".join(change) if isinstance(change, list) else None,
)
def test_another_run_in_the_same_folder_is_refused(student, change, key):
    before = contents(student)
    said = refusal_of("student", *SEED_RUN, "--output-dir", student, *change)
    assert f"{student} holds a run that differs in {key}" in said
    assert "--output-dir" in said and "--restart" in said
    assert contents(student) == before


def test_other_data_in_the_same_folder_is_refused(student, few_images):
    assert "differs in data" in refusal_of("student", *SEED_RUN, "--output-dir", student, "--data-dir", few_images)


def test_another_role_in_the_same_folder_is_refused(student):
    assert "role" in refusal_of("teacher", *SEED_RUN, "--output-dir", student)


def test_restart_replaces_another_run(student, tmp_path, few_images):
    folder = tmp_path / "student"
    shutil.copytree(student, folder)
    (folder / "thesis.txt").write_text("three years of work")
    arguments = [*SEED_RUN, "--output-dir", str(folder), "--data-dir", str(few_images), "--epochs", "1"]
    before = contents(folder)
    with pytest.raises(SystemExit, match="--batch-size 512 is more than the"):  # before anything is lost
        train.run.main("student", [*arguments, "--restart", "--batch-size", "512"])
    assert contents(folder) == before
    train.run.main("student", [*arguments, "--restart"])
    assert (folder / "thesis.txt").exists()
    network, config = checkpoint.load(folder)
    assert (config["epochs_done"], config["data"]["images"]) == (1, 100)
    assert len(checkpoint.read_history(folder)) == 1


def test_on_a_machine_without_git_no_commit_is_noted(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert train.run.commit() is None


def test_a_commit_is_marked_where_its_code_was_changed_but_not_its_checkpoints(tmp_path, monkeypatch):
    def git(*arguments):
        who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    code, ledger = tmp_path / "train" / "run.py", tmp_path / "checkpoints" / "main.json"
    monkeypatch.setattr(train.run, "__file__", str(code))
    git("init", "--quiet")
    for path in (code, ledger, tmp_path / "kd" / "losses.py"):
        path.parent.mkdir()
        path.write_text("as committed")
    assert train.run.commit() is None  # there is none yet
    git("add", ".")
    git("commit", "--quiet", "--message=all of it")
    ledger.write_text("as a study has it after its first run")
    found = git("rev-parse", "HEAD")[:12]
    assert train.run.commit() == found
    (tmp_path / "kd" / "losses.py").write_text("as edited")
    assert train.run.commit() == f"{found}-dirty"


def test_unfinished_run_without_its_state_is_refused(student, tmp_path):
    folder = tmp_path / "student"
    shutil.copytree(student, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"epochs_done": 2}))
    said = refusal_of("student", *SEED_RUN, "--output-dir", folder)
    assert f"unfinished run without its {STATE}" in said and "--restart" in said


def test_missing_data_ends_with_a_sentence(tmp_path):
    (tmp_path / FOLDER).mkdir()
    said = refusal_of("student", *SEED_RUN, "--data-dir", tmp_path, "--output-dir", tmp_path / "student")
    assert said.startswith("python -m train.student: ") and "batch_1 is missing" in said


# Distillation


@pytest.mark.slow
def test_strong_recipe_runs_to_its_end(few_images, tmp_path):
    arguments = "--recipe strong --epochs 1 --batch-size 64 --device cpu".split()
    train.run.main("student", [*arguments, "--data-dir", str(few_images), "--output-dir", str(tmp_path)])
    _, config = checkpoint.load(tmp_path)
    assert (config["stem"], config["recipe"]["cutout"], config["teacher"]) == ("cifar", 8, None)


@pytest.mark.slow
def test_strong_recipe_trains_a_resnet50(few_images, tmp_path):
    arguments = "--recipe strong --stem imagenet --epochs 1 --batch-size 64 --device cpu".split()
    train.run.main("teacher", [*arguments, "--data-dir", str(few_images), "--output-dir", str(tmp_path)])
    network, config = checkpoint.load(tmp_path)
    assert (config["architecture"], config["epochs_done"]) == ("resnet50", 1)
    assert models.count_parameters(network) == 23_528_522


@pytest.mark.slow
def test_strong_recipe_distils_a_teacher_into_a_student(few_images, teacher, tmp_path):
    arguments = "--recipe strong --epochs 1 --batch-size 64 --device cpu --record --teacher-logits".split()
    folders = [tmp_path / "logits", "--teacher", teacher, "--data-dir", few_images, "--output-dir", tmp_path]
    train.run.main("distilled", [*map(str, [*arguments, *folders])])
    _, config = checkpoint.load(tmp_path)
    assert (config["role"], config["stem"]) == ("distilled", "cifar")
    assert config["precision"] == chosen_precision("auto", torch.device("cpu"), "cifar")  # by the CPU
    taught_by = checkpoint.load_config(teacher)
    assert (taught_by["role"], taught_by["architecture"]) == ("teacher", "convnet-16")
    assert config["teacher"] == {
        key: taught_by[key] for key in ("architecture", "stem", "epochs_done", "seed", "weights")
    }
    (epoch,) = checkpoint.read_history(tmp_path)
    assert epoch["soft"] > 0 and epoch["loss"] == pytest.approx(0.1 * epoch["hard"] + 0.9 * epoch["soft"], rel=1e-4)
    (cached,) = (tmp_path / "logits").glob("*/epoch-001.safetensors")
    recording = read_recording(tmp_path / RECORDING)
    assert recording["epoch"][0] == 0 and recording["epoch"][-1] == 1


def test_missing_teacher_is_named_with_the_command_that_makes_it(tmp_path):
    said = refusal_of("distilled", *SEED_RUN, "--teacher", tmp_path / "teacher", "--output-dir", tmp_path / "distilled")
    assert f"{tmp_path / 'teacher'} does not exist: make it with python -m train.teacher" in said
    assert not (tmp_path / "distilled").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.safetensors", "is a file of a checkpoint: give its folder, --teacher {teacher}"),
        ("logits.npy", "there is no file {teacher}/logits.npy"),
    ],
)
def test_a_path_that_is_no_teacher_is_refused_with_the_one_that_is(teacher, tmp_path, name, said):
    found = refusal_of("distilled", *SEED_RUN, "--teacher", teacher / name, "--output-dir", tmp_path)
    assert said.format(teacher=teacher) in found


def test_a_teacher_on_the_hub_is_to_be_fetched_first(tmp_path):
    found = refusal_of("distilled", *SEED_RUN, "--teacher", "hf://me/teacher", "--output-dir", tmp_path)
    assert "is on the Hub: fetch it (hf download), and name the folder with its config.json" in found


def test_of_a_teacher_that_is_not_done_is_said_what_follows(teacher, capsys):
    each = read_teacher(teacher, torch.device("cpu"))
    tell_what_follows(each, 32)
    assert capsys.readouterr().out == ""
    each.config["recipe"]["epochs"] = 9
    tell_what_follows(each, 32)
    assert f"{teacher} has 1 of its 9 epochs: once it has gone on it is another teacher" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_to_is_named_with_its_option(tmp_path):
    (tmp_path / "file").touch()
    said = refusal_of("student", *SEED_RUN, "--output-dir", tmp_path / "file")
    assert f"{tmp_path / 'file'} cannot be written to (File exists): name another --output-dir" in said


def test_without_a_compiler_compile_is_refused_before_anything_is_removed(student, monkeypatch):
    def failing(function):
        raise RuntimeError("no working compiler\nand a page more")

    monkeypatch.setattr(torch, "compile", failing)
    before = contents(student)
    said = refusal_of("student", *SEED_RUN, "--compile", "--restart", "--output-dir", student)
    assert "--compile wants a C++ compiler, and fails here (no working compiler): leave it out" in said
    assert contents(student) == before


def test_a_weight_for_each_of_several_teachers_is_wanted(teacher, tmp_path):
    several = ["--teacher", teacher, "--teacher", teacher, "--teacher-weight", "0.5", "--output-dir", tmp_path]
    assert "a --teacher-weight over 0 for each --teacher" in refusal_of("distilled", *SEED_RUN, *several)


def test_a_file_of_logits_with_other_rows_than_images_is_refused(tmp_path):
    np.save(tmp_path / "logits.npy", np.zeros((7, 10), np.float32))
    said = refusal_of("distilled", *SEED_RUN, "--teacher", tmp_path / "logits.npy", "--output-dir", tmp_path / "out")
    assert "holds 7 rows of 10 logits, the training set 500 images of 10 classes" in said


def save_teacher(network, folder):
    recipe = RECIPES["original"]["teacher"].changed(precision="bfloat16")
    checkpoint.save(network, made_config("teacher", "original", recipe), folder)
    return folder


@pytest.mark.parametrize(("role", "given"), [("student", []), ("distilled", ["--teacher", "x"])])
def test_both_students_get_the_recipes_dropout(role, given):
    options = train.run.make_parser(role).parse_args(given)
    for dropout in (0.0, 0.3):
        network, _ = train.run.begin(role, Recipe(dropout=dropout, stem="imagenet"), CLASSES, options)
        assert type(network).__name__ == "MobileNetV2" and network.classifier[0].p == dropout


def test_scripts_start_baseline_and_distilled_student_alike(monkeypatch, make_network, tmp_path):
    """By way of the commands' own code; the networks are tiny, and the loop only looks at what it is given."""
    monkeypatch.setattr(models, "build", lambda *_: make_network(seed=torch.initial_seed()))
    save_teacher(make_network(1), tmp_path / "teacher")
    given = {}
    for role, options in [("student", []), ("distilled", ["--teacher", str(tmp_path / "teacher")])]:

        def look(network, training, validation, recipe, output_dir, *, teacher, role=role, **others):
            given[role] = network.state_dict(), training, validation, recipe, teacher

        monkeypatch.setattr(train.run, "train", look)
        train.run.main(role, [*SEED_RUN, "--seed", "5", "--output-dir", str(tmp_path / role), *options])

    baseline, distilled = given["student"], given["distilled"]
    expected = make_network(seed=5).state_dict()
    assert all(torch.equal(baseline[0][name], expected[name]) for name in expected)
    assert all(torch.equal(baseline[0][name], distilled[0][name]) for name in expected)
    for one, other in zip(baseline[1:3], distilled[1:3], strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    assert baseline[3] == distilled[3]
    assert baseline[4] is None and not distilled[4].training
    assert distilled[4].precision == "bfloat16"  # the teacher's own


def test_cached_logits_of_one_teacher_are_not_taken_for_those_of_another(monkeypatch, make_network, tmp_path):
    monkeypatch.setattr(models, "build", lambda *_: make_network(seed=torch.initial_seed()))

    def distil(teacher, logits, name, *more):
        places = ["--teacher-logits", str(tmp_path / logits), "--output-dir", str(tmp_path / name)]
        train.run.main("distilled", [*SEED_RUN, "--teacher", str(teacher), *places, *more])
        return (tmp_path / name / "model.safetensors").read_bytes()

    one, other = (save_teacher(make_network(seed), tmp_path / f"teacher-{seed}") for seed in (1, 2))
    by_one, by_other = distil(one, "shared", "a"), distil(other, "shared", "b")
    assert by_one != by_other
    assert by_other == distil(other, "own", "c")
    assert by_other == distil(other, "shared", "d")  # what was kept
    assert len(list((tmp_path / "shared").iterdir())) == 2
    assert distil(one, "shared", "e", "--augmentation-seed", "7") != by_one
    assert len(list((tmp_path / "shared").iterdir())) == 3


def test_compile_is_off_unless_it_is_asked_for(monkeypatch, make_network, tmp_path):
    monkeypatch.setattr(models, "build", lambda *_: make_network())
    asked = []
    monkeypatch.setattr(train.run, "train", lambda *_, compiled, **others: asked.append(compiled))
    for name, options in [("plain", []), ("compiled", ["--compile"])]:
        train.run.main("student", [*SEED_RUN, "--output-dir", str(tmp_path / name), *options])
    assert asked == [False, True]


# Two processes


@pytest.mark.slow
def test_two_processes_train_a_student(few_images, tmp_path):
    arguments = "--recipe original --epochs 1 --batch-size 30 --device cpu".split()
    output = run(
        "train.student", *arguments, "--data-dir", few_images, "--output-dir", tmp_path / "student", processes=2
    )
    assert output.count("epoch 1/1") == 1  # only one of them talks
    assert checkpoint.load(tmp_path / "student")[1]["epochs_done"] == 1
    assert sorted(contents(tmp_path / "student")) == ["config.json", "history.jsonl", "model.safetensors"]


def test_two_processes_follow_one_at_the_same_batch_size_and_go_on_after_an_interruption(tmp_path):
    train_plain_network(tmp_path / "one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forks of a process that has not computed yet: what autograd has started does not survive a fork.
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload(["tests.train_plain_network"])
    processes = [forked.Process(target=beside_others, args=(tmp_path / "two", rank, 2, port)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    one, two = (torch.load(tmp_path / folder / "weights.pt", weights_only=True) for folder in ("one", "two"))
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=1e-4, atol=1e-5)
    one, two = (json.loads((tmp_path / folder / "history.json").read_text()) for folder in ("one", "two"))
    for here, there in zip(one, two, strict=True):
        for key in ("loss", "hard", "soft", "accuracy", "learning_rate", "validation_loss"):
            assert there[key] == pytest.approx(here[key], rel=1e-4)
    for epoch in (1, 2, 3):  # what both processes asked the teacher is in one file
        one, two = (
            load_file(tmp_path / folder / "logits" / f"epoch-{epoch:03}.safetensors") for folder in ("one", "two")
        )
        assert one["logits"].isnan().any(dim=1).sum() < 60
        torch.testing.assert_close(two["logits"], one["logits"], rtol=1e-2, atol=1e-2, equal_nan=True)
