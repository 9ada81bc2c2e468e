"""Links, the back button, saved charts: what a visitor takes away or passes on."""

import io
import xml.etree.ElementTree as ElementTree
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from kd.cifar10 import CLASSES
from kd.models import ROLES
from tests.browser import (
    EXAMPLES,
    TEMPERATURE,
    choose_example,
    drag,
    example_shown,
    hold_questions,
    other_examples,
    share,
    softmax,
    table,
    upload,
)

SVG = "{http://www.w3.org/2000/svg}"


def address_says(page, **expected):
    """Wait until the address asks for exactly this."""
    page.wait_for_function(
        """(expected) => {
            const asked = Object.fromEntries(new URLSearchParams(location.search));
            return JSON.stringify(Object.entries(asked).sort()) === JSON.stringify(Object.entries(expected).sort());
        }""",
        arg=expected,
    )


def assert_shows(page, example, classify, temperature):
    """Wait for the example; assert that its distributions are shown at this temperature."""
    page.locator(f"#examples [title={example}][aria-pressed=true]").wait_for()
    shown = table(page)
    assert shown["temperature"] == temperature
    for role, answer in classify(EXAMPLES / f"{example}.png")["models"].items():
        assert shown[role] == pytest.approx(softmax(answer["logits"], temperature), abs=1e-6)


def test_the_address_becomes_a_link_to_what_is_seen_and_a_link_shows_it(visit, classify):
    page = visit()
    chosen = other_examples(page)[0]
    choose_example(page, CLASSES.index(chosen))
    page.locator("#temperature-number").fill("2.5")
    page.locator("#order").select_option("class")
    page.get_by_label("Log scale").check()
    page.get_by_label("Previous photo").check()
    address_says(page, example=chosen, T="2.50", order="class", scale="log", ghost="on")

    other = visit("?" + urlsplit(page.url).query)
    assert_shows(other, chosen, classify, 2.5)
    assert other.locator("#order").input_value() == "class"
    assert other.get_by_label("Log scale").is_checked()
    assert other.get_by_label("Previous photo").is_checked()


def test_the_address_is_written_after_the_drag_and_not_while_it_lasts(visit):
    page = visit()
    page.evaluate(
        """() => {
            window.written = 0;
            for (const name of ['replaceState', 'pushState']) {
                const write = history[name].bind(history);
                history[name] = (...args) => { window.written += 1; write(...args); };
            }
        }"""
    )
    drag(page, 0.1, 0.9, 0.3, steps=20)
    assert page.evaluate("window.written") == 0
    page.wait_for_function("window.written === 1")
    assert float(parse_qs(urlsplit(page.url).query)["T"][0]) == pytest.approx(table(page)["temperature"], abs=0.006)
    assert page.evaluate("history.length") == 1


def test_back_and_forward_go_from_image_to_image_at_the_temperature_each_was_left_with(visit, classify):
    page = visit()
    first, (second, third, *_) = example_shown(page), other_examples(page)
    page.locator("#temperature-number").fill("8")
    address_says(page, T="8.00")
    choose_example(page, CLASSES.index(second))
    page.locator("#temperature-number").fill("2")
    address_says(page, example=second, T="2.00")
    choose_example(page, CLASSES.index(third))
    address_says(page, example=third, T="2.00")
    page.go_back()
    assert_shows(page, second, classify, 2)
    page.go_back()
    assert_shows(page, first, classify, 8)
    page.go_forward()
    assert_shows(page, second, classify, 2)


def test_an_uploaded_photo_stays_out_of_the_link_and_the_page_says_so(visit, classify):
    page = visit()
    second = other_examples(page)[0]
    choose_example(page, CLASSES.index(second))
    address_says(page, example=second)
    upload(page, EXAMPLES / "ship.png")
    address_says(page)
    page.locator("#temperature-number").fill("3")
    address_says(page, T="3.00")
    assert page.get_by_text("except for an uploaded photo").is_visible()
    page.go_back()
    assert_shows(page, second, classify, 1)


