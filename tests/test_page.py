"""The real page in real Chromium: first view, upload, the slider under the mouse, bad files, phone, dark mode."""

import json
import re

import pytest
from PIL import Image

from kd.cifar10 import CLASSES
from kd.demo.examples import first_example
from kd.demo.page import note_of
from kd.demo.stage_view import warning
from kd.models import ROLES
from kd.results import ANOTHER_TEACHER, read_results, results_rows
from kd.strange_images import strange_images
from tests.browser import (
    EXAMPLES,
    LAPTOPS,
    PHONE,
    answered_anew,
    choose_example,
    drag,
    example_shown,
    hold_questions,
    settle,
    share,
    softmax,
    table,
    taught_at,
    ticks_above,
    upload,
)
from tests.serving import ROOT

LAPTOPS_AND_PHONE = [LAPTOPS[0], pytest.param(*LAPTOPS[1], marks=pytest.mark.slow), PHONE]


def test_an_uploaded_photo_gets_the_three_answers_that_the_endpoint_gives(visit, classify):
    page = visit()
    photo = EXAMPLES / "ship.png"
    upload(page, photo)
    expected = classify(photo)["models"]
    for role in ROLES:
        answer = page.locator(f"#answers [data-model={role}]")
        assert answer.locator(".label").inner_text() == expected[role]["label"]
        shown = answer.locator(".confidence").inner_text()
        assert share(shown) == pytest.approx(expected[role]["confidence"], abs=1e-3)  # "> 99.9%"
        assert answer.locator(".verdict").count() == 0  # nobody knows what a visitor's photo shows
    assert re.search(r"\d+(\.\d)? M parameters, [\d.]+ MB, \d+ ms", page.locator("#costs").inner_text())
    assert page.locator("#crop img").get_attribute("src").startswith("data:image/webp;base64,")


def set_temperature(page, temperature):
    """Without scrolling, as filling it in would."""
    page.locator("#temperature-number").evaluate(
        "(number, t) => { number.value = t; number.dispatchEvent(new Event('input')); }", temperature
    )
    settle(page)


@pytest.mark.parametrize(("width", "height"), LAPTOPS_AND_PHONE)
def test_photo_answers_chart_and_slider_lie_in_the_first_view(visit, width, height):
    page = visit(viewport={"width": width, "height": height})
    for temperature in (1, 4, 20):
        set_temperature(page, temperature)
        assert table(page)["temperature"] == temperature
        assert page.locator("#soft-targets").bounding_box()["y"] < height / 2
        for selector in ("#photo", "#sentence", "#answers", "#soft-targets", "#temperature"):
            box = page.locator(selector).bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, (temperature, selector, box)
            assert box["x"] >= 0 and box["x"] + box["width"] <= width, (temperature, selector, box)


@pytest.mark.parametrize(("width", "height"), LAPTOPS_AND_PHONE)
def test_no_example_and_no_temperature_moves_the_chart_or_the_slider(visit, width, height):
    page = visit(viewport={"width": width, "height": height})
    places = set()
    for position in range(len(CLASSES)):
        choose_example(page, position)
        for temperature in (1, 2, 4, 20):
            set_temperature(page, temperature)
            places.add(tuple(page.locator(part).bounding_box()["y"] for part in ("#soft-targets", "#temperature")))
        for label in page.locator(".answer strong").all():
            assert label.evaluate("(label) => label.scrollWidth <= label.clientWidth")
    assert len(places) == 1


@pytest.mark.parametrize(("width", "height"), LAPTOPS_AND_PHONE[:2])
def test_large_type_leaves_chart_and_slider_in_the_first_view_and_belongs_to_the_address(visit, width, height):
    page = visit("?T=4", viewport={"width": width, "height": height})
    size = "parseFloat(getComputedStyle(document.querySelector('#soft-targets-table td.number')).fontSize)"
    before = page.evaluate(size)
    page.get_by_label("Large type").check()
    page.wait_for_url("**type=large")
    page.reload()
    page.wait_for_selector("#soft-targets-table tbody tr")
    settle(page)
    assert page.evaluate(size) >= 1.18 * before
    for name in (example_shown(page), "automobile"):  # the longest
        choose_example(page, CLASSES.index(name))
        assert page.locator("#soft-targets").bounding_box()["y"] < height / 2
        box = page.locator("#temperature").bounding_box()
        assert box["y"] + box["height"] <= height
        for card in page.locator(".answer, .answer strong").all():
            assert card.evaluate("(card) => card.scrollWidth <= card.clientWidth")


