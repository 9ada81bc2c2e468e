"""The square that the networks see, moved and zoomed on the photo itself by mouse, finger and keyboard."""

import pytest
from PIL import Image

from kd.demo.pictures import picture_url
from kd.models import ROLES
from kd.photo import CENTRE, Crop, to_network_size
from tests.browser import EXAMPLES, settle, softmax, table, upload


@pytest.fixture
def wide(tmp_path):
    """A photo whose left, middle and right third are three of the examples."""
    photo = Image.new("RGB", (288, 96))
    for position, name in enumerate(("ship", "frog", "truck")):
        photo.paste(Image.open(EXAMPLES / f"{name}.png").convert("RGB").resize((96, 96)), (96 * position, 0))
    path = tmp_path / "wide.png"
    photo.save(path)
    return photo, path


def assert_answered(page, trio, photo, crop):
    """Wait until the page shows this crop's pixels, and compare the chart with the networks' answer to it."""
    picture = picture_url(to_network_size(photo, crop))
    page.wait_for_function("(url) => document.querySelector('#crop img')?.src === url", arg=picture)
    shown = table(page)
    for role, model in trio.classify(photo, 1.0, crop)["models"].items():
        assert shown[role] == pytest.approx(softmax(model["logits"], shown["temperature"]), abs=1e-5)
    assert set(ROLES) < set(shown)


def drag_by(page, selector, right, down):
    box = page.locator(selector).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y + down, steps=8)
    page.mouse.up()


def test_the_square_is_dragged_on_the_photo_and_answered_where_it_is_let_go(visit, trio, wide):
    photo, path = wide
    page = visit()
    upload(page, path)
    assert_answered(page, trio, photo, CENTRE)
    drag_by(page, "#crop", 400, 30)
    assert_answered(page, trio, photo, Crop(across=1, down=0.5, side=1))
    drag_by(page, "#crop", -800, 0)
    assert_answered(page, trio, photo, Crop(across=0, down=0.5, side=1))


def test_the_corner_makes_the_square_smaller(visit, trio, wide):
    photo, path = wide
    page = visit()
    upload(page, path)
    before = page.locator("#crop").bounding_box()
    corner = page.locator("#crop .corner").bounding_box()
    page.mouse.move(corner["x"] + corner["width"] - 4, corner["y"] + corner["height"] - 4)
    page.mouse.down()
    page.mouse.move(corner["x"] - before["width"] / 3, corner["y"] - before["height"] / 3, steps=8)
    page.mouse.up()
    settle(page)
    after = page.locator("#crop").bounding_box()
    assert after["width"] < 0.8 * before["width"] and after["width"] == pytest.approx(after["height"], abs=1)
    assert (after["x"], after["y"]) == (pytest.approx(before["x"], abs=1), pytest.approx(before["y"], abs=1))


def test_keys_move_and_zoom_the_square_up_to_the_whole_photo(visit, trio, wide):
    photo, path = wide
    page = visit()
    upload(page, path)
    page.locator("#crop").focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert_answered(page, trio, photo, Crop(across=0.5 - 4 * 0.05, down=0.5, side=1))
    page.keyboard.press("-")
    assert_answered(page, trio, photo, None)
    page.keyboard.press("+")
    assert_answered(page, trio, photo, CENTRE)


def test_the_button_shows_the_whole_photo_and_again_the_square(visit, trio, wide):
    photo, path = wide
    page = visit()
    upload(page, path)
    whole = page.locator("#whole-photo")
    whole.click()
    assert_answered(page, trio, photo, None)
    assert whole.get_attribute("aria-pressed") == "true"
    whole.click()
    assert_answered(page, trio, photo, CENTRE)


@pytest.mark.slow
def test_the_square_follows_the_finger_on_a_phone(visit, trio, wide):
    photo, path = wide
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    upload(page, path)
    page.locator("#crop").tap()  # which makes the photo larger
    page.wait_for_selector("#photo.large")
    box = page.locator("#crop").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x + 90, "y": y}]),
        ("touchMove", [{"x": x + 180, "y": y}]),
        ("touchEnd", []),
    ):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert_answered(page, trio, photo, Crop(across=1, down=0.5, side=1))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_example_has_no_square_to_move(visit):
    page = visit()
    assert page.locator("#crop").get_attribute("tabindex") == "-1"
    assert not page.locator("#whole-photo").is_visible()
    before = page.locator("#crop").bounding_box()
    drag_by(page, "#crop", 50, 50)
    assert page.locator("#crop").bounding_box() == before


@pytest.mark.parametrize("suffix", [".gif", ".bmp"])
def test_a_photo_is_shown_in_a_form_that_every_browser_reads(visit, wide, tmp_path, suffix):
    photo, _ = wide
    path = tmp_path / f"wide{suffix}"
    photo.save(path)
    page = visit()
    upload(page, path)
    page.wait_for_function("document.querySelector('#photo .whole').complete")
    assert page.evaluate("document.querySelector('#photo .whole').naturalWidth") == photo.width
