"""The page without a server, as a visitor has it: the folder that the command writes, in a browser."""

import base64
import functools
import itertools
import json
import os
import re
import shutil
import time

import numpy as np
import pytest

import kd.site.build
from kd import checkpoint
from kd.cifar10 import CLASSES
from kd.demo.examples import game_pictures
from kd.demo.omitted_class import TAB, read_omitted_class
from kd.demo.stage_view import warning
from kd.models import ROLES
from kd.photo import CENTRE, Crop, read_photo, to_network_size
from kd.results import training_sentences
from kd.site.build import game_checkpoints, make_room, no_game_section, results_html, source_of
from kd.site.runtime import fetch_runtime
from kd.studies.omitted_class import CONTROL_FOLDER, FOLDER
from tests.axe import SETTINGS, findings
from tests.benchmark_page import ISOLATION
from tests.browser import (
    EXAMPLES,
    PATIENCE,
    answered_anew,
    choose_example,
    drag,
    drawn,
    example_shown,
    opened,
    shown_at,
    softmax,
    table,
    upload,
)
from tests.pictures import fifty_pictures, picture, png_that_claims
from tests.serving import ROOT, FileServer
from train.export import main

OMITTED = checkpoint.load_config(ROOT / "checkpoints" / FOLDER)["data"]["omitted_class"]


@pytest.fixture(scope="module")
def server_logits(tiny_trio):
    """The server's logits: each network's, of an image file's crop."""

    def logits(path, crop=CENTRE):
        (by_role,) = tiny_trio.timed_logits([to_network_size(read_photo(path), crop)])
        return {role: timed.logits for role, timed in by_role.items()}

    return logits