def test_the_page_starts_at_temperature_1_with_an_example_of_which_the_teacher_is_sure(visit, classify):
    page = visit()
    shown, name = table(page), example_shown(page)
    assert shown["temperature"] == 1
    assert shown["classes"] == list(CLASSES)
    logits = {each: classify(EXAMPLES / f"{each}.png")["models"] for each in CLASSES}
    for role, answer in logits[name].items():
        assert shown[role] == pytest.approx(softmax(answer["logits"], 1), abs=1e-6)
    sure = {each: models["teacher"]["probabilities"][CLASSES.index(each)] for each, models in logits.items()}
    assert sure[name] >= 0.95 or sure[name] == max(sure.values())


def test_the_first_example_is_a_certainty_that_resembles_another_class_most_or_the_surest_there_is():
    def sure_of(k, lead, second=0.0):
        z = [0.0] * 10
        z[k - 1] = second
        z[k] = lead
        return z

    logits = [sure_of(k, 1.0) for k in range(10)]
    logits[7] = sure_of(7, 4.0)  # under 95 %, as all others
    assert first_example(logits, 4.0, range(10)) == 7
    logits[2], logits[5] = sure_of(2, 9.0, second=3.0), sure_of(5, 6.0)  # certain both; the latter's doubts are flatter
    assert first_example(logits, 4.0, range(10)) == 2
    cold = [[200.0, *[0.0] * 9], [*[0.0] * 9, 8.0]]  # the first one's other soft targets are 0 in float32
    assert first_example(cold, 0.5, [0, 9]) == 1
    logits[8] = sure_of(3, 6.0)  # certain, but of another class
    assert first_example(logits, 4.0, range(10)) == 2


def test_dragging_softens_the_table_to_the_softmax_computed_here_without_any_request(visit, classify):
    page = visit()
    photo = EXAMPLES / "dog.png"
    upload(page, photo)
    logits = {role: answer["logits"] for role, answer in classify(photo)["models"].items()}
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    temperatures = []
    for shares in [(0.1,), (0.9, 0.3), (0.7, 1.1)]:
        drag(page, *shares)
        shown = table(page)
        temperatures.append(shown["temperature"])
        for role in ROLES:
            assert shown[role] == pytest.approx(softmax(logits[role], shown["temperature"]), abs=1e-6)
            assert sum(shown[role]) == pytest.approx(1)
    assert temperatures[0] == pytest.approx(
        0.5 * 40**0.1, rel=0.1
    )  # logarithmic: a tenth of the way is a tenth of the ratio
    assert temperatures[1] == pytest.approx(0.5 * 40**0.3, rel=0.1)
    assert temperatures[2] == 20
    assert float(page.locator("#temperature-number").input_value()) == 20
    assert requests == []


def test_the_chart_changes_while_the_mouse_is_still_down(visit):
    page = visit()
    box = page.locator("#temperature input[type=range]").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    shown = []
    for place in (0.2, 0.4, 0.6, 0.8):
        page.mouse.move(box["x"] + box["width"] * place, middle, steps=5)
        settle(page)
        bar = page.locator("#soft-targets-table tr.first .bar.teacher").bounding_box()
        shown.append((table(page)["temperature"], bar["width"]))
    page.mouse.up()
    assert len(set(shown)) == 4
    assert [t for t, _ in shown] == sorted(t for t, _ in shown)


def test_the_named_temperatures_lead_to_its_answer_and_to_what_it_teaches(visit, classify):
    page = visit("?T=9")
    models = classify(EXAMPLES / f"{example_shown(page)}.png")["models"]
    for name, temperature in (("its answer", 1), ("as it teaches", taught_at())):
        page.get_by_role("button", name=name).click()
        shown = table(page)
        assert shown["temperature"] == temperature
        for role, answer in models.items():
            assert shown[role] == pytest.approx(softmax(answer["logits"], temperature), abs=1e-6)


