"""The recording of a training: the right moments, logits that give probabilities back, a resume that goes on."""

import pytest
import torch
from torch import nn

import train.record
from kd import checkpoint, models
from kd.cifar10 import NORMALISATIONS, read_test_set
from kd.dataset import LabelledImages, example_positions
from kd.evaluation import accuracy, predict
from kd.recipe import Recipe
from kd.recording import FIRST_EPOCH_MOMENTS, RECORDING, Recorder, read_recording, recorded_images
from kd.training import train as train_network
from tests.configs import made_config
from train.halve import halve

RECIPE = Recipe(epochs=3, batch_size=25, learning_rate=0.1)


@pytest.fixture
def finished(make_network, tmp_path, monkeypatch):
    """Makes checkpoints of the small network that were trained without a recording."""
    monkeypatch.setattr(models, "build", lambda *_: make_network())
    config = made_config("student", "strong", RECIPE, epochs_done=7)

    def make(name, seed=0):
        checkpoint.save(make_network(seed), config, tmp_path / name)
        return tmp_path / name

    return make


def recorder(subset, folder):
    return Recorder(subset[1].images, NORMALISATIONS[RECIPE.normalisation], folder)


def test_moments_lie_close_in_the_first_epoch_and_then_at_the_end_of_each(subset, make_network, tmp_path):
    history = train_network(make_network(), *subset, RECIPE, tmp_path, recorder=recorder(subset, tmp_path))
    found = read_recording(tmp_path / RECORDING)
    steps = [int(share * 18) for share in FIRST_EPOCH_MOMENTS]
    torch.testing.assert_close(found["epoch"], torch.tensor([step / 18 for step in steps] + [1, 2, 3]))
    assert found["accuracy"][:5].isnan().all()
    torch.testing.assert_close(found["accuracy"][5:], torch.tensor([e["validation_accuracy"] for e in history]))


def test_stored_logits_give_the_probabilities_back(subset, make_network, tmp_path):
    network = make_network()
    train_network(network, *subset, RECIPE, tmp_path, recorder=recorder(subset, tmp_path))
    found = read_recording(tmp_path / RECORDING)
    stored = found["logits"][-1] * found["scale"][-1]
    own = predict(network, subset[1].images, recorder(subset, tmp_path).normalisation)
    assert (stored - (own - own.mean(dim=1, keepdim=True))).abs().max() <= 0.51 * found["scale"][-1]
    torch.testing.assert_close(stored.softmax(dim=1), own.softmax(dim=1), atol=0.02, rtol=0)


def test_interrupted_run_ends_with_the_recording_of_an_uninterrupted_one(subset, make_network, tmp_path):
    whole, cut_off = tmp_path / "whole", tmp_path / "cut off"
    train_network(make_network(), *subset, RECIPE, whole, recorder=recorder(subset, whole))

    def interrupt(network, history):
        if len(history) == 2:
            raise KeyboardInterrupt

    try:
        train_network(make_network(), *subset, RECIPE, cut_off, recorder=recorder(subset, cut_off), export=interrupt)
    except KeyboardInterrupt:
        pass
    train_network(make_network(seed=9), *subset, RECIPE, cut_off, recorder=recorder(subset, cut_off))
    first, second = (read_recording(folder / RECORDING) for folder in (whole, cut_off))
    for name in first:
        assert torch.equal(first[name].nan_to_num(), second[name].nan_to_num()), name


def test_recording_changes_nothing_in_what_is_learnt(subset, make_network, tmp_path):
    plain, recorded = make_network(), make_network()
    train_network(plain, *subset, RECIPE, tmp_path / "plain")
    train_network(recorded, *subset, RECIPE, tmp_path / "run", recorder=recorder(subset, tmp_path / "run"))
    assert all(torch.equal(one, recorded.state_dict()[name]) for name, one in plain.state_dict().items())


def test_images_are_the_ten_examples_and_fifty_of_each_class():
    labels = torch.arange(10).repeat(80)
    everything = LabelledImages(torch.arange(800).view(-1, 1, 1, 1).expand(-1, 3, 2, 2), labels, {})
    examples = everything[example_positions(labels)]
    assert examples.labels.tolist() == list(range(10))
    images = recorded_images(examples, everything)[:, 0, 0, 0]
    assert torch.equal(images[:10], examples.index)
    assert torch.equal(labels[images[10:]], torch.arange(10).repeat_interleave(50))


