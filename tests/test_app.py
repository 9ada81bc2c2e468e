"""What `python app.py`, `train.evaluate` and `train.halve` do with good and bad checkpoints."""

import json
import os
import runpy
import shutil
import subprocess
import sys

import pytest
import torch

from kd import checkpoint, models
from kd.models import ROLES
from kd.results import RESULTS, results_rows
from kd.strange_images import KINDS
from tests.conftest import describe
from tests.serving import ROOT
from train import evaluate, halve

SHIPPED = ROOT / "checkpoints"


def run(*arguments, **environment):
    """A command in a process of its own, which takes seconds to start: once for each command."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def refusal(main, *arguments):
    """The sentence that a command ends with, given in this process."""
    with pytest.raises(SystemExit) as caught:
        main(*arguments)
    return caught.value.code


def refusal_at_start(checkpoints, monkeypatch):
    """What app.py says of checkpoints that it cannot show."""
    monkeypatch.setenv("KD_CHECKPOINTS", str(checkpoints))
    return refusal(lambda: runpy.run_path(str(ROOT / "app.py"), run_name="__main__"))


@pytest.fixture
def copied(tmp_path):
    """A copy of the shipped checkpoints, to be damaged."""
    for role in ROLES:
        shutil.copytree(SHIPPED / role, tmp_path / "checkpoints" / role)
    return tmp_path / "checkpoints"


def assert_names_the_missing_one(said, folder):
    assert f"{folder / 'distilled'} does not exist" in said
    assert "python -m train.distill --teacher checkpoints/teacher" in said


def test_a_missing_checkpoint_is_named_at_start_with_the_command_that_makes_it(checkpoints, monkeypatch):
    shutil.rmtree(checkpoints / "distilled")
    assert_names_the_missing_one(refusal_at_start(checkpoints, monkeypatch), checkpoints)


@pytest.mark.slow
def test_a_start_that_fails_ends_with_code_1_and_a_sentence(copied):
    shutil.rmtree(copied / "distilled")
    result = run("app.py", KD_CHECKPOINTS=str(copied))
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert_names_the_missing_one(result.stderr, copied)


def test_a_damaged_checkpoint_is_named_at_start_with_the_command_that_makes_it(checkpoints, monkeypatch):
    weights = min((checkpoints / "student").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    said = refusal_at_start(checkpoints, monkeypatch)
    assert f"{weights} is damaged" in said
    assert "python -m train.student" in said


def test_a_checkpoint_of_another_role_is_refused_at_start(checkpoints, monkeypatch):
    shutil.rmtree(checkpoints / "distilled")
    shutil.copytree(checkpoints / "student", checkpoints / "distilled")
    said = refusal_at_start(checkpoints, monkeypatch)
    assert f"{checkpoints / 'distilled'} holds a student" in said


def assert_complete(printed, folder):
    """The object is what `train.evaluate --json` promises of the checkpoints in `folder`, on the subset."""
    assert list(printed["models"]) == list(ROLES)
    assert printed["data"]["images"] == 100
    for role, model in printed["models"].items():
        assert {"accuracy", "nll", "ece", "per_class_accuracy", "agreement", "parameters", "macs", "bytes"} <= set(
            model
        )
        assert len(model["per_class_accuracy"]) == 10
        assert sum(model["per_class_accuracy"].values()) / 10 == pytest.approx(model["accuracy"])
        stored = sum(path.stat().st_size for path in (folder / role).glob("model*"))
        assert model["bytes"] == stored
    assert printed["models"]["teacher"]["agreement"] == 1
    warning = printed["out_of_class"]  # from the carried validation images, not from the test images
    assert warning["validation_images"] == 50
    assert 0 < warning["validation_warned"] <= 0.08
    assert set(warning["detected"]) == set(KINDS)
    assert warning["omitted_class"] is None or warning["omitted_class"]["class"] == "frog"


def test_evaluate_prints_one_json_object_and_then_writes_none(checkpoints, data_dir, capsys):
    (checkpoints / RESULTS).unlink()
    before = sorted(checkpoints.rglob("*"))
    evaluate.main(["--checkpoints", str(checkpoints), "--data-dir", str(data_dir), "--json"])
    assert_complete(json.loads(capsys.readouterr().out), checkpoints)
    assert sorted(checkpoints.rglob("*")) == before


def test_evaluate_writes_no_document_where_it_prints_json(tmp_path, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["--json", "--document", str(tmp_path / "README.md")])
    assert "--json prints and writes nothing: leave out --document" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_as_a_command_measures_the_shipped_networks(copied):
    result = run("-m", "train.evaluate", "--checkpoints", copied, "--data-dir", "tests/data", "--json")
    assert result.returncode == 0, result.stderr
    assert_complete(json.loads(result.stdout), copied)
    assert not (copied / RESULTS).exists()


def test_evaluate_prints_a_table_for_people_and_puts_it_into_a_readme(checkpoints, data_dir, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n")
    evaluate.main(["--checkpoints", str(checkpoints), "--data-dir", str(data_dir), "--document", str(readme)])
    text, printed = readme.read_text(), capsys.readouterr().out
    assert printed in text and "old" not in text and text.startswith("before") and text.endswith("after\n")
    for row in results_rows(json.loads((checkpoints / "results.json").read_text()))[1]:
        assert "| " + " | ".join(row) + " |" in text


def test_evaluate_names_what_is_missing(data_dir, tmp_path):
    said = refusal(evaluate.main, ["--checkpoints", str(tmp_path / "none"), "--data-dir", str(data_dir)])
    assert f"{tmp_path / 'none' / 'teacher'} does not exist" in said


def test_halve_stores_half_the_bytes_and_says_what_it_compared(tmp_path, data_dir, capsys):
    full, half = tmp_path / "full", tmp_path / "half"
    torch.manual_seed(0)
    checkpoint.save(models.build("convnet-32", "imagenet"), describe() | {"architecture": "convnet-32"}, full)
    halve.main([str(full), str(half), "--data-dir", str(data_dir)])
    assert "float16; validation accuracy" in capsys.readouterr().out
    stored = checkpoint.load_config(half)
    assert stored["precision"]["weights"] == "float16"
    assert stored["precision"]["validation_accuracy_float16"] == stored["precision"]["validation_accuracy_float32"]
    assert checkpoint.weight_bytes(stored) < 0.55 * checkpoint.weight_bytes(checkpoint.load_config(full))
    assert refusal(halve.main, [str(half), str(half)]) == 2
