"""`python -m train.halve`."""

import pytest
import torch

from kd import checkpoint, models
from kd.recording import RECORDING
from tests.commands import refusal
from tests.configs import made_config
from train import halve


def test_halve_stores_half_the_bytes_and_says_what_it_compared(tmp_path, data_dir, capsys, monkeypatch):
    full, half = tmp_path / "full", tmp_path / "half"
    torch.manual_seed(0)
    checkpoint.save(models.build("convnet-32", "imagenet"), made_config(architecture="convnet-32"), full)
    half.mkdir()
    for name in (checkpoint.HISTORY, RECORDING):
        (half / name).write_text("of another network")
    looked, logits_of = [], halve.evaluation.checkpoint_logits

    def look(folder, images):
        looked.append((checkpoint.weight_bytes(checkpoint.load_config(folder)), len(images)))
        return logits_of(folder, images)

    monkeypatch.setattr(halve.evaluation, "checkpoint_logits", look)
    halve.main([str(full), str(half), "--data-dir", str(data_dir)])
    (bytes_of_full, _), (bytes_of_half, _) = looked
    assert bytes_of_half < 0.55 * bytes_of_full and [images for _, images in looked] == [50, 50]  # of validation
    assert not (half / checkpoint.HISTORY).exists() and not (half / RECORDING).exists()
    assert "float16; validation accuracy" in capsys.readouterr().out
    stored = checkpoint.load_config(half)
    assert stored["stored_in"]["weights"] == "float16"
    assert stored["stored_in"]["validation_accuracy_float16"] == stored["stored_in"]["validation_accuracy_float32"]
    assert checkpoint.weight_bytes(stored) < 0.55 * checkpoint.weight_bytes(checkpoint.load_config(full))
    assert refusal(halve.main, half, half) == 2
    taught, others = checkpoint.load_config(full), made_config(weights={})
    for teacher in (taught, stored):
        assert checkpoint.is_taught_by({"teacher": taught}, teacher)
        assert not checkpoint.is_taught_by({"teacher": others}, teacher)
        assert not checkpoint.is_taught_by({"teacher": None}, teacher)


def test_neither_a_run_nor_what_was_made_of_another_role_is_replaced(tmp_path, data_dir):
    teacher, student, half = (tmp_path / name for name in ("teacher", "student", "half"))
    for folder in (teacher, student):
        config = made_config(folder.name, architecture="convnet-4")
        checkpoint.save(models.build("convnet-4", "imagenet"), config, folder)
    for _ in range(2):  # again, as when it was trained further
        halve.main([str(student), str(half), "--data-dir", str(data_dir)])
    for source, target in ((teacher, half), (half, student)):
        said = refusal(halve.main, source, target, "--data-dir", data_dir)
        assert f"{target} holds a student that would be lost: name another target, or delete {target} first" in said
    assert checkpoint.load_config(half)["role"] == "student" and "stored_in" not in checkpoint.load_config(student)


@pytest.mark.parametrize(
    ("in_float32", "in_float16", "kept"),
    [(0.8812, 0.88, "float32"), (0.9354, 0.9344, "float16"), (0.9344, 0.9354, "float16"), (0.88, 0.8812, "float32")],
)
def test_float16_is_taken_where_accuracy_moves_by_no_more_than_a_tenth_of_a_point(
    tmp_path, data_dir, monkeypatch, in_float32, in_float16, kept
):
    accuracies = iter([in_float32, in_float16])
    monkeypatch.setattr(halve.evaluation, "accuracy", lambda *_: next(accuracies))
    checkpoint.save(models.build("convnet-4", "imagenet"), made_config(architecture="convnet-4"), tmp_path / "full")
    assert halve.halve(tmp_path / "full", tmp_path / "half", data_dir)["weights"] == kept
    full, half = (checkpoint.load_config(tmp_path / name) for name in ("full", "half"))
    assert (checkpoint.weight_bytes(half) < checkpoint.weight_bytes(full)) == (kept == "float16")


def test_the_checkpoint_comes_last_so_that_where_it_is_all_is_there(tmp_path, data_dir, monkeypatch):
    full, half = tmp_path / "full", tmp_path / "half"
    checkpoint.save(models.build("convnet-4", "imagenet"), made_config(architecture="convnet-4"), full)
    (full / RECORDING).write_bytes(b"moments")
    save = checkpoint.save

    def cut_off(network, config, folder, **options):
        if folder == half:
            assert (half / RECORDING).read_bytes() == b"moments"
            raise KeyboardInterrupt
        save(network, config, folder, **options)

    monkeypatch.setattr(checkpoint, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        halve.halve(full, half, data_dir)
