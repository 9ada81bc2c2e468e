"""What `python app.py` does with bad checkpoints."""

import runpy
import shutil

import pytest

from tests.commands import refusal, run
from tests.serving import ROOT


def refusal_at_start(checkpoints, monkeypatch):
    """What app.py says of checkpoints that it cannot show."""
    monkeypatch.setenv("KD_CHECKPOINTS", str(checkpoints))
    return refusal(lambda _: runpy.run_path(str(ROOT / "app.py"), run_name="__main__"))


def assert_names_the_missing_one(said, folder):
    assert f"{folder / 'distilled'} does not exist" in said
    assert f"python -m train.distill --teacher {folder / 'teacher'}" in said


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