@pytest.fixture(scope="module")
def write_site(networks, tiny, runtime):
    """Gives the command that writes the site; what takes it seconds is done once: to export each network, and npm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kd.site.build.exported", functools.cache(kd.site.build.exported))
        patch.setattr("kd.site.build.fetch_runtime", lambda to: shutil.copytree(runtime, to, dirs_exist_ok=True))
        patch.setattr("kd.demo.recordings.VALIDATION_IMAGES", 100)  # as many as these recordings are of, with pictures
        yield lambda folder: main(["--site", str(folder), "--checkpoints", str(networks)])


@pytest.fixture(scope="module")
def site(write_site, tmp_path_factory):
    """The folder that the command writes, with a runtime of several parts."""
    folder = tmp_path_factory.mktemp("site") / "dark-knowledge"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kd.site.build.MAX_SHARD_BYTES", 1_500_000)
        write_site(folder)
    return folder


@pytest.fixture(scope="module")
def game_predictions(networks, tiny):
    """What the server's game would say of a photo: each network's most probable class."""
    omitted = read_omitted_class(networks)

    def predictions(photo):
        image = to_network_size(photo)
        timed = {name: network.timed_logits([image])[0] for name, network in omitted.networks.items()}
        return {name: CLASSES[int(np.argmax(of_image.logits))] for name, of_image in timed.items()}

    return predictions


@pytest.fixture
def served(site, request):
    """A file server of the site, with the headers that a test asks for."""
    server = FileServer(site, **getattr(request, "param", {}))
    yield server
    server.stop()


@pytest.fixture
def visit_site(browser, served):
    """Opens the site in a browser that has not seen it; fails the test if a script failed."""
    contexts, errors = [], []

    def open_page(query="", worker=False, **settings):
        # The page's policy forbids eval, by which this waits for conditions.
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 1000}, "bypass_csp": True} | settings)
        contexts.append(context)
        if not worker:  # which would fetch all of it once more; the page goes on without
            context.add_init_script("navigator.serviceWorker.register = () => Promise.reject(new Error('not here'))")
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(served.address + query)
        page.wait_for_selector("#soft-targets-table tbody tr")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def logits_shown(page):
    """The logits on the page but for a constant: their mean is 0."""
    page.locator("#temperature-number").fill("20")
    shown = table(page)
    logits = {role: np.log(shown[role]) * shown["temperature"] for role in ROLES}
    return {role: each - each.mean() for role, each in logits.items()}


def apart(page, expected):
    """The largest difference of any logit on the page from those of the server."""
    shown = logits_shown(page)
    return max(np.abs(shown[role] - (np.array(expected[role]) - np.mean(expected[role]))).max() for role in ROLES)


def test_a_browser_that_gets_no_network_shows_the_examples_at_any_temperature(served, visit_site, server_logits):
    served.withheld = "/networks/"
    page = visit_site()
    for name in CLASSES[:2]:
        choose_example(page, CLASSES.index(name))
        expected = server_logits(EXAMPLES / f"{name}.png")
        for share in (0.05, 0.5, 0.95):
            drag(page, share, steps=3)
            shown = table(page)
            assert shown["classes"] == list(CLASSES)
            for role in ROLES:
                z = np.array(expected[role]) / shown["temperature"]
                assert shown[role] == pytest.approx(np.exp(z - z.max()) / np.exp(z - z.max()).sum(), abs=1e-6)


@pytest.mark.slow
def test_photos_of_all_kinds_get_the_servers_logits_and_warning(visit_site, server_logits, tiny_trio, tmp_path):
    page = visit_site()
    found, warned, text = {}, set(), warning(tiny_trio.out_of_class)["sentence"]
    for path in [*itertools.islice(fifty_pictures(tmp_path), 14), EXAMPLES / "dog.png"]:
        upload(page, path)
        expected = server_logits(path)
        found[path.name] = apart(page, expected)
        warns = tiny_trio.fits_no_class(expected["teacher"], to_network_size(read_photo(path)))
        warned.add(warns)
        assert page.locator("#out-of-class").inner_text() == (f"{text} How sure is this?" if warns else ""), path.name
    assert warned == {True, False}
    assert {name: far for name, far in found.items() if far > 0.05} == {}


def test_the_teacher_comes_after_the_students_and_a_bar_tells_how_much_is_there(visit_site):
    held = []
    page = visit_site()
    page.route("**/networks/teacher-*", lambda route: held.append(route))
    asked = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2].partition("-")[0]))
    page.reload()
    bar = page.locator("#networks progress")
    while not held:
        page.wait_for_timeout(50)
    assert asked.index("teacher") > max(asked.index("student"), asked.index("distilled"))
    page.wait_for_function("document.querySelector('#networks progress').value > 0.5")
    assert bar.is_visible() and bar.evaluate("(bar) => bar.value") < 1
    assert " MB" in page.locator("#networks .megabytes").inner_text()
    assert "no photo leaves it" in page.locator("#networks").inner_text()
    for route in held:
        route.continue_()
    page.wait_for_selector("#networks progress", state="hidden")


@pytest.mark.slow
def test_what_has_come_once_is_not_fetched_again(served, visit_site, server_logits):
    page = visit_site(worker=True)
    upload(page, EXAMPLES / "cat.png")
    served.withheld = "/networks/"
    page.reload()
    upload(page, EXAMPLES / "bird.png")
    assert apart(page, server_logits(EXAMPLES / "bird.png")) < 0.05


def test_a_picture_of_the_camera_is_answered_and_the_camera_given_back(visit_site):
    page = visit_site()
    page.evaluate(
        """() => {
            const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
            const context = canvas.getContext("2d");
            setInterval(() => { context.fillStyle = "#3060c0"; context.fillRect(0, 0, 64, 48); }, 20);
            navigator.mediaDevices.getUserMedia = async () => (window.stream = canvas.captureStream());
        }"""
    )
    page.get_by_role("button", name="Capture from camera").click()
    page.wait_for_function("document.querySelector('#image video').videoWidth === 64")
    answered_anew(page, page.get_by_role("button", name="Take it").click)
    pixel = page.locator("#crop img").evaluate(
        """async (image) => {
            await image.decode();
            const context = new OffscreenCanvas(32, 32).getContext("2d");
            context.drawImage(image, 0, 0);
            return [...context.getImageData(16, 16, 1, 1).data.slice(0, 3)];
        }"""
    )
    assert pixel == pytest.approx([0x30, 0x60, 0xC0], abs=6)  # video has its own colours
    assert page.evaluate("window.stream.getTracks().every((track) => track.readyState === 'ended')")
    assert page.locator("#photo.own").is_visible() and not page.locator("#image video").is_visible()


def test_what_was_recorded_and_does_not_come_is_told_at_once_and_can_be_asked_for_again(served, visit_site):
    page = visit_site("?T=4")
    served.withheld = "/recordings.json"
    page.locator("#map > summary").click()
    page.locator("#map .waiting", has_text="It did not load").wait_for(timeout=10_000)  # the stage itself waits for 20
    served.withheld = None
    for _ in range(2):
        page.locator("#map > summary").click()
    assert len(drawn(page, 4)) == 45


def test_map_and_replay_show_what_was_recorded(visit_site, tiny_trio, server_logits):
    page = opened(visit_site("?T=4"), "map")
    lines = drawn(page, 4)
    assert len(lines) == 45 and max(lines.values()) > min(lines.values())
    opened(page, "replay")
    name = example_shown(page)
    for position, share in ((3, 1), (1, 1 / 3)):
        page.locator("#replay-slider").fill(str(position))
        shown = shown_at(page, position)
        for role in ROLES[1:]:
            logits = np.array(server_logits(EXAMPLES / f"{name}.png")[role]) * share
            assert shown[role] == pytest.approx(softmax(logits, 4), abs=0.02)  # stored in 8 bits


def test_a_link_leads_into_the_tour_and_its_last_step_to_the_game(visit_site):
    page = visit_site("?tour=4", reduced_motion="reduce")
    assert page.locator("#tour-text").inner_text().startswith("4 of 5")
    page.keyboard.press("ArrowRight")
    assert "5 of 5: The class it never saw." in page.locator("#tour-text").inner_text()
    page.get_by_role("button", name="Bet on it").click()
    page.wait_for_function("document.activeElement.matches('#game input')")
    assert page.get_by_role("tab", name=TAB).get_attribute("aria-selected") == "true"
    assert not page.locator("#stage").is_visible()
    page.get_by_role("tab", name=TAB).focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#results summary").first.is_visible() and not page.locator("#game").is_visible()


# The game


@pytest.fixture
def visit_game(visit_site):
    """Opens the tab of the game."""

    def open_page(**settings):
        page = visit_site(reduced_motion="reduce", **settings)
        page.get_by_role("tab", name=TAB).click()
        page.wait_for_selector("#cards li")
        return page

    return open_page


def said_of_own(page):
    """What each network says of the visitor's own picture, by its name, once it is answered."""
    page.wait_for_selector("#own-answer img")
    said = page.locator("#own-answer .said")
    names = [text.split(",")[0] for text in said.locator("small").all_inner_texts()]
    return dict(zip(names, said.locator("b").all_inner_texts(), strict=True))


