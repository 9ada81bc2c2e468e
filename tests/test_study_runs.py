"""Studies that really train, by their command: from nothing to the tables, and ended from outside."""

import json
import os
import subprocess
import sys
import time

import pytest

from kd.studies.ledger import as_json, read_study
from kd.studies.report import study_table
from tests.serving import ROOT
from train.study import main

pytestmark = pytest.mark.slow  # processes that train networks of full size


def test_study_ended_from_outside_ends_its_runs_and_says_how_to_go_on(tmp_path, data_dir):
    arguments = [
        "main", "--recipe", "original", "--batch-size", "64", "--arms", "role=student", "--seeds", "1",
        "--device", "cpu",
        "--data-dir", str(data_dir), "--runs-dir", str(tmp_path), "--output-dir", str(tmp_path),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    whole = [sys.executable, "-m", "train.study", *arguments]
    process = subprocess.Popen(whole, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("*/config.json")):  # the first epoch is done
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert "interrupted; the same command goes on" in errors
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    before = (folder / "history.jsonl").read_bytes()
    assert before.count(b"\n") < 40
    deadline = time.monotonic() + 60
    with pytest.raises(ProcessLookupError):  # nobody trains on
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


def test_whole_study_from_nothing_to_the_readme_and_again_without_training(tmp_path, data_dir, capsys):
    readme, output = tmp_path / "README.md", tmp_path / "studies"
    readme.write_text("<!-- study main -->\n<!-- end of study main -->\n")
    arguments = [
        "main", "--recipe", "original", "--seeds", "2", "--epochs", "1", "--batch-size", "225", "--device", "cpu",
        "--jobs", "2",
        "--data-dir", str(data_dir), "--runs-dir", str(tmp_path / "runs"), "--output-dir", str(output),
        "--document", str(readme),
    ]  # fmt: skip
    main(arguments)
    written = json.loads((output / "main.json").read_text())
    assert written["command"].startswith("python -m train.study main --recipe original --seeds 2")
    assert [len(arm["runs"]) for arm in written["arms"]] == [1, 2, 2]
    table = study_table(read_study(output / "main.json"))
    assert table in readme.read_text() and "![Agreement with the teacher](studies/figures/main" in readme.read_text()
    assert table in capsys.readouterr().out
    assert len(list((tmp_path / "runs" / "teacher-logits").glob("*/*.safetensors"))) == 1  # one epoch, for both seeds
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.safetensors")}
    main(arguments)
    assert f"5 runs, 5 of them measured in {output}" in capsys.readouterr().out
    assert json.loads((output / "main.json").read_text()) == written == as_json(read_study(output / "main.json"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.safetensors")} == before