def test_recording_of_a_whole_run_is_small(tmp_path, make_network):
    images = torch.randint(0, 256, (510, 3, 32, 32), dtype=torch.uint8)
    own = Recorder(images, NORMALISATIONS[RECIPE.normalisation], tmp_path)
    own.begin(make_network(), 0, "float32")
    for epoch in [*FIRST_EPOCH_MOMENTS, *range(1, 25)]:
        own.record(epoch)
    assert (tmp_path / RECORDING).stat().st_size < 160_000  # two students and a teacher: under 400 kB


def test_damaged_recording_is_as_good_as_none(tmp_path):
    (tmp_path / RECORDING).write_bytes(b"no recording")
    assert read_recording(tmp_path / RECORDING) is None and read_recording(tmp_path / "missing") is None


def test_finished_network_is_recorded_as_it_is_in_one_moment_and_stays_the_checkpoint_it_was(
    finished, subset, data_dir, capsys
):
    folder = finished("student")
    train.record.main([str(folder), "--data-dir", str(data_dir)])
    network, config = checkpoint.load(folder)
    found, test = read_recording(folder / RECORDING), read_test_set(data_dir)
    normalisation = checkpoint.normalisation_of(config)
    images = recorded_images(test[example_positions(test.labels)], subset[1])
    own = predict(network, images, normalisation)
    stored = found["logits"] * found["scale"].view(-1, 1, 1)
    torch.testing.assert_close(stored, own[None] - own.mean(dim=1, keepdim=True), atol=found["scale"].item(), rtol=0)
    assert found["epoch"].tolist() == [7]
    expected = accuracy(predict(network, subset[1].images, normalisation), subset[1].labels)
    assert found["accuracy"].item() == pytest.approx(expected)
    assert f"{expected:.2%}" in capsys.readouterr().out


def test_recording_of_a_training_is_not_replaced_by_a_moment_but_a_moment_is(finished, data_dir):
    folder = finished("student")
    command = [str(folder), "--data-dir", str(data_dir)]
    train.record.main(command)
    checkpoint.save(models.build("", ""), checkpoint.load_config(folder) | {"epochs_done": 9}, folder)
    train.record.main(command)
    assert read_recording(folder / RECORDING)["epoch"].tolist() == [9]
    count = read_recording(folder / RECORDING)["logits"].shape[1]
    own = Recorder(torch.zeros(count, 3, 32, 32, dtype=torch.uint8), NORMALISATIONS["cifar10"], folder)
    own.begin(checkpoint.load(folder)[0], 0, "float32")
    for epoch in (0, 1):
        own.record(epoch)
    train.record.main(command)  # the rest was trained without
    found = read_recording(folder / RECORDING)
    assert found["epoch"].tolist() == [0, 1, 9] and not torch.equal(found["logits"][1], found["logits"][2])
    before = (folder / RECORDING).read_bytes()
    with pytest.raises(SystemExit, match=r"recording.safetensors holds 3 moments .* delete it first"):
        train.record.main(command)
    assert (folder / RECORDING).read_bytes() == before


def test_a_run_that_goes_on_says_which_epochs_its_recording_lacks(tmp_path, capsys):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    for recorded, epochs_done, said in ((1, 0, False), (2, 1, False), (5, 4, True)):
        recorder = Recorder(images, NORMALISATIONS["cifar10"], tmp_path)
        recorder.begin(network, epochs_done, "float32")
        recorder.record(recorded)
        assert ("lacks the epochs that were trained without --record" in capsys.readouterr().out) == said
    assert read_recording(tmp_path / RECORDING)["epoch"].tolist() == [1, 2, 5]


def test_halving_takes_the_recording_along_and_leaves_no_other_networks(finished, data_dir, tmp_path):
    source, target = finished("source"), tmp_path / "target"
    train.record.main([str(source), "--data-dir", str(data_dir)])
    halve(source, target, data_dir)
    assert (target / RECORDING).read_bytes() == (source / RECORDING).read_bytes()
    checkpoint.load(target)
    halve(finished("unrecorded", seed=1), target, data_dir)
    assert not (target / RECORDING).exists()
