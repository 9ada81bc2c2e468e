"""The warning outside the classes: strange images, what the scores are made of, and what is counted."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from kd.cifar10 import NORMALISATIONS
from kd.demo.page import show
from kd.evaluation import predict
from kd.models import build
from kd.out_of_class import (
    Responses,
    Warner,
    class_means,
    compared,
    distance,
    fit_distance,
    largest_cosine,
    responses,
)
from kd.results import warning_rates
from kd.strange_images import DEVELOPMENT_SEED, KINDS, TEST_SEED, strange_images


def labels_of(count):
    return torch.arange(count) % 10


def looked(count, mean=0.0, seed=0):
    """Responses as of images of `labels_of`: noisy logits, contrasts of two correlated filters around a mean."""
    random = torch.Generator().manual_seed(seed)
    contrasts = torch.randn(count, 2, generator=random) @ torch.tensor([[1.0, 0.9], [0.0, 0.3]]) + mean
    logits = 3 * torch.randn(count, 10, generator=random) + 6 * F.one_hot(labels_of(count), 10)
    return Responses(logits, torch.rand(count, 5, generator=random), contrasts)


# The images


def test_strange_images_are_drawn_from_their_seed_and_differ_between_seeds():
    first, again, other = (strange_images(seed, 2) for seed in (DEVELOPMENT_SEED, DEVELOPMENT_SEED, TEST_SEED))
    assert list(first) == list(KINDS)
    for kind in KINDS:
        assert first[kind].shape == (2, 3, 32, 32) and first[kind].dtype == torch.uint8
        assert torch.equal(first[kind], again[kind])
        assert not torch.equal(first[kind], other[kind]) and not torch.equal(first[kind][0], first[kind][1])


def test_a_kind_is_what_its_name_says():
    images = {kind: drawn.numpy().astype(int) for kind, drawn in strange_images(7, 8).items()}
    assert all(np.ptp(image, axis=(1, 2)).max() == 0 for image in images["flat colours"])
    steps = {kind: np.abs(np.diff(drawn, axis=3)).max() for kind, drawn in images.items()}
    assert steps["gradients"] < 30 < steps["cells"]
    neighbours = {kind: np.abs(np.diff(drawn, axis=3)).mean() for kind, drawn in images.items()}
    assert max(neighbours, key=neighbours.get) in ("noise", "checkers", "stripes")
    assert neighbours["clouds"] < neighbours["cells"]


# The scores


@pytest.mark.parametrize("architecture", ["resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_responses_have_the_networks_own_logits(architecture, stem):
    torch.manual_seed(0)
    network = build(architecture, stem).eval()
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    found = responses(network, images, NORMALISATIONS["cifar10"], batch_size=2)
    expected = predict(network, images, NORMALISATIONS["cifar10"])
    torch.testing.assert_close(found.logits, expected, rtol=1e-4, atol=1e-5)
    last = network.fc if architecture == "resnet50" else network.classifier[-1]
    with torch.inference_mode():
        torch.testing.assert_close(last(found.features), expected, rtol=1e-4, atol=1e-5)
    assert found.contrasts.shape == (5, 64 if architecture == "resnet50" else 32)


def test_a_flat_image_has_the_least_contrast():
    network = build("mobilenet_v2", "imagenet").eval()
    flat = torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)
    noise = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = responses(network, torch.cat([flat, noise]), NORMALISATIONS["cifar10"])
    assert (found.contrasts[0] < found.contrasts[1]).all()


def test_the_distance_is_mahalanobis_and_counts_the_standard_deviations_along_any_direction():
    values = looked(20_000).contrasts
    centre, precision = fit_distance(values)
    covariance = np.cov(values.double().numpy().T)
    apart = values[:50].double().numpy() - values.double().numpy().mean(axis=0)
    expected = [row @ np.linalg.inv(covariance) @ row for row in apart]
    assert distance(values[:50], centre, precision).tolist() == pytest.approx(expected, rel=0.02)
    assert distance(values, centre, precision).mean().item() == pytest.approx(2, rel=0.02)


def test_what_all_images_have_alike_can_still_be_inverted():
    values = torch.cat([looked(100).contrasts, looked(100).contrasts], dim=1)
    centre, precision = fit_distance(values)
    assert torch.isfinite(precision).all() and torch.isfinite(distance(values, centre, precision)).all()


def test_the_cosine_is_with_the_nearest_class_and_knows_no_length():
    validation, labels = looked(4000), labels_of(4000)
    means = class_means(validation.logits, labels)
    assert means.norm(dim=1).tolist() == pytest.approx([1] * 10)
    own = validation.logits[labels == 3].double().mean(dim=0)
    assert largest_cosine(own[None], means).item() == pytest.approx(1)
    assert largest_cosine(100 * own[None], means).item() == pytest.approx(1)
    assert largest_cosine(-own[None], means).item() < 0.5
    assert largest_cosine(torch.zeros(1, 10), means).item() == 0


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_each_score_warns_of_half_of_the_share_of_validation_images(share):
    validation = looked(4000)
    warner = Warner.fit(validation, labels_of(4000), share)
    no_class, far = validation._replace(logits=-torch.ones(4000, 10)), looked(100, mean=9.0)
    assert warner.share(no_class) == 1 and warner.share(far) == 1
    normal = validation._replace(contrasts=warner.centre.expand(4000, 2).float())
    assert warner.share(normal) == pytest.approx(share / 2, abs=5e-4)
    typical = validation._replace(logits=warner.means[labels_of(4000)].float())
    assert warner.share(typical) == pytest.approx(share / 2, abs=5e-4)
    assert share / 2 < warner.share(validation) <= share


def test_a_warner_comes_back_from_its_json_and_warns_of_the_same():
    warner, images = Warner.fit(looked(500), labels_of(500)), looked(500, mean=1.0, seed=1)
    again = Warner.from_json(warner.to_json())
    assert torch.equal(again.warns(images.logits, images.contrasts), warner.warns(images.logits, images.contrasts))


def test_without_a_class_its_logit_counts_for_nothing():
    images = looked(50)
    only = images._replace(logits=images.logits.index_fill(1, torch.tensor([6]), 100.0))
    assert only.without(6).logits.shape == (50, 9)
    assert torch.equal(only.without(6).logits, images.without(6).logits)


def test_scores_are_compared_at_the_same_share_of_false_alarms():
    validation, labels = looked(2000), labels_of(2000)
    photos, far = {"photos": looked(2000, seed=3)}, {"far": looked(100, mean=9.0)}
    found = compared(validation, labels, far | photos, photos)
    assert all(rate["corrupted"] == pytest.approx(0.05, abs=0.025) for rate in found.values())
    assert found["first layer"]["detected"] == pytest.approx(0.525, abs=0.02)
    assert found["energy"]["detected"] < 0.2 < found["energy or first layer"]["detected"]
    no_class = {"none": validation._replace(logits=-torch.ones(2000, 10))}
    found = compared(validation, labels, no_class, photos)
    assert found["cosine of logits"]["detected"] == found["cosine of logits or first layer"]["detected"] == 1
    assert found["cosine of features"]["detected"] < 0.1


def test_the_sentence_names_the_rates_and_the_omitted_class():
    measured = {"false_alarms": 0.051, "omitted_class": {"class": "frog", "detected": 0.2}}
    measured |= {"detected": {"noise": 0.66, "text": 0.97}, "false_alarms_corrupted": {"blur": 0.41, "jpeg": 0.09}}
    said = warning_rates(measured)
    assert "5% of test images" in said and "66–97% of noise" in said
    assert "would warn of 20% of that class's test images" in said
    assert "up to 41% of validation images made blurred" in said
    assert "frog" not in warning_rates(measured | {"omitted_class": None})


def test_the_margins_around_a_whole_photo_are_not_judged(trio, monkeypatch):
    judged = []
    monkeypatch.setattr(trio, "fits_no_class", lambda logits, image: judged.append(image))
    photo = Image.new("RGB", (640, 320), "red")
    show(trio, photo, None)
    show(trio, photo)
    assert [image.getcolors() for image in judged] == [[(32 * 32, (255, 0, 0))]] * 2


def test_no_example_is_warned_of_whatever_the_warner_says(trio, monkeypatch):
    monkeypatch.setattr(trio, "fits_no_class", lambda *_: True)
    photo = Image.new("RGB", (32, 32), "red")
    assert show(trio, photo)["warning"] and show(trio, photo, example="cat")["warning"] is None
