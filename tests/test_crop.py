"""The square that the networks see, moved and zoomed on the photo itself by mouse, finger and keyboard."""

import gradio as gr
import pytest
from PIL import Image

from kd.cifar10 import CLASSES
from kd.demo.page import crop_shower
from kd.demo.pictures import picture_url
from kd.demo.uploads import NO_UPLOAD
from kd.photo import CENTRE, Crop, to_network_size
from tests.browser import (
    EXAMPLES,
    PATIENCE,
    answered_anew,
    choose_example,
    example_shown,
    hold_questions,
    settle,
    softmax,
    table,
    upload,
)  # fmt: skip


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
    for role, model in trio.classify_all([trio.network_input(photo, crop)], 1.0)[0]["models"].items():
        assert shown[role] == pytest.approx(softmax(model["logits"], shown["temperature"]), abs=1e-5)


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


def test_a_menu_that_takes_the_buttons_release_leaves_no_square_at_the_mouse(visit, wide):
    page = visit()
    upload(page, wide[1])
    before = page.locator("#crop").bounding_box()
    for kind in ("pointerdown", "pointermove"):  # of another button, and of none any more
        page.locator("#crop").evaluate(
            """(node, kind) => {
                const more = { bubbles: true, pointerId: 1, clientX: kind === "pointerdown" ? 300 : 500, clientY: 300 };
                node.setPointerCapture = () => {};
                node.dispatchEvent(new PointerEvent("pointerdown", { ...more, button: 2, buttons: 2 }));
                if (kind === "pointermove") {
                    node.dispatchEvent(new PointerEvent("pointerdown", { ...more, clientX: 300, buttons: 1 }));
                    node.dispatchEvent(new PointerEvent(kind, { ...more, buttons: 0 }));
                } else node.dispatchEvent(new PointerEvent("pointermove", { ...more, clientX: 500, buttons: 2 }));
            }""",
            kind,
        )
        settle(page)
        assert page.locator("#crop").bounding_box() == before


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


def test_the_square_can_be_zoomed_to_its_limit(visit, trio, tmp_path):
    photo = Image.new("RGB", (1024, 683), "red")  # of these sides a tenth is rounded
    photo.paste("blue", (412, 241, 612, 441))
    photo.save(tmp_path / "photo.png")
    page = visit()
    upload(page, tmp_path / "photo.png")
    page.locator("#crop").focus()
    for _ in range(20):
        page.keyboard.press("+")
    side = page.locator("#crop").bounding_box()["width"]
    assert side == pytest.approx(Crop.MIN_SIDE * 683 / 1024 * page.locator("#photo").bounding_box()["width"], abs=0.5)
    assert_answered(page, trio, photo, Crop(across=0.5, down=0.5, side=Crop.MIN_SIDE))
    assert page.locator("#problem").inner_text() == ""


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


def test_a_square_that_gets_no_answer_goes_back_and_the_photo_stays(visit, trio, wide):
    photo, path = wide
    page = visit()
    upload(page, path)
    page.route("**/queue/join*", lambda question: question.fulfill(status=503, json={"detail": "Full."}))
    page.locator("#crop").focus()
    page.keyboard.press("ArrowLeft")
    page.locator("#problem", has_text="No answer came").wait_for(timeout=PATIENCE)
    assert_answered(page, trio, photo, CENTRE)
    page.unroute("**/queue/join*")
    page.keyboard.press("ArrowLeft")
    assert_answered(page, trio, photo, Crop(across=0.45, down=0.5, side=1))
    assert page.locator("#problem").inner_text() == ""


def test_why_a_square_gets_no_answer_is_told_as_the_squares(trio):
    asked = {"file": "/etc/passwd", "whole": True, "number": 3}
    told = crop_shower(trio)(gr.EventData(None, asked))
    assert told["problem"] == NO_UPLOAD and told["of_crop"] and told["number"] == 3


def test_the_label_of_a_photo_follows_its_square_until_the_visitor_chooses_one(visit, trio, wide):
    photo, path = wide
    page = visit("?T=1")
    another = next(name for name in CLASSES if name != example_shown(page))
    upload(page, path)

    def label_at(key, across):
        for _ in range(20):
            page.locator("#crop").press(key)
        assert_answered(page, trio, photo, Crop(across=across, down=0.5, side=1))
        answers = table(page)["teacher"]
        return page.locator("#label").input_value(), CLASSES[answers.index(max(answers))]

    left, right = label_at("ArrowLeft", 0), label_at("ArrowRight", 1)
    assert left[0] == left[1] != right[0] == right[1]
    page.get_by_label("True class").select_option("deer")
    assert page.get_by_text("This is the label that you chose.").is_visible()
    assert label_at("ArrowLeft", 0)[0] == "deer"
    page.wait_for_function("history.state?.file")  # half a second after the hand
    choose_example(page, CLASSES.index(another))
    assert page.locator("#label").input_value() == another
    page.wait_for_function("(name) => location.search.includes(name)", arg=another)
    answered_anew(page, page.go_back)
    assert page.locator("#label").input_value() == "deer"
    assert page.get_by_text("This is the label that you chose.").is_visible()


@pytest.fixture
def fingers(visit, wide):
    """A phone's page with the wide photo made larger, the centre of its square, and what touches it."""
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    upload(page, wide[1])
    page.locator("#crop").tap()  # which makes the photo larger
    page.wait_for_selector("#photo.large")
    box = page.locator("#crop").bounding_box()
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        touched = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

    return page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, touch


@pytest.mark.slow
def test_the_square_follows_the_finger_on_a_phone_while_answers_come(fingers, trio, wide):
    page, x, y, touch = fingers
    touch("touchStart", (x, y))
    _, let_go = hold_questions(page)
    touch("touchMove", (x + 40, y))
    let_go()  # the answer to this place comes in the middle of the drag
    assert page.locator("#photo.large").is_visible()
    touch("touchMove", (x + 180, y))
    touch("touchEnd")
    assert_answered(page, trio, wide[0], Crop(across=1, down=0.5, side=1))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_after_a_pinch_the_finger_that_is_left_moves_nothing(fingers):
    page, x, y, touch = fingers
    before = page.locator("#crop").bounding_box()["width"]
    touch("touchStart", (x - 20, y))
    touch("touchStart", (x - 20, y), (x + 20, y))
    touch("touchMove", (x - 30, y), (x + 30, y))
    settle(page)
    zoomed = page.locator("#crop").bounding_box()
    assert zoomed["width"] < 0.8 * before
    touch("touchEnd", (x - 30, y))
    touch("touchMove", (x - 60, y))
    touch("touchEnd")
    settle(page)
    assert page.locator("#crop").bounding_box() == zoomed


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
