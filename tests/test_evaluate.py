"""`python -m train.evaluate`: what it prints, what it writes, and what it names that is missing."""

import json
import shutil

import pytest

from kd import checkpoint, evaluation, models
from kd.cifar10 import read_test_set
from kd.files import write_json
from kd.models import ROLES
from kd.results import ANOTHER_TEACHER, RESULTS, results_rows, results_section
from kd.strange_images import KINDS
from tests.commands import contents, refusal, run
from train import evaluate


def assert_complete(printed, folder):
    """The object is what `train.evaluate --json` promises of the checkpoints in `folder`, on the subset."""
    assert list(printed["models"]) == list(ROLES)
    assert printed["data"]["images"] == 100
    for role, model in printed["models"].items():
        assert len(model["per_class_accuracy"]) == 10
        assert sum(model["per_class_accuracy"].values()) / 10 == pytest.approx(model["accuracy"])
        stored = sum(path.stat().st_size for path in (folder / role).glob("model*"))
        assert model["bytes"] == stored
        assert model["weights"] == checkpoint.digest(checkpoint.load_config(folder / role))
    test = read_test_set("tests/data")
    logits = {role: evaluation.checkpoint_logits(folder / role, test) for role in ROLES}
    for role in ROLES:
        model, (network, config) = printed["models"][role], checkpoint.load_as(role, folder / role)
        own = evaluation.measure(logits[role], test.labels)
        assert {key: model[key] for key in own} == pytest.approx(own, rel=1e-4)
        assert {"accuracy", "nll", "ece"} <= own.keys()
        assert model["agreement"] == evaluation.agreement(logits[role], logits["teacher"])
        assert model["largest_logit"] == pytest.approx(evaluation.largest_logit(logits[role]), rel=1e-4)
        assert model["parameters"] == models.count_parameters(network)
        assert model["macs"] == models.count_macs(config["architecture"], config["stem"])
    teacher, distilled = (checkpoint.load_config(folder / role) for role in ("teacher", "distilled"))
    assert printed["another_teacher"] != checkpoint.is_taught_by(distilled, teacher)
    warning = printed["out_of_class"]  # from the carried validation images, not from the test images
    assert warning["validation_images"] == 50
    assert 0 < warning["validation_warned"] <= 0.08
    assert set(warning["detected"]) == set(KINDS)
    assert warning["omitted_class"] is None  # no such student lies there


def test_evaluate_prints_one_json_object_and_then_writes_none(checkpoints, data_dir, capsys, monkeypatch):
    monkeypatch.setattr("train.out_of_class.EACH", 4)  # strange images of each kind
    (checkpoints / RESULTS).unlink()
    before = contents(checkpoints)
    evaluate.main(["--checkpoints", str(checkpoints), "--data-dir", str(data_dir), "--json"])
    assert_complete(printed := json.loads(capsys.readouterr().out), checkpoints)
    assert contents(checkpoints) == before and printed["another_teacher"]
    taught = checkpoint.load_config(checkpoints / "distilled") | {
        "teacher": checkpoint.load_config(checkpoints / "teacher")
    }
    write_json(checkpoints / "distilled" / "config.json", taught)
    evaluate.main(["--checkpoints", str(checkpoints), "--data-dir", str(data_dir), "--json"])
    assert json.loads(capsys.readouterr().out)["another_teacher"] is False


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


def test_evaluate_prints_a_table_for_people_and_puts_it_into_a_readme(
    checkpoints, data_dir, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(evaluate, "measure_warning", lambda *_: None)  # no part of the table, and its slowest
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n")
    evaluate.main(["--checkpoints", str(checkpoints), "--data-dir", str(data_dir), "--document", str(readme)])
    text, printed = readme.read_text(), capsys.readouterr().out
    assert printed in text and "old" not in text and text.startswith("before") and text.endswith("after\n")
    results = json.loads((checkpoints / "results.json").read_text())
    for row in results_rows(results)[1]:
        assert "| " + " | ".join(row) + " |" in text
    for earlier in (False, True):
        said = results_section(results | {"another_teacher": earlier})
        assert (ANOTHER_TEACHER in said) == earlier


def test_evaluate_refuses_a_network_in_another_ones_place(checkpoints, data_dir):
    shutil.rmtree(checkpoints / "distilled")
    shutil.copytree(checkpoints / "student", checkpoints / "distilled")
    said = refusal(evaluate.main, "--checkpoints", checkpoints, "--data-dir", data_dir)
    assert f"{checkpoints / 'distilled'} holds a student, not a distilled" in said


def test_evaluate_names_what_is_missing(data_dir, tmp_path):
    said = refusal(evaluate.main, "--checkpoints", tmp_path / "none", "--data-dir", data_dir)
    assert f"{tmp_path / 'none' / 'teacher'} does not exist" in said
