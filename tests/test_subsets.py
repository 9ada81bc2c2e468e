"""What is kept from a network: labels, or a class; nested, balanced, seeded, and kept up to the optimiser."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import train.run
from kd.cifar10 import CLASSES, NORMALISATIONS
from kd.dataset import COPY, normalise
from kd.losses import UNLABELLED, distillation_loss, hard_loss
from kd.recipe import Recipe
from kd.subsets import keep_labels, labelled_positions, omit_class
from kd.teacher import FrozenTeacher
from kd.training import TrainingError
from kd.training import train as train_network

LABELS = torch.from_numpy(np.random.default_rng(3).permutation(np.arange(45_000) % 10))
# Changing these would make earlier results another study's.
FIRST_OF_ONE_PERCENT = [84, 197, 236, 447, 509, 518, 693, 810]
# Without augmentation an image reaches the network as it stands in the set.
PLAIN = Recipe(epochs=2, batch_size=50, learning_rate=0.1, crop_padding=0, flip=0.0)


class Recorder(nn.Module):
    """A linear network that remembers every image and counts it, when it is trained."""

    def __init__(self):
        super().__init__()
        self.layer, self.shown = nn.Linear(3072, 10), []

    def forward(self, images):
        if self.training:
            self.shown.extend(image.numpy().tobytes() for image in images.detach().contiguous())
        return self.layer(images.flatten(1))


def bytes_of(images):
    """Each image as the network is given it."""
    inputs = normalise(images.images.float() / 255, NORMALISATIONS[PLAIN.normalisation])
    return [image.numpy().tobytes() for image in inputs.contiguous(memory_format=torch.channels_last)]


# Which images


@pytest.mark.parametrize("fraction", [0.01, 0.04, 0.1, 0.25, 1.0])
def test_share_is_balanced_and_has_its_size(fraction):
    chosen = labelled_positions(LABELS, fraction)
    assert LABELS[chosen].bincount().tolist() == [round(4500 * fraction)] * 10
    assert chosen.unique().tolist() == chosen.tolist()


def test_shares_are_nested_and_never_change():
    shares = [labelled_positions(LABELS, fraction) for fraction in (0.01, 0.04, 0.1, 0.25, 1.0)]
    for smaller, larger in zip(shares, shares[1:], strict=False):
        assert set(smaller.tolist()) < set(larger.tolist())
    # The choice has a seed of its own: no other draw may shift it.
    torch.manual_seed(1)
    np.random.seed(1)
    assert labelled_positions(LABELS, 0.04).tolist() == shares[1].tolist()
    assert shares[0][:8].tolist() == FIRST_OF_ONE_PERCENT


def test_smallest_share_still_has_an_image_of_each_class():
    assert LABELS[labelled_positions(LABELS, 1e-9)].bincount().tolist() == [1] * 10


def test_dropping_repeats_what_is_left_so_that_an_epoch_keeps_its_length(subset):
    training = subset[0]
    few = keep_labels(training, 0.2)
    assert len(few) == len(training)
    known = labelled_positions(training.labels, 0.2)
    distinct, counts = torch.unique(few.images.flatten(1), dim=0, return_counts=True)
    assert len(distinct) == len(known) and counts.tolist() == [5] * len(known)


@pytest.mark.parametrize("fraction", [0.3, 0.45, 0.7])
def test_an_epoch_keeps_its_length_at_any_share_and_no_copy_has_the_view_of_another(subset, fraction):
    training = subset[0]
    few = keep_labels(training, fraction)
    known = labelled_positions(training.labels, fraction)
    assert len(few) == len(training) == len(few.index.unique())
    assert set((few.index % COPY).tolist()) == set(training.index[known].tolist())


def test_keeping_leaves_every_image_in_its_place_and_hides_the_other_labels(subset):
    training = subset[0]
    kept = keep_labels(training, 0.2, keep_unlabelled=True)
    known = labelled_positions(training.labels, 0.2)
    assert torch.equal(kept.images, training.images)
    assert torch.equal(kept.labels[known], training.labels[known])
    assert (kept.labels == UNLABELLED).sum() == len(training) - len(known)
    assert (training.labels != UNLABELLED).all()  # the set itself is not touched


def test_omitted_class_is_gone_and_all_else_is_there(subset):
    rest = omit_class(subset[0], "frog")
    frog = CLASSES.index("frog")
    assert rest.labels.bincount(minlength=10).tolist() == [0 if label == frog else 45 for label in range(10)]
    assert torch.equal(rest.images, subset[0].images[subset[0].labels != frog])


# What reaches the optimiser


@pytest.mark.parametrize("distilled", [False, True])
def test_no_image_of_the_omitted_class_reaches_the_network_in_training(subset, tmp_path, make_teacher, distilled):
    network = Recorder()
    teacher = make_teacher() if distilled else None
    train_network(network, omit_class(subset[0], "cat"), omit_class(subset[1], "cat"), PLAIN, tmp_path, teacher=teacher)
    of_class = set(bytes_of(subset[0][torch.nonzero(subset[0].labels == CLASSES.index("cat"))[:, 0]]))
    assert len(network.shown) == 2 * 400 and len(of_class) == 45
    assert not of_class & set(network.shown)
    assert set(network.shown) <= set(bytes_of(subset[0]))  # so the comparison can find an image


def test_only_images_whose_labels_are_known_reach_a_network_that_is_to_have_no_others(subset, tmp_path):
    network = Recorder()
    train_network(network, keep_labels(subset[0], 0.2), subset[1], PLAIN, tmp_path)
    assert set(network.shown) == set(bytes_of(subset[0][labelled_positions(subset[0].labels, 0.2)]))
    assert len(network.shown) == 2 * 450


@pytest.fixture
def make_teacher(make_network):
    return lambda: FrozenTeacher(make_network(seed=1))


# The loss


def test_hard_loss_is_the_mean_over_the_images_that_have_a_label():
    logits, labels = torch.randn(6, 10), torch.tensor([1, UNLABELLED, 3, UNLABELLED, UNLABELLED, 0])
    known = labels != UNLABELLED
    torch.testing.assert_close(hard_loss(logits, labels), nn.functional.cross_entropy(logits[known], labels[known]))
    assert hard_loss(logits, torch.full((6,), UNLABELLED)) == 0


def test_soft_term_takes_all_images_whether_labelled_or_not():
    logits, teacher = torch.randn(6, 10), torch.randn(6, 10)
    labelled = distillation_loss(logits, teacher, torch.arange(6))
    without = distillation_loss(logits, teacher, torch.full((6,), UNLABELLED))
    assert without.soft == labelled.soft
    assert without.total == pytest.approx(0.9 * labelled.soft.item())


# The commands


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--keep-unlabelled"], "--keep-unlabelled needs a --label-fraction under 1"),
        (["--keep-unlabelled", "--label-fraction", "0.1", "--loss", "dkd"], "asks for every image's label"),
    ],
)
def test_options_that_contradict_each_other_are_refused(data_dir, tmp_path, monkeypatch, arguments, sentence):
    for reading in ("read_teacher", "check_fits", "together"):  # the teacher, of which there is none
        monkeypatch.setattr(train.run, reading, lambda *_: SimpleNamespace(config=None))
    fixed = ["--teacher", "nowhere", "--data-dir", str(data_dir), "--output-dir", str(tmp_path), "--device", "cpu"]
    with pytest.raises(SystemExit, match=sentence):
        train.run.main("distilled", [*fixed, *arguments])


@pytest.mark.parametrize("fraction", ["0", "1.5", "nan", "-1", "some"])
def test_share_that_is_none_is_refused(fraction, capsys):
    with pytest.raises(SystemExit):
        train.run.main("student", ["--label-fraction", fraction])
    assert "--label-fraction" in capsys.readouterr().err


def withheld(images, *arguments, role="distilled"):
    """What `withhold` makes of training and validation images with these options: both, and what config.json says."""
    options = train.run.make_parser(role).parse_args([*(["--teacher", "x"] * (role == "distilled")), *arguments])
    return train.run.withhold(*images, options, Recipe())


def test_the_options_keep_from_a_network_what_they_name(subset):
    known = labelled_positions(subset[0].labels, 0.2)
    kept, _, _ = withheld(subset, "--label-fraction", "0.2", "--keep-unlabelled")
    assert torch.nonzero(kept.labels != UNLABELLED)[:, 0].tolist() == known.tolist()
    assert kept.images is subset[0].images
    few, _, _ = withheld(subset, "--label-fraction", "0.2", role="student")
    assert set((few.index % COPY).tolist()) == set(subset[0].index[known].tolist())
    for images in withheld(subset, "--omitted-class", "cat")[:2]:
        assert len(images) and CLASSES.index("cat") not in images.labels


def test_pictures_that_do_not_fit_into_memory_are_not_copied(subset):
    large = [replace(images, block=10) for images in subset]
    assert withheld(large, "--label-fraction", "0.2", "--keep-unlabelled")[0].images is large[0].images
    for arguments in (["--omitted-class", "cat"], ["--label-fraction", "0.2"]):
        with pytest.raises(TrainingError, match="too many for the memory .450., where --omitted-class"):
            withheld(large, *arguments)


def test_config_says_what_was_withheld(subset):
    def said(*arguments, role="distilled"):
        return withheld(subset, *arguments, role=role)[2]

    assert said() == {"trained_on": 450, "validated_on": 50}
    assert said("--omitted-class", "cat") == {"omitted_class": "cat", "trained_on": 405, "validated_on": 45}
    few = {"labels": 90, "label_fraction": 0.2, "validated_on": 50}
    assert said("--label-fraction", "0.2", role="student") == few | {"trained_on": 90}
    assert said("--label-fraction", "0.2", "--keep-unlabelled") == few | {"trained_on": 450}