def test_the_temperature_can_be_set_by_keyboard_in_round_steps_and_by_number(visit):
    page = visit()
    page.locator("#temperature-slider").focus()
    for key, temperature in [
        ("ArrowRight", 1.1), ("ArrowUp", 1.2), ("ArrowLeft", 1.1), *[("PageUp", tick) for tick in ticks_above(1.1)[:2]],
        ("End", 20), ("ArrowLeft", 19.5), ("Home", 0.5), ("ArrowDown", 0.5),
    ]:  # fmt: skip
        page.keyboard.press(key)
        assert table(page)["temperature"] == pytest.approx(temperature), key
    number = page.locator("#temperature-number")
    number.fill("2.5")
    assert table(page)["temperature"] == 2.5
    page.locator("#temperature-slider").press("ArrowRight")
    assert table(page)["temperature"] == pytest.approx(2.6)
    number.fill("99")
    number.press("Enter")
    assert (table(page)["temperature"], number.input_value()) == (20, "20.00")


def test_an_answer_that_arrives_is_drawn_at_the_temperature_set_meanwhile(visit, classify):
    page = visit()
    page.locator("#temperature-number").fill("8")
    upload(page, EXAMPLES / "frog.png")
    shown = table(page)
    assert shown["temperature"] == 8
    assert shown["teacher"] == pytest.approx(
        softmax(classify(EXAMPLES / "frog.png")["models"]["teacher"]["logits"], 8), abs=1e-6
    )


def test_a_bad_file_gets_a_sentence_that_stays_in_place_of_the_old_answer_until_the_next_photo(visit, tmp_path):
    page = visit()
    bad = tmp_path / "holiday <img src=x onerror='window.broken=1'>.png"
    bad.write_text("this is no image")
    page.locator("#image input[type=file]").set_input_files(bad)
    problem = page.locator("#problem")
    problem.get_by_text("This file is not an image that can be read").wait_for()
    page.wait_for_selector("#answers", state="hidden")
    page.wait_for_timeout(600)
    assert page.locator("#image img").count() == 0 or not page.locator("#image img").is_visible(), "a torn picture"
    assert problem.is_visible() and problem.get_attribute("role") == "alert"
    assert page.locator("#stage .hint").is_visible()
    choose_example(page, 0)
    page.locator("#image input[type=file]").set_input_files(bad)  # the same again gets the same again
    problem.get_by_text("This file is not an image that can be read").wait_for()
    upload(page, EXAMPLES / "truck.png")
    assert page.locator("#answers").is_visible() and not problem.is_visible()
    assert page.evaluate("window.broken") is None


@pytest.mark.parametrize("meanwhile", ["removed", "an example"])
def test_the_answer_to_a_photo_that_was_removed_or_left_meanwhile_does_not_appear(visit, meanwhile):
    page = visit()
    wait_for_one, let_go = hold_questions(page)
    page.locator("#image input[type=file]").set_input_files(EXAMPLES / "ship.png")
    remove = page.locator("#image").get_by_role("button", name="Remove Image")
    remove.wait_for(state="attached")
    shown = example_shown(page)
    wait_for_one()
    if meanwhile == "removed":
        remove.dispatch_event("click")  # the example's picture lies over it
    else:
        choose_example(page, CLASSES.index("horse"))
        shown = "horse"
    remove.wait_for(state="detached")
    let_go()
    assert example_shown(page) == shown and page.locator("#photo.own").count() == 0
    upload(page, EXAMPLES / "truck.png")  # the next one is answered as ever
    assert page.locator("#photo.own").count() == 1


def test_a_photo_that_is_removed_while_another_one_is_answered_leaves_an_empty_stage(visit):
    page = visit()
    upload(page, EXAMPLES / "ship.png")
    wait_for_one, let_go = hold_questions(page)
    page.locator("#image input[type=file]").set_input_files(EXAMPLES / "truck.png")
    wait_for_one()
    page.locator("#image").get_by_role("button", name="Remove Image").click()
    page.wait_for_selector("#answers", state="hidden")
    let_go()
    assert not page.locator("#answers").is_visible() and page.locator("#stage .hint").is_visible()
    choose_example(page, 2)
    assert page.locator("#answers").is_visible()