def go_back_while_a_photo_waits(page, photo):
    """Go on to an example, bring a photo whose answer is held back, and leave both by Back; returns what lets it go."""
    second = other_examples(page)[0]
    choose_example(page, CLASSES.index(second))
    address_says(page, example=second)
    wait_for_one, let_go = hold_questions(page)
    page.locator("#image input[type=file]").set_input_files(photo)
    wait_for_one()
    page.go_back()
    return let_go


def test_back_overtakes_a_photo_that_waits_for_its_answer(visit, classify):
    page = visit()
    first = example_shown(page)
    let_go = go_back_while_a_photo_waits(page, EXAMPLES / "truck.png")
    assert_shows(page, first, classify, 1)
    let_go()
    assert_shows(page, first, classify, 1)
    assert page.locator("#photo.own").count() == 0


@pytest.mark.parametrize("broken", [False, True])
def test_back_to_a_photo_overtakes_the_one_that_waits_for_its_answer(visit, tmp_path, broken):
    waiting = EXAMPLES / "truck.png"
    if broken:
        waiting = tmp_path / "broken.png"
        waiting.write_bytes((EXAMPLES / "truck.png").read_bytes()[:200])
    page = visit()
    upload(page, EXAMPLES / "ship.png")
    page.wait_for_function("history.state?.file")
    photo = table(page)
    let_go = go_back_while_a_photo_waits(page, waiting)
    page.wait_for_selector("#photo.own")
    let_go()
    assert table(page) == photo and page.locator("#problem").inner_text() == ""


def test_back_out_of_a_tour_that_glides_leads_to_the_temperature_before(visit):
    page = visit("?T=8")
    page.locator("#begin-tour").click()
    page.wait_for_function(f"{TEMPERATURE} < 8")
    page.go_back()
    page.wait_for_selector("#tour", state="hidden")
    assert table(page)["temperature"] == 8
    address_says(page, T="8.00")


def test_back_leads_to_an_uploaded_photo_and_on_past_it(visit, classify):
    page = visit()
    first = example_shown(page)
    upload(page, EXAMPLES / "ship.png")
    page.wait_for_function("history.state?.file")
    photo = table(page)
    other = "frog" if first != "frog" else "dog"
    choose_example(page, CLASSES.index(other))
    address_says(page, example=other)
    page.go_back()
    page.wait_for_selector("#photo.own")
    page.wait_for_timeout(800)  # whatever the page writes into its address has its chance
    assert table(page) == photo
    page.go_back()
    assert_shows(page, first, classify, 1)
    page.wait_for_timeout(800)
    page.go_forward()
    page.wait_for_selector("#photo.own")
    page.go_forward()
    assert_shows(page, other, classify, 1)
    assert page.evaluate("history.length") == 3


def test_after_a_reload_the_entry_of_a_photo_shows_an_example_and_back_goes_on(visit, classify):
    page = visit()
    first = example_shown(page)
    choose_example(page, CLASSES.index("deer"))
    address_says(page, example="deer")
    upload(page, EXAMPLES / "ship.png")
    page.wait_for_function("history.state?.file")
    page.reload()
    assert_shows(page, first, classify, 1)  # whose address is the photo's: it names no example
    page.go_back()
    assert_shows(page, "deer", classify, 1)


def test_what_others_put_into_the_address_stays_there_and_nonsense_does_no_harm(visit, classify):
    page = visit("?__theme=dark&example=unicorn&T=warm&order=upwards&scale=9")
    assert_shows(page, example_shown(visit()), classify, 1)
    page.locator("#temperature-number").fill("99")
    page.wait_for_function("location.search.includes('T=20.00')")
    assert parse_qs(urlsplit(page.url).query)["__theme"] == ["dark"]


