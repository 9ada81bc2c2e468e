"""Which square of a photo the networks are shown, many images in one batch, and the warning outside the classes."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from kd import checkpoint
from kd.cifar10 import CLASSES, IMAGE_SIZE, read_test_set
from kd.inference import BATCH, Trio
from kd.models import ROLES
from kd.out_of_class import responses
from kd.photo import CENTRE, Crop, to_network_size
from kd.results import RESULTS
from kd.strange_images import strange_images

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def carried_images(data_dir):
    """The hundred test images of tests/data, as Pillow images."""
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in read_test_set(data_dir).images]


def stripes(width, height, colours=(RED, GREEN, BLUE)):
    """A photo of equal stripes along its longer side."""
    photo = Image.new("RGB", (width, height))
    for position, colour in enumerate(colours):
        part = max(width, height) // len(colours)
        corner = (position * part, 0) if width > height else (0, position * part)
        photo.paste(colour, (*corner, *((part + corner[0], height) if width > height else (width, part + corner[1]))))
    return photo


def colour_of(shrunk):
    return tuple(int(value) for value in np.asarray(shrunk)[8:24, 8:24].reshape(-1, 3).mean(axis=0).round())


# The crop


def test_the_centre_square_is_taken_unless_another_is_asked_for():
    photo = stripes(900, 300)
    assert to_network_size(photo).tobytes() == to_network_size(photo, CENTRE).tobytes()
    assert colour_of(to_network_size(photo)) == GREEN


@pytest.mark.parametrize(("width", "height", "direction"), [(900, 300, "across"), (300, 900, "down")])
def test_a_square_at_either_end_shows_that_end(width, height, direction):
    photo = stripes(width, height)
    assert [colour_of(to_network_size(photo, Crop(**{direction: place}))) for place in (0, 0.5, 1)] == [
        RED,
        GREEN,
        BLUE,
    ]


def test_a_smaller_square_shows_less_of_the_photo():
    photo = Image.new("RGB", (400, 300), RED)
    photo.paste(GREEN, (300, 200, 400, 300))  # a third of the shorter side, in the lower right corner
    assert colour_of(to_network_size(photo, Crop(across=1, down=1, side=0.33))) == GREEN
    assert colour_of(to_network_size(photo, Crop(across=0, down=0, side=0.33))) == RED


@pytest.mark.parametrize("size", [(900, 300), (300, 900), (1, 5000), (5000, 1), (1, 1), (33, 32)])
@pytest.mark.parametrize("crop", [None, CENTRE, Crop(1, 1, 1), Crop(0.3, 0.7, 0.1), Crop(1, 1, 0.7)])
def test_every_crop_of_every_photo_is_32_x_32_and_holds_nothing_but_the_photo(size, crop):
    shrunk = to_network_size(Image.new("RGB", size, RED), crop)
    assert (shrunk.mode, shrunk.size) == ("RGB", (IMAGE_SIZE, IMAGE_SIZE))
    margins = {(0, 0, 0)} if crop is None and size[0] != size[1] else set()
    assert {colour for _, colour in shrunk.getcolors()} <= {RED} | margins


def test_the_whole_photo_lies_in_the_middle_of_black_margins():
    shrunk = np.asarray(to_network_size(Image.new("RGB", (640, 320), RED), None))
    assert (shrunk[:8] == 0).all() and (shrunk[24:] == 0).all()
    assert (shrunk[8:24] == RED).all()


def test_a_square_photo_shown_whole_is_the_photo():
    photo = Image.effect_noise((64, 64), 50).convert("RGB")
    assert to_network_size(photo, None).tobytes() == to_network_size(photo).tobytes()


@pytest.mark.parametrize(
    "wrong", [{"across": -0.1}, {"down": 1.1}, {"side": 0}, {"side": 1.01}, {"side": float("nan")}], ids=str
)
def test_a_square_that_no_photo_has_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Crop(**wrong)


# Many images


def test_many_images_get_the_logits_that_each_gets_alone_in_their_order(checkpoints, carried_images):
    trio = Trio(checkpoints)
    images = carried_images[: BATCH + 3]
    together = trio.timed_logits(images)
    assert len(together) == len(images)
    for image, by_role in zip(images, together, strict=True):
        assert list(by_role) == list(ROLES)
        for role, alone in trio.timed_logits([image])[0].items():
            assert by_role[role].logits == pytest.approx(alone.logits, abs=1e-5)
            assert by_role[role].milliseconds > 0


def test_no_image_gets_no_logits(trio):
    assert trio.timed_logits([]) == []


def test_no_more_than_a_batch_is_in_memory_at_once(checkpoints, carried_images):
    trio, sizes = Trio(checkpoints), []
    for network in trio.networks.values():
        network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    trio.timed_logits(carried_images[: 2 * BATCH + 1])
    assert sizes == [BATCH, BATCH, 1] * len(ROLES)


def test_classify_all_gives_what_classify_gives(trio, carried_images):
    for image, classified in zip(carried_images[:3], trio.classify_all(carried_images[:3], 2.0), strict=True):
        alone = trio.classify(image, 2.0)
        assert classified["classes"] == alone["classes"] and classified["temperature"] == 2.0
        for role in ROLES:
            assert set(classified["models"][role]) == set(alone["models"][role])
            assert classified["models"][role]["label"] == alone["models"][role]["label"]
            assert classified["models"][role]["softened"] == pytest.approx(alone["models"][role]["softened"], abs=1e-4)


def test_classify_looks_at_the_square_it_is_told_to(trio):
    photo, right = stripes(900, 300), Crop(across=1)
    logits = trio.classify(photo, 1.0, right)["models"]["teacher"]["logits"]
    assert logits == trio.timed_logits([to_network_size(photo, right)])[0]["teacher"].logits
    assert logits != pytest.approx(trio.classify(photo, 1.0)["models"]["teacher"]["logits"], abs=1e-2)


# Photos outside the classes


@pytest.fixture
def with_warning(networks, tiny, tmp_path):
    """A folder with three tiny networks and what was measured of their warning, and their results to be changed."""
    for role in ROLES:
        (tmp_path / role).symlink_to(networks / role)
    shutil.copyfile(networks / RESULTS, tmp_path / RESULTS)
    return tmp_path, json.loads((tmp_path / RESULTS).read_text())


def test_the_page_warns_of_the_same_images_that_evaluate_counts(with_warning, carried_images):
    trio = Trio(with_warning[0])
    images = carried_images[:20] + [
        Image.fromarray(image.permute(1, 2, 0).numpy()) for image in strange_images(5, 4)["cells"]
    ]
    pixels = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
    normalisation = checkpoint.normalisation_of(trio.configs["teacher"])
    looked = responses(trio.networks["teacher"].network, pixels, normalisation)
    expected = trio.warner.warns(looked.logits, looked.contrasts).tolist()
    timed = trio.timed_logits(images)
    warned = [trio.fits_no_class(each["teacher"].logits, image) for each, image in zip(timed, images, strict=True)]
    assert warned == expected and set(warned) == {True, False}


def test_nobody_is_warned_where_nothing_was_measured_or_with_another_teacher(with_warning, carried_images):
    folder, results = with_warning
    results["models"]["teacher"]["seed"] += 1
    checkpoint.write_json(folder / RESULTS, results)
    assert Trio(folder).warner is None
    (folder / RESULTS).unlink()
    trio = Trio(folder)
    assert trio.warner is None
    assert not trio.fits_no_class(trio.timed_logits(carried_images[:1])[0]["teacher"].logits, carried_images[0])


@pytest.mark.parametrize("older", [{"threshold": 4.0}, None], ids=str)
def test_results_of_an_older_form_warn_nobody(with_warning, older):
    folder, results = with_warning
    checkpoint.write_json(folder / RESULTS, results | {"out_of_class": older})
    assert Trio(folder).warner is None


@pytest.mark.parametrize(
    "damage",
    [{"centre": "?"}, {"precision": ""}, {"cosine_below": None}, {"means": ""}, {"detected": []}, {"precision": 3}],
    ids=str,
)
def test_a_damaged_warning_is_named_with_the_command_that_measures_it(with_warning, damage, caplog):
    folder, results = with_warning
    assert Trio(folder).warner
    results["out_of_class"] |= damage
    checkpoint.write_json(folder / RESULTS, results)
    assert Trio(folder).warner is None and "--warning" in caplog.text


# Damaged checkpoints


@pytest.mark.parametrize(
    "damage",
    [{"recipe": {}}, {"recipe": {"name": "strong", "stem": "cifar"}}, {"data": {}}, {"data": {"trained_on": "many"}},
     {"normalisation": {}}, {"classes": list(CLASSES[1:])}, {"role": "teacher"}, {"machine": None, "recipe": []}],
    ids=str,
)  # fmt: skip
def test_what_the_page_cannot_tell_of_a_checkpoint_is_named_when_it_is_loaded(checkpoints, damage):
    config = json.loads((checkpoints / "student" / "config.json").read_text())
    (checkpoints / "student" / "config.json").write_text(json.dumps(config | damage))
    with pytest.raises(checkpoint.CheckpointError, match=str(checkpoints / "student")):
        Trio(checkpoints)