def test_a_file_can_be_chosen_whatever_is_shown_and_whichever_way_in_was_taken_before(visit):
    page = visit()
    page.evaluate("navigator.clipboard.read = async () => []")  # there is nothing in it
    upload_file, paste = (page.locator("#image").get_by_label(way) for way in ("Upload file", "Paste from clipboard"))

    def chosen(click, photo):
        with page.expect_file_chooser() as chooser:
            click()
        answered_anew(page, lambda: chooser.value.set_files(photo))
        assert page.locator("#photo.own").is_visible()

    chosen(upload_file.click, EXAMPLES / "ship.png")
    shown = page.locator("#crop img").get_attribute("src")
    chosen(upload_file.click, EXAMPLES / "truck.png")
    assert page.locator("#crop img").get_attribute("src") != shown
    choose_example(page, 0)
    paste.click()
    chosen(page.locator("#own-photo").click, EXAMPLES / "ship.png")


def test_a_camera_that_an_example_covers_films_no_more(visit):
    page = visit()
    page.evaluate(
        """() => {
            const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
            setInterval(() => canvas.getContext("2d").fillRect(0, 0, 64, 48), 20);
            const devices = [{ kind: "videoinput", deviceId: "1", label: "made" }];
            Object.assign(navigator.mediaDevices, {
                getUserMedia: async () => (window.stream = canvas.captureStream()),
                enumerateDevices: async () => devices,
            });
        }"""
    )
    page.locator("#image").get_by_label("Capture from camera").click()
    page.locator("#image").get_by_text("Click to Access Webcam").click()
    films = "window.stream && document.querySelector('#image video')?.videoWidth === 64"
    page.wait_for_function(films)
    ended = "window.stream?.getTracks().every((track) => track.readyState === 'ended')"
    choose_example(page, 3)
    page.wait_for_function(ended)
    assert page.locator("#answers").is_visible() and page.locator("#image video").count() == 0
    page.evaluate("window.stream = null")
    page.locator("#image").get_by_label("Capture from camera").click()
    page.locator("#image").get_by_text("Click to Access Webcam").click()
    page.wait_for_function(films)
    assert not page.evaluate(ended)
    with page.expect_file_chooser():  # and nothing is chosen
        page.locator("#image").get_by_label("Upload file").click()
    page.wait_for_function(ended)


@pytest.mark.slow
def test_the_results_tab_shows_the_measured_numbers_and_the_training_curves(visit):
    page = visit()
    page.get_by_role("tab", name="Results").click()
    page.get_by_role("button", name="All measurements").click()
    page.wait_for_selector("#results table")
    results = json.loads((ROOT / "checkpoints" / "results.json").read_text())
    _, rows = results_rows(results)
    shown = [row.locator("td").all_inner_texts() for row in page.locator("#results tbody tr").all()]
    assert shown == rows
    page.get_by_role("button", name="Accuracy while training").click()
    page.wait_for_selector("#training-curves .js-plotly-plot .main-svg")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_the_ground_in_light_and_dark(visit, scheme):
    page = visit(color_scheme=scheme)

    def luminance(selector, style):
        colour = page.evaluate(
            """([selector, style]) => {
                let node = document.querySelector(selector);
                const colour = () => getComputedStyle(node)[style];
                while (node.parentElement && colour() === 'rgba(0, 0, 0, 0)') node = node.parentElement;
                return colour();
            }""",
            [selector, style],
        )
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for selector in (
        ".headline",
        ".headline em",
        ".more",
        ".answer .label",
        ".answer .name",
        "#soft-targets-table .number",
        "#meaning [data-measure]",
        "#meaning dt",
        ".explanation",
        "thead th.teacher",
        ".ticks button",
    ):
        text, ground = luminance(selector, "color"), luminance(selector, "backgroundColor")
        contrast = (max(text, ground) + 0.05) / (min(text, ground) + 0.05)
        assert contrast >= 4.5, (selector, contrast)  # WCAG 2.2, level AA
    assert (luminance("body", "backgroundColor") < 0.2) == (scheme == "dark")


