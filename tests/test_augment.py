"""Each batched transform against torchvision's, image by image, with the same parameters."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, functional

from kd.augment import (
    Draw,
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    augment,
    blur,
    crop_and_flip,
    cutout,
    draw,
    resized_crop,
    rotate,
)
from kd.cifar10 import NORMALISATIONS
from kd.dataset import COPY
from kd.recipe import Recipe
from kd.training import batches

SEED_PROJECTS = NORMALISATIONS["seed-project"]
PLAIN = Recipe(crop_padding=0, flip=0, rotation=0, brightness=0, contrast=0, cutout=0)
FULL = Recipe(
    normalisation="seed-project",
    crop_padding=4,
    flip=0.5,
    rotation=15,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    blur=0.5,
    crop_scale=0.5,
    cutout=8,
)


@pytest.fixture(scope="module")
def images(subset):
    """Forty photos, uint8."""
    return subset[0].images[:40]


def draw_many(recipe, seed=0, count=20_000):
    return draw(torch.arange(count), 0, recipe.changed(augmentation_seed=seed))


def one_by_one(transform, images, *parameters):
    """The results of a transform of single images; each parameter has one value an image."""
    each = zip(images, *(parameter.tolist() for parameter in parameters), strict=True)
    return torch.stack([transform(image, *values) for image, *values in each])


# The transforms


def crop_and_flip_one(image, y, x, flip, padding=4):
    window = functional.crop(functional.pad(image, [padding] * 4), y, x, image.shape[1], image.shape[2])
    return functional.hflip(window) if flip else window


def rotate_one(image, angle):
    return functional.rotate(image, angle, InterpolationMode.BILINEAR)


def test_crop_and_flip_equal_torchvisions_exactly(images):
    drawn = draw_many(FULL, count=40)
    ours = crop_and_flip(images, 4, drawn.offset_y, drawn.offset_x, drawn.flip)
    assert torch.equal(ours, one_by_one(crop_and_flip_one, images, drawn.offset_y, drawn.offset_x, drawn.flip))


def test_crop_and_flip_reach_all_corners_of_images_that_are_not_square(images):
    oblong = images[:8, :, :20, :]
    y, x = torch.tensor([0, 0, 8, 8] * 2), torch.tensor([0, 8, 0, 8] * 2)
    flip = torch.tensor([False] * 4 + [True] * 4)
    assert torch.equal(crop_and_flip(oblong, 4, y, x, flip), one_by_one(crop_and_flip_one, oblong, y, x, flip))


@pytest.mark.parametrize("height", [32, 20])
def test_rotation_equals_torchvisions(images, height):
    photos = images[:, :, :height] / 255
    angle = torch.linspace(-180, 180, len(photos))
    torch.testing.assert_close(rotate(photos, angle), one_by_one(rotate_one, photos, angle), rtol=0, atol=1e-5)


def test_positive_angles_turn_counter_clockwise():
    right_edge = torch.zeros(1, 1, 8, 8)
    right_edge[..., -1] = 1
    turned = rotate(right_edge, torch.tensor([90.0]))
    top_edge = torch.zeros(1, 1, 8, 8)
    top_edge[..., 0, :] = 1
    torch.testing.assert_close(turned, top_edge, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(adjust_brightness, functional.adjust_brightness), (adjust_contrast, functional.adjust_contrast)],
)
def test_brightness_and_contrast_equal_torchvisions(images, ours, theirs):
    factor = torch.linspace(0, 2, len(images))  # far enough to be clipped
    photos = images / 255
    torch.testing.assert_close(ours(photos, factor), one_by_one(theirs, photos, factor), rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [1, 7, 8, 32])
def test_cutout_equals_a_loop_over_pixels(side):
    images = torch.randn(30, 3, 32, 32) + 10  # no pixel is 0 before
    centre_y, centre_x = torch.randint(0, 32, (2, 30))
    centre_y[:4], centre_x[:4] = torch.tensor([0, 0, 31, 31]), torch.tensor([0, 31, 0, 31])
    expected = images.clone()
    for number in range(30):
        top, left = centre_y[number].item() - side // 2, centre_x[number].item() - side // 2
        for y in range(top, top + side):
            for x in range(left, left + side):
                if 0 <= y < 32 and 0 <= x < 32:
                    expected[number, :, y, x] = 0
    assert torch.equal(cutout(images, side, centre_y, centre_x), expected)


def test_saturation_as_torchvision(images):
    factor = torch.linspace(0.5, 1.5, 40)
    expected = one_by_one(functional.adjust_saturation, images.float() / 255, factor)
    torch.testing.assert_close(adjust_saturation(images.float() / 255, factor), expected, atol=1e-3, rtol=0)


def test_blur_as_torchvision_and_none_at_0(images):
    sigma, pixels = torch.linspace(0.3, 1, 40), images.float() / 255
    expected = one_by_one(lambda image, width: functional.gaussian_blur(image, [5, 5], [width, width]), pixels, sigma)
    torch.testing.assert_close(blur(pixels, sigma), expected, atol=1e-5, rtol=0)
    assert torch.equal(blur(pixels, torch.zeros(40)), pixels)


@pytest.mark.parametrize(("shift", "top"), [(-1, 0), (0, 8), (1, 16)])
def test_resized_crop_as_torchvisions_of_the_same_window(images, shift, top):
    pixels, half = images.float() / 255, torch.full((40,), 0.5)
    found = resized_crop(pixels, half, torch.full((40,), float(shift)), torch.zeros(40))
    window = functional.resized_crop(pixels, top, 8, 16, 16, [32, 32], InterpolationMode.BILINEAR, antialias=False)
    inner = slice(1, 31)  # at its edge torchvision's window ends, and ours sees the pixels beyond it
    torch.testing.assert_close(found[..., inner, inner], window[..., inner, inner], atol=1e-5, rtol=0)


def test_reflected_padding_as_torchvisions(images):
    offset_y, offset_x = torch.arange(40) % 9, torch.arange(40) % 7
    flip = torch.arange(40) % 2 == 0

    def one(image, y, x, flipped):
        window = functional.crop(functional.pad(image, [4] * 4, padding_mode="reflect"), y, x, 32, 32)
        return functional.hflip(window) if flipped else window

    expected = one_by_one(one, images, offset_y, offset_x, flip)
    assert torch.equal(crop_and_flip(images, 4, offset_y, offset_x, flip, "reflect"), expected)


def test_draw_of_an_image_follows_from_its_index_whatever_stands_beside_it():
    index = torch.tensor([3, COPY + 3, 3, 70, COPY + 70])
    drawn, alone = draw(index, 5, FULL), draw(torch.tensor([70]), 5, FULL)
    for field in fields(Draw):
        values = getattr(drawn, field.name).tolist()
        assert values[0] == values[2] and values[3] == getattr(alone, field.name).item()
    assert drawn.angle[0] != drawn.angle[1]  # a further copy has a view of its own
    assert drawn.angle[0] != draw(index, 6, FULL).angle[0]


def test_augment_chains_the_transforms_like_torchvisions_pipeline(images):
    recipe = FULL.changed(crop_scale=1.0, saturation=0.0, blur=0.0)
    drawn = draw_many(recipe, count=40)

    def pipeline(image, y, x, flip, angle, brightness, contrast, cut_y, cut_x):
        image = rotate_one(crop_and_flip_one(image, y, x, flip) / 255, angle)
        image = functional.adjust_contrast(functional.adjust_brightness(image, brightness), contrast)
        image = functional.normalize(image, *SEED_PROJECTS)
        image[:, max(cut_y - 4, 0) : cut_y + 4, max(cut_x - 4, 0) : cut_x + 4] = 0
        return image

    names = ("offset_y", "offset_x", "flip", "angle", "brightness", "contrast", "cutout_y", "cutout_x")
    parameters = [getattr(drawn, name) for name in names]
    expected = one_by_one(pipeline, images, *parameters)
    torch.testing.assert_close(augment(images, drawn, recipe, SEED_PROJECTS), expected, rtol=0, atol=5e-5)


def test_augment_without_any_strength_only_normalises(images):
    mean, std = (np.array(values).reshape(3, 1, 1) for values in NORMALISATIONS["cifar10"])
    expected = (images.numpy() / 255 - mean) / std
    ours = augment(images, draw_many(PLAIN, count=40), PLAIN, NORMALISATIONS["cifar10"])
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("recipe", [PLAIN, FULL], ids=["plain", "full"])
def test_augmented_images_are_float32_in_channels_last(images, recipe):
    ours = augment(images, draw_many(recipe, count=40), recipe, SEED_PROJECTS)
    assert ours.dtype == torch.float32
    assert ours.shape == images.shape
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_copies_of_one_image_come_out_different(images):
    copies = augment(images[:1].expand(40, -1, -1, -1), draw_many(FULL, count=40), FULL, SEED_PROJECTS)
    assert len(copies.flatten(1).unique(dim=0)) == 40


# The draw


def test_draws_lie_in_the_recipes_ranges_and_fill_them():
    drawn = draw_many(FULL)
    for offset in (drawn.offset_y, drawn.offset_x):
        assert offset.unique().tolist() == list(range(9))
    for centre in (drawn.cutout_y, drawn.cutout_x):
        assert centre.unique().tolist() == list(range(32))
    for values, low, high in [
        (drawn.angle, -15, 15),
        (drawn.brightness, 0.8, 1.2),
        (drawn.contrast, 0.8, 1.2),
        (drawn.saturation, 0.8, 1.2),
        (drawn.scale**2, 0.5, 1),
        (drawn.shift_y, -1, 1),
        (drawn.shift_x, -1, 1),
        (drawn.sigma[drawn.sigma > 0], 0.3, 1),
    ]:
        assert low <= values.min() and values.max() <= high
        margin = 0.01 * (high - low)
        assert values.min() < low + margin and values.max() > high - margin
        # Uniform: the mean of 20,000, or half of them, is the middle, give or take four standard errors.
        assert abs(values.double().mean() - (low + high) / 2) < 4 * values.double().std() / len(values) ** 0.5
    assert abs(drawn.flip.double().mean() - 0.5) < 0.015
    pixels = drawn.offset_y, drawn.offset_x, drawn.cutout_y, drawn.cutout_x
    assert {values.dtype for values in pixels} == {torch.int64}


@pytest.mark.parametrize(("flip", "flipped"), [(0, 0), (1, 20_000)])
def test_flip_probability_0_flips_no_image_and_1_flips_all(flip, flipped):
    assert draw_many(FULL.changed(flip=flip)).flip.sum() == flipped


def test_parameters_are_drawn_independently_of_each_other():
    drawn = draw_many(FULL)
    columns = np.stack([getattr(drawn, field.name).double().numpy() for field in fields(Draw)])
    correlations = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlations).max() < 0.03  # four standard errors of 20,000 pairs


def test_same_seed_draws_the_same_and_another_seed_draws_other_parameters():
    first, again, other = draw_many(FULL), draw_many(FULL), draw_many(FULL, seed=1)
    for field in fields(Draw):
        values = getattr(first, field.name)
        assert torch.equal(values, getattr(again, field.name))
        assert not torch.equal(values, getattr(other, field.name))


@pytest.mark.parametrize(
    ("change", "affected"),
    [
        ({"crop_padding": 2}, ["offset_x", "offset_y"]),
        ({"crop_padding": 0}, ["offset_x", "offset_y"]),
        ({"flip": 0.1}, ["flip"]),
        ({"rotation": 0.0}, ["angle"]),
        ({"rotation": 30.0}, ["angle"]),
        ({"brightness": 0.0}, ["brightness"]),
        ({"contrast": 0.4}, ["contrast"]),
        ({"cutout": 0}, []),
        ({"saturation": 0.0}, ["saturation"]),
        ({"crop_scale": 0.8}, ["scale"]),
        ({"blur": 0.0}, ["sigma"]),
    ],
    ids=str,
)
def test_changing_one_strength_leaves_all_other_draws_alone(change, affected):
    before, after = draw_many(FULL), draw_many(FULL.changed(**change))
    names = {field.name for field in fields(Draw)}
    assert sorted(name for name in names if not torch.equal(getattr(before, name), getattr(after, name))) == affected


def test_rows_of_a_draw_are_those_images_parameters():
    drawn = draw_many(FULL, count=10)
    rows = drawn[torch.tensor([8, 2])]
    for field in fields(Draw):
        values = getattr(drawn, field.name)
        assert getattr(rows, field.name).tolist() == [values[8], values[2]]


# The batches that the training loop makes of them


def test_an_epoch_shows_every_image_at_most_once_and_a_new_epoch_another_order(subset):
    images = subset[0]
    plain = PLAIN.changed(batch_size=64)
    first, again, second, other_seed = (
        torch.cat([labels for _, labels, _ in batches(images, recipe, epoch)])
        for recipe, epoch in ((plain, 0), (plain, 0), (plain, 1), (plain.changed(seed=1), 0))
    )
    assert len(first) == 448  # seven whole batches of 450 images
    assert torch.equal(first, again) and not torch.equal(first, second) and not torch.equal(first, other_seed)
    shown = torch.cat([batch for batch, _, _ in batches(images, plain, 0)]).flatten(1)
    assert len(shown.unique(dim=0)) == 448


def test_labels_stay_with_their_images(subset):
    by_pixels = {
        image.numpy().tobytes(): label for image, label in zip(subset[0].images, subset[0].labels, strict=True)
    }
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in NORMALISATIONS["cifar10"])
    for shown, labels, index in batches(subset[0], PLAIN.changed(batch_size=64), 0):
        pixels = ((shown * std + mean) * 255).round().to(torch.uint8).contiguous()
        assert [by_pixels[image.numpy().tobytes()] for image in pixels] == labels.tolist()
        everything = dict(zip(subset[0].index.tolist(), subset[0].images, strict=True))
        assert all(torch.equal(everything[number], image) for number, image in zip(index.tolist(), pixels, strict=True))


def test_another_seed_shows_the_same_views_in_another_order(subset):
    recipe = FULL.changed(batch_size=50)
    one, other = (
        {
            number: view
            for images, _, index in batches(subset[0], changed, 3)
            for number, view in zip(index.tolist(), images, strict=True)
        }
        for changed in (recipe, recipe.changed(seed=1))
    )
    assert list(one) != list(other) and set(one) == set(other)
    assert all(torch.equal(view, other[number]) for number, view in one.items())
    another = next(iter(batches(subset[0], recipe.changed(augmentation_seed=1), 3)))
    assert not torch.equal(another[0][0], one[another[2][0].item()])
