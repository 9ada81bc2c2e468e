"""What `python app.py`, `train.evaluate` and `train.halve` do with good and bad checkpoints."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from kd import checkpoint
from kd.recipe import ROLES
from kd.results import results_rows
from kd.strange_images import KINDS
from tests.serving import ROOT

SHIPPED = ROOT / "checkpoints"


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def refusal_at_start(checkpoints):
    """What app.py says of checkpoints that it cannot show, in a sentence and without a traceback."""
    result = run("app.py", KD_CHECKPOINTS=str(checkpoints))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture
def copied(tmp_path):
    """A copy of the shipped checkpoints, to be damaged."""
    return shutil.copytree(SHIPPED, tmp_path / "checkpoints")


def test_a_missing_checkpoint_is_named_at_start_with_the_command_that_makes_it(copied):
    shutil.rmtree(copied / "distilled")
    said = refusal_at_start(copied)
    assert f"{copied / 'distilled'} does not exist" in said
    assert "python -m train.distill --teacher checkpoints/teacher" in said


def test_a_damaged_checkpoint_is_named_at_start_with_the_command_that_makes_it(copied):
    weights = copied / "student" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    said = refusal_at_start(copied)
    assert f"{weights} is damaged" in said
    assert "python -m train.student" in said


def test_a_checkpoint_of_another_role_is_refused_at_start(copied):
    shutil.rmtree(copied / "distilled")
    shutil.copytree(copied / "student", copied / "distilled")
    said = refusal_at_start(copied)
    assert f"{copied / 'distilled'} holds a student" in said


def test_evaluate_prints_one_json_object_and_then_writes_none(copied):
    (copied / "results.json").unlink()
    result = run("-m", "train.evaluate", "--checkpoints", copied, "--data-dir", "tests/data", "--json")
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert not (copied / "results.json").exists()
    assert list(printed["models"]) == list(ROLES)
    assert printed["data"]["images"] == 100
    for role, model in printed["models"].items():
        assert {"accuracy", "nll", "ece", "per_class_accuracy", "agreement", "parameters", "macs", "bytes"} <= set(
            model
        )
        assert len(model["per_class_accuracy"]) == 10
        assert sum(model["per_class_accuracy"].values()) / 10 == pytest.approx(model["accuracy"])
        stored = sum(path.stat().st_size for path in (copied / role).glob("model*"))
        assert model["bytes"] == stored
    assert printed["models"]["teacher"]["agreement"] == 1
    warning = printed["out_of_class"]  # from the carried validation images, not from the test images
    assert warning["validation_images"] == 50
    assert 0 < warning["validation_warned"] <= 0.08
    assert set(warning["detected"]) == set(KINDS)
    assert warning["left_out"] is None or warning["left_out"]["class"] == "frog"


def test_evaluate_prints_a_table_for_people_and_puts_it_into_a_readme(copied, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n")
    arguments = ("-m", "train.evaluate", "--checkpoints", copied, "--data-dir", "tests/data", "--document", readme)
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    text = readme.read_text()
    assert result.stdout in text and "old" not in text and text.startswith("before") and text.endswith("after\n")
    for row in results_rows(json.loads((copied / "results.json").read_text()))[1]:
        assert "| " + " | ".join(row) + " |" in text


def test_evaluate_names_what_is_missing(tmp_path):
    result = run("-m", "train.evaluate", "--checkpoints", tmp_path / "none", "--data-dir", "tests/data")
    assert result.returncode != 0
    assert f"{tmp_path / 'none' / 'teacher'} does not exist" in result.stderr
    assert "Traceback" not in result.stderr


def test_halve_stores_half_the_bytes_and_says_what_it_compared(copied, tmp_path):
    network, config = checkpoint.load(copied / "student")
    full, half = tmp_path / "full", tmp_path / "half"
    checkpoint.save(network, config, full)
    result = run("-m", "train.halve", full, half, "--data-dir", "tests/data")
    assert result.returncode == 0, result.stderr
    stored = checkpoint.load_config(half)
    assert stored["precision"]["weights"] == "float16"
    assert stored["precision"]["validation_accuracy_float16"] == stored["precision"]["validation_accuracy_float32"]
    assert checkpoint.weight_bytes(stored) < 0.55 * checkpoint.weight_bytes(checkpoint.load_config(full))
    assert run("-m", "train.halve", half, half).returncode == 2