def test_a_space_that_frames_the_page_is_told_the_address(visit, server):
    page = visit()
    page.evaluate(
        """(server) => {
            window.told = [];
            window.postMessage = (message, origin) => window.told.push([message.queryString, origin]);
            const frame = document.createElement('iframe');
            frame.src = server;
            frame.id = 'framed';
            document.body.append(frame);
        }""",
        server,
    )
    framed = page.frame_locator("#framed")
    framed.locator("#soft-targets-table tbody tr").first.wait_for()
    framed.locator("#temperature-number").fill("2")
    page.wait_for_function("window.told.some(([query]) => query === 'T=2.00')")
    assert ["T=2.00", "https://huggingface.co"] in page.evaluate("window.told")


def test_two_windows_of_one_visitor_do_not_disturb_each_other(visit, classify):
    one = visit()
    other = one.context.new_page()
    other.goto(one.url)
    other.wait_for_selector("#soft-targets-table tbody tr")
    one.bring_to_front()  # in a tab behind another, Chromium lets a second pass between two moves of the mouse
    choose_example(one, CLASSES.index("frog"))
    drag(one, 0.2)
    other.bring_to_front()
    upload(other, EXAMPLES / "truck.png")
    drag(other, 0.9)
    for page, name in ((one, "frog"), (other, "truck")):
        page.bring_to_front()
        shown = table(page)
        logits = classify(EXAMPLES / f"{name}.png")["models"]["teacher"]["logits"]
        assert shown["teacher"] == pytest.approx(softmax(logits, shown["temperature"]), abs=1e-6)
        assert shown["temperature"] < 2 if page is one else shown["temperature"] > 2


def save(page, selector):
    """Click on a button and read the file that it saves: its name and its content."""
    with page.expect_download() as download:
        page.locator(selector).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_the_saved_svg_holds_the_numbers_on_the_screen(visit):
    page = visit()
    drag(page, 0.4)
    shown, example = table(page), example_shown(page)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    name, content = save(page, "#save-svg")
    assert name == f"soft-targets-{example}-T{shown['temperature']:.2f}.svg"
    picture = ElementTree.fromstring(content)
    texts = [node.text for node in picture.iter(f"{SVG}text")]
    assert texts[0] == f"Soft targets of a {example_shown(page)} at T = {shown['temperature']:.2f}"
    assert texts[1].startswith("Answers at T = 1: teacher ")
    for k, label in enumerate(CLASSES):
        row = texts[texts.index(label) + 1 :][: len(ROLES)]
        assert [share(text) for text in row] == pytest.approx([shown[role][k] for role in ROLES], abs=6e-4)
    rooms_and_bars = [float(node.get("width")) for node in picture.iter(f"{SVG}rect")][1:]
    circles = [float(node.get("cx")) for node in picture.iter(f"{SVG}circle")]
    order = sorted(range(10), key=lambda k: -shown["teacher"][k])
    room, left = rooms_and_bars[0], 130
    assert [bar / room for bar in rooms_and_bars[1::2]] == pytest.approx([shown["teacher"][k] for k in order])
    for role, places in (("student", circles[::2]), ("distilled", circles[1::2])):
        assert [(place - left) / room for place in places] == pytest.approx([shown[role][k] for k in order])
    assert [url for url in requests if not url.startswith("blob:")] == []


@pytest.mark.parametrize(
    ("query", "scheme", "bright"),
    [
        pytest.param("", "light", True, marks=pytest.mark.slow),
        pytest.param("", "dark", False, marks=pytest.mark.slow),
        ("?__theme=dark", "light", False),
    ],
)
def test_the_saved_png_is_a_picture_in_the_pages_colours(visit, query, scheme, bright):
    page = visit(query, color_scheme=scheme)
    name, content = save(page, "#save-png")
    assert name == f"soft-targets-{example_shown(page)}-T1.00.png"
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    assert picture.width == 1520
    assert (sum(picture.getpixel((3, 3))) > 3 * 128) == bright
    teachers = (0x3B, 0x6F, 0xD4) if bright else (0x7D, 0x9F, 0xF0)
    colours = picture.getcolors(1 << 24)
    assert sum(count for count, pixel in colours if pixel == teachers) > 5000
    ink = [pixel for count, pixel in colours if count > 200 and abs(sum(pixel) - sum(picture.getpixel((3, 3)))) > 400]
    assert ink  # the texts stand out from the ground