def bring_to_game(page, path):
    page.evaluate("document.querySelector('#own-answer').replaceChildren()")
    page.locator("#game-image input[type=file]").set_input_files(path)


def test_the_games_cards_need_no_network_and_say_what_the_server_says(served, visit_game, game_predictions):
    served.withheld = "/networks/"
    page = visit_game()
    _, pictures = game_pictures(OMITTED, ROOT / "checkpoints")
    page.locator("#bet label").nth(2).click()
    for shown in pictures:
        page.locator("#turn").click()
        said = page.locator("#cards .up .said b").all_inner_texts()
        expected = [game_predictions(shown)[name] for name in ("student", "control")]
        assert [text.split()[0] for text in said] == expected
    assert page.locator("#measured").is_visible() and "you bet" in page.locator("#score").inner_text()


def test_both_networks_of_the_game_answer_a_visitors_picture_in_the_browser(visit_game, game_predictions, tmp_path):
    page = visit_game()
    picture((300, 200)).save(tmp_path / "photo.jpg")
    for path in (EXAMPLES / "ship.png", tmp_path / "photo.jpg", EXAMPLES / "frog.png"):
        bring_to_game(page, path)
        assert said_of_own(page) == game_predictions(read_photo(path))
    page.get_by_role("button", name="Remove the picture").click()
    assert page.locator("#own-answer").inner_text() == ""
    (tmp_path / "bad.png").write_text("no image")
    bring_to_game(page, tmp_path / "bad.png")
    page.get_by_text("This file is not an image that can be read").wait_for()
    assert page.locator("#own-answer img").count() == 0
    content = base64.b64encode((EXAMPLES / "cat.png").read_bytes()).decode()
    paste(page, "paste", content)  # goes to the tab that is open
    assert said_of_own(page) == game_predictions(read_photo(EXAMPLES / "cat.png"))
    assert page.locator("#game").is_visible()


