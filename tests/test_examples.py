"""The page's ten examples: chosen by a rule that asks no network, and the ones that ship are those of the rule."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from kd import checkpoint
from kd.cifar10 import CLASSES, read_split, read_test_set
from kd.dataset import EXAMPLES_FOLDER, drawn_order, example_positions
from kd.demo.examples import game_pictures, read_examples
from kd.studies.omitted_class import FOLDER
from tests.browser import EXAMPLES
from tests.pictures import draw_pictures
from tests.serving import ROOT
from train import choose_examples

LABELS = ROOT / "tests" / "data" / "cifar-10-test-labels.npy"


def test_the_command_writes_ten_images_of_the_data_set_with_their_labels(tmp_path, data_dir):
    choose_examples.main(["--data-dir", str(data_dir), "--output-dir", str(tmp_path)])
    test = read_test_set(data_dir)
    content = json.loads((tmp_path / "examples.json").read_text())
    assert "Krizhevsky" in content["source"] and content["licence"]
    for name, example in zip(CLASSES, content["examples"], strict=True):
        assert (example["file"], example["label"]) == (f"{name}.png", name)
        assert CLASSES[test.labels[example["test_index"]]] == name
        written = np.asarray(Image.open(tmp_path / example["file"]))
        assert (written == test.images[example["test_index"]].permute(1, 2, 0).numpy()).all()
    of_the_example = content["examples"][CLASSES.index("frog")]["test_index"]
    in_game = [picture["test_index"] for picture in content["game"]["pictures"]]
    assert [of_the_example, *in_game] == drawn_order(test.labels, CLASSES.index("frog"))[:7].tolist()
    for picture in content["game"]["pictures"]:
        written = np.asarray(Image.open(tmp_path / picture["file"]))
        assert (written == test.images[picture["test_index"]].permute(1, 2, 0).numpy()).all()
    _, validation = read_split(data_dir)
    written = np.asarray(Image.open(tmp_path / content["recorded"]["file"]))
    assert written.shape == (10 * 32, 5 * 32, 3)  # the subset has five of each class to validate on
    for label, place in ((0, 0), (3, 2), (9, 4)):
        image = validation.images[validation.labels == label][place].permute(1, 2, 0).numpy()
        assert (written[32 * label :, 32 * place :][:32, :32] == image).all()


def test_missing_data_end_the_command_with_the_way_out(tmp_path):
    try:
        (tmp_path / "cifar-10-batches-py").mkdir()
        choose_examples.main(["--data-dir", str(tmp_path), "--output-dir", str(tmp_path / "out")])
    except SystemExit as end:
        assert "train.choose_examples" in str(end) and str(tmp_path) in str(end)
    else:
        raise AssertionError("it went on without data")
    assert not (tmp_path / "out").exists()


def test_two_places_for_the_images_are_one_too_many(tmp_path, capsys):
    with pytest.raises(SystemExit):
        choose_examples.main(["--checkpoints", str(tmp_path), "--output-dir", str(tmp_path / "out")])
    assert "leave one of them out" in capsys.readouterr().err


def test_examples_of_other_data_want_the_networks_that_they_are_for(tmp_path, capsys):
    pictures = draw_pictures(tmp_path / "pictures", {"train": 12})
    with pytest.raises(SystemExit):
        choose_examples.main(["--data-dir", str(pictures), "--output-dir", str(tmp_path / "out")])
    assert "name the networks that these data are for with --checkpoints" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_example_is_the_first_of_its_class_in_an_order_that_labels_alone_cannot_change():
    labels = torch.arange(10).repeat(1000)
    first = example_positions(labels)
    assert labels[first].tolist() == list(range(10))
    # Another class's labels may change: this class keeps its example.
    others = labels.clone()
    others[labels == 3] = 4
    others[first[3]] = 3
    assert example_positions(others)[5].item() == first[5].item()


def test_the_shipped_examples_are_those_of_the_rule_for_the_whole_test_set():
    content = json.loads((EXAMPLES / "examples.json").read_text())
    assert content["data"]["images"] == 10_000
    assert content["chosen"] == choose_examples.SOURCE["chosen"]
    labels = torch.from_numpy(np.load(LABELS)).long()  # of CIFAR-10's test images, in its order
    assert [example["test_index"] for example in content["examples"]] == example_positions(labels).tolist()
    for name, example in zip(CLASSES, content["examples"], strict=True):
        assert example["label"] == name
        assert np.asarray(Image.open(EXAMPLES / example["file"])).shape == (32, 32, 3)
    game = content["game"]
    in_order = drawn_order(labels, CLASSES.index(game["label"]))[1 : 1 + choose_examples.IN_GAME]
    assert [picture["test_index"] for picture in game["pictures"]] == in_order.tolist()


def test_the_games_pictures_are_six_of_the_shipped_students_omitted_class():
    name = checkpoint.load_config(ROOT / "checkpoints" / FOLDER)["data"]["omitted_class"]
    chosen, pictures = game_pictures(name, ROOT / "checkpoints")
    assert chosen == choose_examples.GAME_CHOSEN
    assert len(pictures) == choose_examples.IN_GAME == 6
    assert all(np.asarray(picture).shape == (32, 32, 3) for picture in pictures)
    with pytest.raises(checkpoint.CheckpointError, match="python -m train.choose_examples --checkpoints .*checkpoints"):
        game_pictures("truck", ROOT / "checkpoints")


def write_examples(checkpoints, listed):
    (checkpoints / EXAMPLES_FOLDER).mkdir()
    (checkpoints / EXAMPLES_FOLDER / "examples.json").write_text(listed)


def test_examples_without_a_game_say_how_to_choose_its_pictures(tmp_path):
    write_examples(tmp_path, '{"examples": []}')
    with pytest.raises(checkpoint.CheckpointError, match="the game's pictures are of the class none.*--checkpoints"):
        game_pictures("frog", tmp_path)


@pytest.mark.parametrize(
    "game",
    ["7", '["frog"]', '{"label": "frog"}', '{"label": "frog", "chosen": "", "pictures": [{"file": "gone.png"}]}'],
)
def test_a_damaged_list_of_the_games_pictures_is_named_with_the_way_out(tmp_path, game):
    write_examples(tmp_path, f'{{"examples": [], "game": {game}}}')
    with pytest.raises(checkpoint.CheckpointError, match="the game's pictures in .* cannot be used.*--checkpoints"):
        game_pictures("frog", tmp_path)


def test_an_example_that_is_gone_is_named_with_the_way_out(tmp_path):
    (tmp_path / EXAMPLES_FOLDER).mkdir()
    (tmp_path / EXAMPLES_FOLDER / "examples.json").write_text('{"examples": [{"label": "cat", "file": "gone.png"}]}')
    with pytest.raises(checkpoint.CheckpointError, match="cannot be read .*gone.png.*train.choose_examples"):
        read_examples(tmp_path, CLASSES)
