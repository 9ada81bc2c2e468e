"""`python -m train.halve`."""

import torch

from kd import checkpoint, models
from tests.commands import refusal
from tests.conftest import describe
from train import halve


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
