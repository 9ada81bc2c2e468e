"""The real page in real Chromium: upload, cards, the slider under the mouse, bad files, phone and dark mode."""

import json
import math
import re

import pytest

from kd.cifar10 import CLASSES
from kd.recipe import ROLES
from kd.results import results_rows
from tests.browser import EXAMPLES, PATIENCE, PLOT, choose_example, drag, see_curves, settle, softmax, table, upload
from tests.serving import ROOT


def test_an_uploaded_photo_gets_the_three_answers_that_the_endpoint_gives(visit, classify):
    page = visit()
    photo = EXAMPLES / "ship.png"
    upload(page, photo)
    expected = classify(photo)["models"]
    for role in ROLES:
        card = page.locator(f"#answers [data-model={role}]")
        assert card.locator(".label").inner_text() == expected[role]["label"]
        shown = [float(text.rstrip(" %")) / 100 for text in card.locator("li .number").all_inner_texts()]
        assert shown == pytest.approx(expected[role]["probabilities"], abs=6e-4)
        assert float(card.locator(".confidence").inner_text().split()[0]) / 100 == pytest.approx(
            expected[role]["confidence"], abs=6e-4
        )
        assert re.search(r"\d+ ms · [\d.]+ M parameters · [\d.]+ MB", card.locator(".costs").inner_text())
    assert page.locator("#seen img").get_attribute("src").startswith("data:image/png;base64,")


def test_the_page_starts_with_an_example_at_temperature_4(visit, classify):
    page = visit()
    shown = table(page)
    assert shown["temperature"] == 4
    assert shown["classes"] == list(CLASSES)
    for role, answer in classify(EXAMPLES / "cat.png")["models"].items():
        assert shown[role] == pytest.approx(softmax(answer["logits"], 4), abs=1e-6)


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
    box = page.locator("#temperature-slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    seen = []
    for share in (0.2, 0.4, 0.6, 0.8):
        page.mouse.move(box["x"] + box["width"] * share, middle, steps=5)
        settle(page)
        bar = page.locator("#soft-targets-table tr[data-class=cat] .bar.teacher").bounding_box()
        seen.append((table(page)["temperature"], bar["width"]))
    page.mouse.up()
    assert len(set(seen)) == 4
    assert [t for t, _ in seen] == sorted(t for t, _ in seen)


def test_temperature_1_is_marked_as_plain_softmax_and_shows_it(visit, classify):
    page = visit()
    page.get_by_role("button", name="plain softmax").click()
    shown = table(page)
    assert shown["temperature"] == 1
    for role, answer in classify(EXAMPLES / "cat.png")["models"].items():
        assert shown[role] == pytest.approx(answer["probabilities"], abs=1e-6)


def test_the_temperature_can_be_set_by_keyboard_and_by_number(visit):
    page = visit()
    page.locator("#temperature-slider").focus()
    page.keyboard.press("ArrowRight")
    assert table(page)["temperature"] > 4
    page.keyboard.press("End")
    assert table(page)["temperature"] == 20
    page.keyboard.press("Home")
    assert table(page)["temperature"] == 0.5
    number = page.locator("#temperature-number")
    number.fill("2.5")
    assert table(page)["temperature"] == 2.5
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


def test_the_curves_mark_the_temperature_and_start_with_the_teachers_probabilities(visit, classify):
    page = visit()
    see_curves(page)
    page.locator("#temperature-number").fill("2")
    settle(page)
    marker = page.evaluate(f"getComputedStyle({PLOT}, '::after').content")
    assert marker == '"T = 2.00"'
    place = page.evaluate(f"parseFloat(getComputedStyle({PLOT}, '::after').left) + 40")
    axis = page.evaluate(f"({{offset: {PLOT}._fullLayout.xaxis._offset, length: {PLOT}._fullLayout.xaxis._length}})")
    assert place == pytest.approx(axis["offset"] + axis["length"] * math.log(2 / 0.5) / math.log(40), abs=2)
    curves = page.evaluate(f"Object.fromEntries({PLOT}.data.map((curve) => [curve.name, curve.y]))")
    coldest = softmax(classify(EXAMPLES / "cat.png")["models"]["teacher"]["logits"], 0.5)
    assert [curves[name][0] for name in CLASSES] == pytest.approx(coldest, abs=1e-5)


def test_a_bad_file_gets_a_sentence_clears_the_old_answer_and_the_next_photo_works(visit, tmp_path):
    page = visit()
    bad = tmp_path / "holiday <img src=x onerror='window.broken=1'>.png"
    bad.write_text("this is no image")
    page.locator("#image input[type=file]").set_input_files(bad)
    page.get_by_text("This file is not an image that can be read").wait_for()
    page.wait_for_selector("#answers", state="hidden")
    assert page.locator("#live .hint").is_visible()
    upload(page, EXAMPLES / "truck.png")
    assert page.locator("#answers").is_visible()
    assert page.evaluate("window.broken") is None


def test_an_example_is_answered_by_one_click(visit, classify):
    page = visit()
    choose_example(page, CLASSES.index("horse"))
    expected = classify(EXAMPLES / "horse.png")["models"]
    assert page.locator("#answers .label").all_inner_texts() == [expected[role]["label"] for role in ROLES]


def test_a_photo_from_the_clipboard_or_webcam_can_be_chosen(visit):
    page = visit()
    for source in ("Upload file", "Capture from camera", "Paste from clipboard"):
        assert page.locator("#image").get_by_label(source).is_visible()


def test_the_results_tab_shows_the_measured_numbers_and_the_training_curves(visit):
    page = visit()
    page.get_by_role("tab", name="Results").click()
    page.wait_for_selector("#results table")
    results = json.loads((ROOT / "checkpoints" / "results.json").read_text())
    _, rows = results_rows(results)
    shown = [row.locator("td").all_inner_texts() for row in page.locator("#results tbody tr").all()]
    assert shown == rows
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
        ".card .label",
        "#soft-targets-table .number",
        "#meaning [data-measure]",
        "#meaning dt",
        ".explanation",
        ".costs",
        "thead th.teacher",
    ):
        text, ground = luminance(selector, "color"), luminance(selector, "backgroundColor")
        contrast = (max(text, ground) + 0.05) / (min(text, ground) + 0.05)
        assert contrast >= 4.5, (selector, contrast)  # WCAG 2.2, level AA
    assert (luminance("body", "backgroundColor") < 0.2) == (scheme == "dark")


def test_a_phone_shows_everything_without_scrolling_sideways(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in ("#answers .card", "#temperature-slider", "#soft-targets-table"):
        for box in [item.bounding_box() for item in page.locator(selector).all()]:
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390


def test_no_other_host_is_contacted(browser, server):
    page = browser.new_page()
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.set_default_timeout(PATIENCE)
    page.goto(server)
    page.wait_for_selector("#soft-targets-table tbody tr")
    see_curves(page)
    assert len(urls) > 5
    assert [url for url in urls if not url.startswith((server, "data:", "blob:"))] == []
    page.close()


def test_the_temperature_and_the_answer_survive_a_look_at_the_results(visit):
    page = visit()
    upload(page, EXAMPLES / "ship.png")
    page.locator("#temperature-number").fill("10")
    before = table(page)
    see_curves(page)
    page.get_by_role("tab", name="Results").click()
    page.wait_for_selector("#results table")
    page.get_by_role("tab", name="One photo").click()
    page.wait_for_selector("#soft-targets-table tbody tr")
    assert table(page) == before
    page.wait_for_selector("#curves .js-plotly-plot .main-svg")
    assert page.evaluate(f"getComputedStyle({PLOT}, '::after').content") == '"T = 10.00"'
