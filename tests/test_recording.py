"""The recording of a training: the right moments, logits that give probabilities back, a resume that goes on."""

import torch

from kd.cifar10 import LabelledImages, example_positions
from kd.evaluation import predict
from kd.recipe import Recipe
from kd.recording import FIRST_EPOCH_MOMENTS, RECORDING, Recorder, read_recording, recorded_images
from kd.training import train

RECIPE = Recipe(epochs=3, batch_size=25, learning_rate=0.1)


def recorder(subset, folder):
    return Recorder(subset[1].images, RECIPE.normalisation, folder)


def test_moments_lie_close_in_the_first_epoch_and_then_at_the_end_of_each(subset, make_network, tmp_path):
    history = train(make_network(), *subset, RECIPE, tmp_path, recorder=recorder(subset, tmp_path))
    found = read_recording(tmp_path / RECORDING)
    steps = [int(share * 18) for share in FIRST_EPOCH_MOMENTS]
    torch.testing.assert_close(found["epoch"], torch.tensor([step / 18 for step in steps] + [1, 2, 3]))
    assert found["accuracy"][:5].isnan().all()
    torch.testing.assert_close(found["accuracy"][5:], torch.tensor([e["validation_accuracy"] for e in history]))


def test_stored_logits_give_the_probabilities_back(subset, make_network, tmp_path):
    network = make_network()
    train(network, *subset, RECIPE, tmp_path, recorder=recorder(subset, tmp_path))
    found = read_recording(tmp_path / RECORDING)
    stored = found["logits"][-1] * found["scale"][-1]
    own = predict(network, subset[1].images, recorder(subset, tmp_path).normalisation)
    assert (stored - (own - own.mean(dim=1, keepdim=True))).abs().max() <= 0.51 * found["scale"][-1]
    torch.testing.assert_close(stored.softmax(dim=1), own.softmax(dim=1), atol=0.02, rtol=0)


def test_interrupted_run_ends_with_the_recording_of_an_uninterrupted_one(subset, make_network, tmp_path):
    whole, cut_off = tmp_path / "whole", tmp_path / "cut off"
    train(make_network(), *subset, RECIPE, whole, recorder=recorder(subset, whole))

    def interrupt(network, history):
        if len(history) == 2:
            raise KeyboardInterrupt

    try:
        train(make_network(), *subset, RECIPE, cut_off, recorder=recorder(subset, cut_off), export=interrupt)
    except KeyboardInterrupt:
        pass
    train(make_network(seed=9), *subset, RECIPE, cut_off, recorder=recorder(subset, cut_off))
    first, second = (read_recording(folder / RECORDING) for folder in (whole, cut_off))
    for name in first:
        assert torch.equal(first[name].nan_to_num(), second[name].nan_to_num()), name


def test_recording_changes_nothing_in_what_is_learnt(subset, make_network, tmp_path):
    plain, recorded = make_network(), make_network()
    train(plain, *subset, RECIPE, tmp_path / "plain")
    train(recorded, *subset, RECIPE, tmp_path / "run", recorder=recorder(subset, tmp_path / "run"))
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
    own = Recorder(images, RECIPE.normalisation, tmp_path)
    own.begin(make_network(), 0, "float32")
    for epoch in [*FIRST_EPOCH_MOMENTS, *range(1, 25)]:
        own.record(epoch)
    assert (tmp_path / RECORDING).stat().st_size < 160_000  # two students and a teacher: under 400 kB


def test_damaged_recording_is_as_good_as_none(tmp_path):
    (tmp_path / RECORDING).write_bytes(b"no recording")
    assert read_recording(tmp_path / RECORDING) is None and read_recording(tmp_path / "missing") is None
