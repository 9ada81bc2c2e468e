"""Which square of a photo the networks are shown."""

import numpy as np
import pytest
from PIL import Image

from kd.cifar10 import IMAGE_SIZE
from kd.photo import CENTRE, Crop, to_network_size
from tests.pictures import BLUE, GREEN, RED, stripes


def colour_of(shrunk):
    return tuple(int(value) for value in np.asarray(shrunk)[8:24, 8:24].reshape(-1, 3).mean(axis=0).round())


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