@pytest.mark.slow
def test_where_the_control_does_not_ship_the_game_is_the_students_alone(browser, site, networks, tiny, tmp_path):
    for name in (FOLDER, "studies", "teacher"):
        (tmp_path / name).symlink_to(networks / name)
    alone = read_omitted_class(tmp_path)
    assert game_checkpoints(alone, tmp_path) == {"student": tmp_path / FOLDER}
    folder = shutil.copytree(site, tmp_path / "site")
    before, data, after = re.split(
        r'(?<=<script id="site" type="application/json">)(.*)(?=</script>)', (folder / "index.html").read_text("utf-8")
    )
    data = json.loads(data)
    del data["game"]["networks"]["control"]
    for card in data["game"]["props"]["cards"]:
        del card["logits"]["control"]
    (folder / "index.html").write_text(before + json.dumps(data).replace("<", "\\u003c") + after, "utf-8")
    server = FileServer(folder)
    page = browser.new_page(bypass_csp=True)
    page.set_default_timeout(PATIENCE)
    page.goto(server.address)
    page.get_by_role("tab", name=TAB).click()
    page.wait_for_selector("#cards li")
    bring_to_game(page, EXAMPLES / "ship.png")
    assert said_of_own(page).keys() == {"student"}
    page.close()
    server.stop()


@pytest.mark.slow
def test_a_network_of_the_game_that_does_not_come_gets_a_sentence_and_the_next_picture_tries_again(
    served, visit_game, game_predictions
):
    served.withheld = f"/networks/{CONTROL_FOLDER}"
    page = visit_game()
    bring_to_game(page, EXAMPLES / "ship.png")
    page.locator("#own-answer", has_text="check the connection and try again").wait_for()
    served.withheld = None
    bring_to_game(page, EXAMPLES / "ship.png")
    assert said_of_own(page) == game_predictions(read_photo(EXAMPLES / "ship.png"))


def test_another_square_of_a_photo_is_answered_as_on_the_server(visit_site, server_logits, tmp_path):
    picture((300, 200)).save(tmp_path / "photo.png")
    page = visit_site()
    upload(page, tmp_path / "photo.png")
    page.locator("#crop").focus()
    answered_anew(page, lambda: page.keyboard.press("+"))
    answered_anew(page, lambda: page.keyboard.press("ArrowLeft"))
    assert apart(page, server_logits(tmp_path / "photo.png", Crop(across=0.45, down=0.5, side=1 / 1.15))) < 0.05
    answered_anew(page, page.locator("#whole-photo").click)
    assert apart(page, server_logits(tmp_path / "photo.png", None)) < 0.05


@pytest.mark.parametrize("overtaken_by", ["an example", pytest.param("a photo", marks=pytest.mark.slow)])
def test_a_square_that_was_overtaken_keeps_no_later_one_from_being_answered(visit_site, tmp_path, overtaken_by):
    picture((300, 200)).save(tmp_path / "photo.png")
    page = visit_site()
    page.evaluate(
        """() => {
            const send = Worker.prototype.postMessage;
            Worker.prototype.postMessage = function (message) {
                if (!window.deaf || message.ask === undefined) send.call(this, message);
            };
        }"""
    )
    upload(page, tmp_path / "photo.png")
    page.evaluate("window.deaf = true")
    page.locator("#crop").focus()
    page.keyboard.press("+")
    page.wait_for_timeout(300)  # until the square has been asked for
    page.evaluate("window.deaf = false")
    if overtaken_by == "an example":
        choose_example(page, CLASSES.index("deer"))
    upload(page, EXAMPLES / "cat.png")
    page.locator("#crop").focus()
    answered_anew(page, lambda: page.keyboard.press("+"))


