"""What a run says is left of it: by the epochs, and by what they cost."""

import pytest

from kd.recipe import Recipe
from kd.training import FULL_SIZE_COST, Progress, cost_left, duration, epoch_cost

RECIPE = Recipe(epochs=10, batch_size=50, early_downsampling=0.6)


def test_what_is_left_counts_full_size_epochs_by_their_cost():
    assert cost_left(RECIPE, 0) == 6 + FULL_SIZE_COST * 4
    assert cost_left(RECIPE, 5.5) == 0.5 + FULL_SIZE_COST * 4
    assert cost_left(RECIPE, 6) == FULL_SIZE_COST * 4
    assert cost_left(RECIPE, 9.5) == FULL_SIZE_COST * 0.5 and cost_left(RECIPE, 10) == 0
    assert cost_left(RECIPE.changed(early_downsampling=0.0), 2.5) == FULL_SIZE_COST * 7.5
    assert [epoch_cost(RECIPE, epoch) for epoch in (0, 5, 6, 9)] == [1, 1, FULL_SIZE_COST, FULL_SIZE_COST]


@pytest.mark.parametrize(
    ("epochs_done", "said"),
    # After epoch 1 five more of 100 s and four of 300 s; after the last early one four of 300 s; then of what it took.
    [(0, "0:28:20 to go"), (5, "0:20:00 to go"), (8, "0:01:40 to go"), (9, "nothing to go")],
)
def test_line_of_an_epoch_tells_the_time_left_for_the_whole_run(capsys, epochs_done, said):
    history = [{"validation_accuracy": 0.5}] * epochs_done
    measured = {"loss": 1.0, "accuracy": 0.5, "validation_accuracy": 0.71, "images_per_second": 40.0, "seconds": 100}
    Progress(RECIPE, history, 500, hidden=False).close(measured)
    line = capsys.readouterr().out
    assert line.startswith(f"epoch {epochs_done + 1}/10: ") and line.strip().endswith(said)
    assert "validation accuracy 71.00%" in line and "40 images/s" in line


def test_processes_beside_the_first_say_nothing(capsys):
    measured = {"loss": 1.0, "accuracy": 0.5, "validation_accuracy": 0.7, "images_per_second": 4.0, "seconds": 1}
    Progress(RECIPE, [], 500, hidden=True).close(measured)
    assert capsys.readouterr() == ("", "")


def test_hours_are_told_as_people_read_them():
    assert duration(3 * 3600 + 7 * 60 + 0.4) == "3:07:00"