def test_a_phone_shows_all_tabs_in_one_row_and_opens_each_by_a_touch(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    tabs = page.get_by_role("tab").all()
    boxes = [tab.bounding_box() for tab in tabs]
    assert len(tabs) == 5
    for box in boxes:
        assert box["y"] == boxes[0]["y"]
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    for tab in tabs:
        tab.tap()
        assert tab.get_attribute("aria-selected") == "true"


def is_warned_of(trio, picture):
    return trio.fits_no_class(trio.timed_logits([picture])[0]["teacher"].logits, picture)


@pytest.fixture
def strange(trio, tmp_path):
    """A file with a picture of which the page warns with the shipped networks."""
    drawn = (each.permute(1, 2, 0).numpy() for kind in strange_images(0, 4).values() for each in kind)
    next(picture for each in drawn if is_warned_of(trio, picture := Image.fromarray(each))).save(tmp_path / "odd.png")
    return tmp_path / "odd.png"


def test_a_photo_unlike_all_classes_is_warned_of_and_the_next_one_not(visit, trio, strange):
    examples = [EXAMPLES / f"{name}.png" for name in CLASSES]
    ordinary = next(path for path in examples if not is_warned_of(trio, Image.open(path).convert("RGB")))
    page = visit()
    upload(page, strange)
    assert page.locator("#out-of-class").inner_text().startswith(warning(trio.out_of_class)["sentence"])
    upload(page, ordinary)
    page.locator("#out-of-class").wait_for(state="hidden")


@pytest.mark.parametrize(("width", "height"), LAPTOPS_AND_PHONE)
def test_the_warning_moves_nothing_out_of_the_first_view(visit, strange, width, height):
    page = visit(viewport={"width": width, "height": height})
    upload(page, strange)
    for temperature in (1, 4, 20):
        set_temperature(page, temperature)
        assert page.evaluate("window.scrollY") == 0
        assert page.locator("#soft-targets").bounding_box()["y"] < height / 2
        for selector in ("#out-of-class", "#answers", "#temperature"):
            box = page.locator(selector).bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, (temperature, selector, box)
            assert box["x"] >= 0 and box["x"] + box["width"] <= width, (temperature, selector, box)
    said = warning(read_results(ROOT / "checkpoints")["out_of_class"])
    assert page.locator("#out-of-class").inner_text().startswith(said["sentence"])
    assert not page.get_by_text(said["rates"]).is_visible()
    page.get_by_role("button", name="How sure is this?").click()
    assert page.get_by_text(said["rates"]).is_visible()
    remove = page.locator("#image").get_by_role("button", name="Remove Image").locator("svg, *").last
    assert remove.evaluate("(icon) => getComputedStyle(icon).color") not in ("transparent", "rgba(0, 0, 0, 0)")


def test_on_a_phone_a_touch_makes_ones_own_photo_large_enough_to_crop_and_moves_nothing(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    upload(page, EXAMPLES / "ship.png")
    chart, small = (page.locator(part).bounding_box() for part in ("#soft-targets", "#photo"))
    page.locator("#crop").tap()
    assert page.locator("#photo").bounding_box()["width"] > 2.5 * small["width"]
    assert page.locator("#soft-targets").bounding_box() == chart
    page.locator("#soft-targets").tap(position={"x": 300, "y": 200})
    assert page.locator("#photo").bounding_box() == small


def test_the_temperature_and_the_answer_survive_a_look_at_the_results(visit):
    page = visit()
    upload(page, EXAMPLES / "ship.png")
    page.locator("#temperature-number").fill("10")
    before = table(page)
    page.get_by_role("tab", name="Results").click()
    page.wait_for_selector(".claim")
    page.get_by_role("tab", name="One photo").click()
    page.wait_for_selector("#soft-targets-table tbody tr")
    assert table(page) == before


@pytest.mark.parametrize("another", [True, False])
def test_the_note_under_the_photo_says_where_another_teacher_taught(trio, monkeypatch, another):
    monkeypatch.setattr(trio, "another_teacher", another)
    assert (ANOTHER_TEACHER in note_of(trio)) == another