def paste(page, kind, content):
    """Paste a file, or drop it on the page; `kind` is the event's name, the content is in base64."""
    page.evaluate(
        """([kind, content]) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "photo.png", { type: "image/png" }));
            document.body.dispatchEvent(kind === "paste"
                ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true, cancelable: true })
                : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        [kind, content],
    )


def test_a_photo_can_be_pasted_or_dropped_anywhere(visit_site, server_logits):
    page = visit_site()
    page.wait_for_selector("#networks progress", state="hidden")
    for kind, name in (("paste", "frog"), ("drop", "ship")):
        content = base64.b64encode((EXAMPLES / f"{name}.png").read_bytes()).decode()
        answered_anew(page, lambda kind=kind, content=content: paste(page, kind, content))
        assert apart(page, server_logits(EXAMPLES / f"{name}.png")) < 0.05


def test_a_photo_can_be_removed_and_is_there_again_with_the_browsers_back(visit_site):
    page = visit_site()
    remove = page.get_by_role("button", name="Remove the photo")
    assert not remove.is_visible()
    upload(page, EXAMPLES / "cat.png")
    page.wait_for_function("history.state?.file")
    remove.click()
    page.get_by_text("Bring a photo").wait_for()
    assert not remove.is_visible()
    choose_example(page, CLASSES.index("truck"))
    page.wait_for_function("location.search.includes('truck')")
    assert not remove.is_visible()
    answered_anew(page, page.go_back)
    assert remove.is_visible() and example_shown(page) is None


def hold_calls(page, holder, call):
    """Hold calls of a function back until `letGo`; `isHeld` tells whether there was one."""
    page.evaluate(
        """([holder, call]) => {
            const real = holder[call], held = [];
            holder[call] = function (...given) {
                return new Promise((done) => held.push(() => done(real.apply(this, given))));
            };
            window.isHeld = () => held.length > 0;
            window.letGo = () => { holder[call] = real; for (const each of held) each(); };
        }""",
        [page.evaluate_handle(holder), call],
    )


def test_back_overtakes_a_photo_that_is_being_answered_and_the_square_goes_on(visit_site):
    page = visit_site()
    upload(page, EXAMPLES / "ship.png")
    page.wait_for_function("history.state?.file")
    photo = table(page)
    choose_example(page, CLASSES.index("truck"))
    page.wait_for_function("location.search.includes('truck')")
    hold_calls(page, "Worker.prototype", "postMessage")
    page.locator("#image input[type=file]").set_input_files(EXAMPLES / "cat.png")
    page.wait_for_function("window.isHeld()")
    answered_anew(page, page.go_back)
    assert table(page) == photo
    page.evaluate("window.letGo()")
    page.wait_for_timeout(600)  # an answer takes a third of that
    assert table(page) == photo
    page.locator("#crop").focus()
    answered_anew(page, lambda: page.keyboard.press("+"))


@pytest.mark.parametrize(
    ("holder", "call"),
    [
        pytest.param("window", "createImageBitmap", id="read", marks=pytest.mark.slow),
        pytest.param("Worker.prototype", "postMessage", id="answered"),
    ],
)
def test_a_photo_that_is_removed_while_another_one_comes_leaves_an_empty_stage(visit_site, holder, call):
    page = visit_site()
    upload(page, EXAMPLES / "ship.png")
    hold_calls(page, holder, call)
    page.locator("#image input[type=file]").set_input_files(EXAMPLES / "truck.png")
    page.wait_for_function("window.isHeld()")
    page.get_by_role("button", name="Remove the photo").click()
    page.wait_for_selector("#answers", state="hidden")
    page.evaluate("window.letGo()")
    page.wait_for_timeout(600)  # an answer takes a third of that
    assert not page.locator("#answers").is_visible() and page.locator("#stage .hint").is_visible()
    upload(page, EXAMPLES / "truck.png")  # the next one is answered as ever


@pytest.mark.parametrize(
    "served",
    [pytest.param({}, id="one thread"), pytest.param(ISOLATION, id="several threads", marks=pytest.mark.slow)],
    indirect=True,
)
def test_no_request_carries_anything_and_none_could_go_elsewhere(served, visit_site, site, request):
    page, isolated = visit_site(worker=True, bypass_csp=False), "several" in request.node.callspec.id
    assert page.evaluate("crossOriginIsolated") == isolated
    requests = []
    page.context.on("request", lambda request: requests.append(request))
    page.reload()
    page.locator("#image input[type=file]").set_input_files(EXAMPLES / "cat.png")
    page.wait_for_selector("#photo.own")
    page.get_by_role("tab", name=TAB).click()
    page.locator("#game-image input[type=file]").set_input_files(EXAMPLES / "ship.png")
    said_of_own(page)
    assert requests
    for sent in requests:
        assert sent.method == "GET" and not sent.post_data
        assert sent.url.startswith((served.address, "data:", "blob:")), sent.url
    assert "no photo leaves it" in page.locator("#networks").inner_text()
    elsewhere = FileServer(site)
    page.evaluate("address => fetch(address, { mode: 'no-cors' }).catch(() => {})", elsewhere.address)
    # A worker, in which the networks and somebody else's runtime are, is bound by the same policy.
    refused = "address => fetch(address, { mode: 'no-cors' }).then(() => false, () => true)"
    threads = [worker for worker in page.workers if worker.url.endswith("ort-wasm-simd-threaded.js")]
    assert bool(threads) == (isolated and (os.cpu_count() or 1) > 1)
    workers = [worker for worker in page.workers if worker not in threads]  # which compute, and listen to nobody else
    assert workers and all(worker.evaluate(refused, elsewhere.address) for worker in workers)
    elsewhere.stop()
    assert elsewhere.sent == 0


def test_a_damaged_results_file_costs_the_page_its_own_part_and_a_sentence(tmp_path, caplog):
    for name in ("results.json", "studies/main.json", "studies/omitted-class.json", "studies/seed-project.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / "checkpoints" / name, tmp_path / name)
    (tmp_path / "results.json").write_text("[")
    (tmp_path / "studies" / "main.json").write_text("{")
    study = json.loads((tmp_path / "studies" / "seed-project.json").read_text())
    study["comparisons"][0]["metric"] = "beauty"  # can be read, and not be told
    (tmp_path / "studies" / "seed-project.json").write_text(json.dumps(study))
    html = results_html(tmp_path, tmp_path)
    for name in ("results.json", "main.json", "seed-project.json"):
        assert f"<code>{name}</code> cannot be shown here" in html and name in caplog.text, name
    assert "A student knows a class that it was never shown" in html


def test_what_is_missing_is_told_on_the_page_too(tmp_path):
    html = results_html(tmp_path, tmp_path)
    assert "No results have been measured" in html and "No study has been carried out" in html
    assert "<p>It is &lt;left&gt; out.</p>" in no_game_section("It is <left> out.")


def wait_until_kept(page, networks, *others):
    """Wait until the browser keeps these networks, and other files by what they begin with."""
    names = [*(f"networks/{name}-1" for name in networks), *others]
    deadline = time.monotonic() + PATIENCE / 1000
    while True:
        kept = page.evaluate(
            """async () => {
                const names = await caches.keys(), kept = [];
                for (const name of names) kept.push(...await (await caches.open(name)).keys());
                return kept.map(({ url }) => url);
            }"""
        )
        if all(any(f"/{name}" in url for url in kept) for name in names):
            return
        assert time.monotonic() < deadline, kept
        page.wait_for_timeout(100)


def test_after_the_first_visit_all_of_it_works_without_a_connection(
    served, visit_site, server_logits, game_predictions
):
    page = visit_site(worker=True)
    upload(page, EXAMPLES / "cat.png")
    wait_until_kept(page, [*ROLES, FOLDER, CONTROL_FOLDER], "figures/recorded-")
    served.stop()
    page.goto(served.address + "?example=dog&T=2.00")
    page.wait_for_selector("#soft-targets-table tbody tr")
    assert example_shown(page) == "dog" and table(page)["temperature"] == 2
    upload(page, EXAMPLES / "bird.png")
    assert apart(page, server_logits(EXAMPLES / "bird.png")) < 0.05
    opened(page, "map")
    drawn(page, table(page)["temperature"])
    page.locator("#map-pair").select_option(index=1)
    page.wait_for_function("document.querySelector('#map-line .waiting').textContent === ''")
    page.get_by_role("tab", name=TAB).click()
    bring_to_game(page, EXAMPLES / "ship.png")
    assert said_of_own(page) == game_predictions(read_photo(EXAMPLES / "ship.png"))
    page.get_by_role("tab", name="Results").click()
    page.locator("#results img").first.scroll_into_view_if_needed()  # which makes it load
    page.wait_for_function("document.querySelector('#results img').naturalWidth > 0")


@pytest.mark.slow
def test_a_host_that_answers_with_errors_does_not_hide_the_page_that_is_kept(served, visit_site, server_logits):
    page = visit_site(worker=True)
    upload(page, EXAMPLES / "cat.png")
    wait_until_kept(page, ROLES)
    served.withheld = "/"
    page.goto(served.address + "?example=dog")
    page.wait_for_selector("#soft-targets-table tbody tr")
    assert example_shown(page) == "dog"
    upload(page, EXAMPLES / "bird.png")
    assert apart(page, server_logits(EXAMPLES / "bird.png")) < 0.05


def test_a_file_that_is_no_photo_gets_a_sentence_and_the_examples_go_on(visit_site, server_logits, tmp_path):
    page = visit_site()
    for content, words in [(b"", "empty"), (b"no picture", "not an image"), (png_that_claims(9000, 9000), "image")]:
        (tmp_path / "file").write_bytes(content)
        page.locator("#image input[type=file]").set_input_files(tmp_path / "file")
        page.wait_for_function("words => document.querySelector('#problem').textContent.includes(words)", arg=words)
        assert not page.locator("#answers").is_visible()
        choose_example(page, CLASSES.index("deer"))
        assert page.locator("#problem").inner_text() == ""
        assert apart(page, server_logits(EXAMPLES / "deer.png")) < 1e-3
    upload(page, EXAMPLES / "cat.png")
    assert apart(page, server_logits(EXAMPLES / "cat.png")) < 0.05


@pytest.mark.slow
def test_while_the_teacher_does_not_come_the_students_predict_and_another_try_brings_it(
    served, visit_site, server_logits
):
    served.withheld = "teacher"
    page = visit_site()
    page.locator("#image input[type=file]").set_input_files(EXAMPLES / "cat.png")
    page.get_by_role("button", name="Try again").wait_for()
    said = page.locator("#networks").inner_text()
    assert "check the connection" in said and "no photo leaves it" in said
    page.get_by_text("a network is missing").wait_for()
    expected = server_logits(EXAMPLES / "cat.png")
    page.locator("#arriving .answer").nth(1).wait_for()
    assert page.locator("#arriving .name").all_inner_texts() == ["Student alone", "Distilled student"]
    labels = [CLASSES[int(np.argmax(expected[role]))] for role in ROLES[1:]]
    assert page.locator("#arriving .label").all_inner_texts() == labels
    served.withheld = None
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("#answers .answer")
    assert not page.locator("#arriving").is_visible()
    assert apart(page, expected) < 0.05


@pytest.mark.slow
def test_an_example_that_is_chosen_overtakes_a_photo_that_waits(served, visit_site):
    served.withheld = "teacher"
    page = visit_site()
    page.locator("#image input[type=file]").set_input_files(EXAMPLES / "cat.png")
    page.locator("#arriving .answer").nth(1).wait_for()
    choose_example(page, CLASSES.index("deer"))
    served.withheld = None
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("#networks progress", state="hidden")
    assert example_shown(page) == "deer" and page.locator("#photo.own").count() == 0


@pytest.mark.slow
def test_a_browser_that_is_too_old_gets_a_sentence_and_the_examples(visit_site, site):
    script = "WebAssembly.validate = () => false;\n" + (site / "networks.js").read_text("utf-8")
    page = visit_site()
    page.route("**/networks.js", lambda route: route.fulfill(body=script, content_type="text/javascript"))
    page.reload()
    page.get_by_text("Please use a newer browser").wait_for()
    choose_example(page, CLASSES.index("deer"))
    assert table(page)["teacher"]
    page.get_by_role("tab", name=TAB).click()
    bring_to_game(page, EXAMPLES / "ship.png")
    page.locator("#own-answer", has_text="Please use a newer browser").wait_for()
    page.locator("#bet label").first.click()
    page.locator("#turn").click()
    page.locator("#cards .up img").wait_for()  # the card turns


def test_without_a_camera_a_sentence_says_so(visit_site):
    page = visit_site()
    page.get_by_role("button", name="Capture from camera").click()
    page.get_by_text("The camera cannot be used").wait_for()
    choose_example(page, CLASSES.index("deer"))
    assert page.locator("#photo").is_visible()


def test_on_a_tablet_the_ways_in_lie_below_the_photo_and_nothing_is_cut_off(visit_site):
    page = visit_site(viewport={"width": 800, "height": 1000})
    photo, ways = (page.locator(part).bounding_box() for part in ("#photo", "#image .ways"))
    assert ways["y"] >= photo["y"] + photo["height"] - 1
    assert not page.locator("#image .text").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 800


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_axe_finds_nothing_serious_on_the_page_without_a_server(visit_site, setting):
    page = visit_site(**SETTINGS[setting])
    assert findings(page) == []
    upload(page, EXAMPLES / "ship.png")
    assert findings(page) == [], "a visitor's photo"
    page.get_by_role("tab", name=TAB).click()
    bring_to_game(page, EXAMPLES / "ship.png")
    said_of_own(page)
    page.locator("#bet label").first.click()
    page.locator("#turn").click()
    assert findings(page) == [], "the game"
    page.get_by_role("tab", name="Results").click()
    assert findings(page) == [], "the results"
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_the_folder_is_a_static_space_of_small_files(site):
    front_matter = (site / "README.md").read_text("utf-8").split("---")[1]
    assert "\nsdk: static\n" in front_matter and "\napp_file: index.html\n" in front_matter
    files = {path.relative_to(site).as_posix(): path.stat().st_size for path in site.rglob("*") if path.is_file()}
    assert max(files.values()) < 10_000_000
    lists = (site / "service-worker.js").read_text("utf-8").splitlines()[:2]
    kept = {name for line in lists for name in json.loads(line.split(" = ")[1].rstrip(";"))}
    assert kept == {"./", *files} - {"README.md", "service-worker.js"}
    page = (site / "index.html").read_text("utf-8")
    assert '<th style="text-align:right">test accuracy</th>' in page
    assert 'src="figures/main-accuracy.svg"' in page and "<!-- " not in page.split("</head>")[1]


@pytest.mark.slow
def test_a_folder_of_git_is_written_to_and_stays_whole_where_the_page_cannot_be_written_anew(
    write_site, tmp_path, monkeypatch
):
    folder = tmp_path / "space"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "config").write_text("mine")
    write_site(folder)
    assert ".git" not in (folder / "service-worker.js").read_text("utf-8")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("kd.site.build.fetch_runtime", fetch_runtime)
    with pytest.raises(SystemExit, match="install Node.js"):
        write_site(folder)
    monkeypatch.undo()
    monkeypatch.setattr("kd.site.build.exported", kd.site.build.exported.__wrapped__)
    monkeypatch.setattr("kd.site.build.MAX_APART", -1)
    with pytest.raises(SystemExit, match="cannot be exported in half precision"):
        write_site(folder)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["letter.txt", "service-worker.js"])
def test_a_folder_with_other_files_is_left_alone(networks, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(SystemExit, match="holds other files"):
        main(["--site", str(tmp_path), "--checkpoints", str(networks)])
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_script_of_an_earlier_version_goes(tmp_path):
    folder = tmp_path / "site"
    make_room(folder)
    (folder / "game.js").write_text("of an earlier game")
    make_room(folder)
    assert [path.name for path in folder.iterdir()] == ["service-worker.js"]


def test_the_folder_says_whose_pictures_it_holds(site):
    assert "They are CIFAR-10's (A. Krizhevsky" in (site / "README.md").read_text("utf-8")
    assert "They are pictures of scikit-learn's digits" in source_of("scikit-learn's digits")


def test_the_footer_tells_the_training_as_the_results_do(site, networks):
    results = json.loads((networks / "results.json").read_text())
    trained = training_sentences(results["models"], results["another_teacher"])
    footer = (site / "index.html").read_text("utf-8")
    assert re.sub("<[^>]*>", "", footer).count(trained.replace("`", "")) == 1


@pytest.mark.parametrize("arguments", [[], ["checkpoints/student"], ["checkpoints/student", "--site", "site"]])
def test_the_command_wants_one_network_and_its_output_or_a_site(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "--site" in capsys.readouterr().err


# The worker


@pytest.fixture
def messages(site):
    """What the worker is told of the runtime, and of the student."""
    page = (site / "index.html").read_text("utf-8")
    data = json.loads(re.search(r'<script id="site" type="application/json">(.*)</script>', page)[1])
    return {"runtime": data["runtime"]}, {"load": "student", **data["networks"]["student"]}


@pytest.fixture
def worker(visit_site):
    """Starts the worker afresh and tells it things; returns what it tells until so many questions are done."""
    page = visit_site()

    def talk(messages, questions):
        return page.evaluate(
            """([messages, questions]) => new Promise((done) => {
                globalThis.worker?.terminate();
                globalThis.worker = new Worker("networks.js", { type: "module" });
                const told = [];
                worker.onmessage = ({ data }) => {
                    told.push(data);
                    if (told.filter((each) => each.asked !== undefined || each.failed).length === questions) done(told);
                };
                for (const each of messages) worker.postMessage(each);
            })""",
            [messages, questions],
        )

    return talk


def test_progress_is_told_and_a_question_that_waits_is_answered_when_the_network_is_there(messages, worker):
    runtime, load = messages
    told = worker([runtime, {"ask": 7, "pixels": [0] * 3072}, load], 1)
    received = [each["received"] for each in told if each.get("loading") == "student"]
    assert received == sorted(received) and received[-1] == load["bytes"]
    assert told[-2] == {"ready": "student"}
    assert (told[-1]["asked"], told[-1]["role"], len(told[-1]["logits"])) == (7, "student", 10)
    assert told[-1]["milliseconds"] > 0


def test_a_network_that_fails_gets_a_sentence_and_the_others_go_on(messages, worker, site):
    runtime, load = messages
    asked = [
        runtime,
        {"load": "teacher", "parts": ["nowhere"], "bytes": 10},
        {"load": "distilled", "parts": ["site.css"], "bytes": (site / "site.css").stat().st_size},
        load,
        {"ask": 1, "pixels": [0] * 3072},
    ]
    told = worker(asked, 3)
    problems = {each["failed"]: each["problem"] for each in told if "failed" in each}
    assert problems.keys() == {"teacher", "distilled"}
    assert "check the connection" in problems["teacher"] and "damaged" in problems["distilled"]
    assert told[-1]["role"] == "student" and "asked" in told[-1]
