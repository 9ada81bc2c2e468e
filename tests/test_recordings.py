"""The two views over recordings: the map of classes under the temperature, the replay of the training, in Chromium."""

import shutil
import statistics

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from kd.cifar10 import CLASSES
from kd.classifier import Classifier
from kd.demo.examples import RECORDED
from kd.demo.recordings import read_recorded
from kd.demo.stage_view import stage_view
from kd.models import ROLES
from kd.recording import RECORDING, moment, read_recording, write_recording
from tests.axe import SETTINGS, findings
from tests.browser import EXAMPLES, VALUES, drawn, note_changes, opened, share, shown_at, softmax, table, upload
from tests.serving import ROOT

CHECKPOINTS = ROOT / "checkpoints"
STUDENTS = ROLES[1:]
EPOCHS = [0, 0.25, 1, 2, 3]
PIXELS = 100  # of a line's thickness, for a probability of 1


def last_logits(role):
    """What is recorded of a shipped network as it is, float, (510, 10)."""
    recording = read_recording(CHECKPOINTS / role / RECORDING)
    return (recording["logits"][-1] * recording["scale"][-1]).double()


def written(folder, role, epochs=EPOCHS, seed=0):
    """Write a recording of a training that ends with the shipped network; each moment's logits are noise before."""
    generator, last, moments = torch.Generator().manual_seed(seed), last_logits(role), []
    for epoch in epochs:
        logits = last if epoch == epochs[-1] else 3 * torch.randn(last.shape, generator=generator)
        moments.append(moment(logits, epoch, torch.nan if epoch < 1 else epoch / 10 + seed / 100))
    write_recording(moments, folder / role / RECORDING)


def means(role, temperature):
    """What a network gives to each class on the images of each, float, (10, 10)."""
    return (last_logits(role)[10:] / temperature).softmax(dim=1).view(10, -1, 10).mean(dim=1)


def thickness(role, temperature):
    """The pixels of each line, by the two classes."""
    mean = means(role, temperature)
    both = (mean + mean.T) / 2
    return {f"{CLASSES[i]}-{CLASSES[j]}": both[i, j].item() * PIXELS for i in range(10) for j in range(i + 1, 10)}


def thickest_pair():
    """The two classes of the thickest line, of the teacher at T = 4, in class order."""
    lines = thickness("teacher", 4)
    return max(lines, key=lines.get).split("-")


def kind_of_sentence(lines):
    """How the map's sentence begins to tell these lines, pixels by the two classes."""
    animals = set(CLASSES[2:8])
    akin = [width for pair, width in lines.items() if len(animals & set(pair.split("-"))) != 1]
    others = [width for pair, width in lines.items() if len(animals & set(pair.split("-"))) == 1]
    mean = statistics.fmean(lines.values())
    if mean / PIXELS < 1 / 30:
        return "are nearly islands"
    if statistics.pstdev(lines.values()) < mean / 5:
        return "one grey ball"
    return "kinship shows" if statistics.fmean(akin) > 1.2 * statistics.fmean(others) else "no kinship"


# What there is to show


@pytest.fixture
def shown_examples():
    """What the stage shows of the examples with the shipped networks."""
    logits = {role: last_logits(role)[:10].tolist() for role in ROLES}
    return [{"classes": CLASSES, "models": {role: {"logits": logits[role][k]} for role in ROLES}} for k in range(10)]


@pytest.fixture
def folder(tmp_path):
    for role in ROLES:
        (tmp_path / role).mkdir()
        shutil.copyfile(CHECKPOINTS / role / RECORDING, tmp_path / role / RECORDING)
    return tmp_path


def test_a_replay_wants_the_same_moments_of_both_students(folder, shown_examples):
    written(folder, "student")
    for epochs in ([0, 0.25, 1, 2, 4], EPOCHS[1:], [3]):
        written(folder, "distilled", epochs)
        recorded = read_recorded(folder, shown_examples)
        assert recorded.views["map"].keys() == set(ROLES)
        assert recorded.views["replay"] is None
        assert "python -m train.distill --record" in recorded.missing[-1]
    written(folder, "distilled")
    recorded = read_recorded(folder, shown_examples)
    assert recorded.views["replay"]["epochs"] == EPOCHS
    assert recorded.missing == []


@pytest.mark.parametrize(
    "damage", ["missing", "cut off", "too few images", "numbers without images", "whole numbers", "no number"]
)
def test_without_a_recording_that_can_be_used_the_log_says_which_command_makes_it(folder, shown_examples, damage):
    path = folder / "student" / RECORDING
    found = read_recording(path)
    if damage == "missing":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:900])
    elif damage == "numbers without images":
        save_file(found | {"logits": torch.zeros(3, dtype=torch.int8)}, path)
    elif damage == "whole numbers":
        save_file(found | {"scale": found["scale"].to(torch.int8)}, path)
    elif damage == "no number":
        save_file(found | {"scale": found["scale"] * torch.nan}, path)
    else:
        write_recording(
            [{name: tensor[0][:12] if name == "logits" else tensor[0] for name, tensor in found.items()}], path
        )
    recorded = read_recorded(folder, shown_examples)
    assert recorded.views["map"].keys() == {"teacher", "distilled"}
    assert f"python -m train.record {folder / 'student'}" in recorded.missing[0]


def test_a_recording_of_another_network_is_not_shown_for_this_one(folder, shown_examples):
    shutil.copyfile(folder / "teacher" / RECORDING, folder / "student" / RECORDING)
    recorded = read_recorded(folder, shown_examples)
    assert recorded.views["map"].keys() == {"teacher", "distilled"}
    assert "does not fit the network beside it" in recorded.missing[0]


def test_of_other_classes_nobody_is_told_to_record_what_would_not_be_shown(tmp_path, shown_examples):
    others = [example | {"classes": CLASSES[::-1]} for example in shown_examples]
    recorded = read_recorded(tmp_path, others)
    assert recorded.views == {"map": {}, "replay": None}
    assert "train.record" not in "".join(recorded.missing)


# The map


def test_lines_are_as_thick_as_two_classes_are_taken_for_one_another_at_any_temperature(visit):
    page = opened(visit(), "map")
    for temperature in (1, 4, 20):
        page.locator("#temperature-number").fill(str(temperature))
        expected = thickness("teacher", temperature)
        assert drawn(page, temperature) == pytest.approx(expected, abs=2e-3)
        assert kind_of_sentence(expected) in page.locator("#map-sentence").inner_text()
        thickest = max(expected, key=expected.get).replace("-", " – ")
        assert thickest in page.locator("#map-sentence").inner_text()
    for name, role in (("Student alone", "student"), ("Distilled student", "distilled")):
        page.locator("#map-networks").get_by_role("button", name=name).click()
        page.wait_for_function("(role) => document.querySelector('#map').dataset.role === role", arg=role)
        table(page)  # two frames later
        assert drawn(page, 20) == pytest.approx(thickness(role, 20), abs=2e-3)


def test_dragging_the_maps_own_slider_moves_the_chart_too_and_asks_the_server_nothing(visit):
    page = opened(visit(viewport={"width": 390, "height": 844}), "map")
    drawn(page, 1)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    box = page.locator("#map-slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.2, middle)
    page.mouse.down()
    for place in (0.4, 0.6, 0.8):
        page.mouse.move(box["x"] + box["width"] * place, middle, steps=8)
        temperature = table(page)["temperature"]
        assert drawn(page, temperature) == pytest.approx(thickness("teacher", temperature), abs=2e-3)
    page.mouse.up()
    assert requests == []
    assert page.locator("#map-picture").bounding_box()["y"] > box["y"]  # the slider stays above it, in sight
    assert temperature > 8


def most_taken(role, temperature, of, to):
    """The recorded images of a class to which a network gives most of another: places in the class, probabilities."""
    p = (last_logits(role)[10:] / temperature).softmax(dim=1).view(10, -1, 10)[of]
    places = p[:, to].argsort(descending=True, stable=True)[:6]
    return places.tolist(), p[places]


def images_open(page):
    """For each of the two lists of an open line its items: the place in the class, the shares by class, the answer."""
    table(page)
    return page.locator("#map-line .confused").evaluate_all(
        """lists => lists.map((list) => [...list.querySelectorAll("li")].map((item) => ({
            place: +item.dataset.place,
            shares: Object.fromEntries([...item.querySelectorAll("[data-class]")].map((share) => [share.dataset.class, +share.dataset.value])),
            answer: item.querySelector("b").dataset.class,
            truth: item.querySelector("[role=img]").ariaLabel,
        })))"""  # noqa: E501
    )


def assert_images(page, role, temperature, one, other):
    for items, (of, to) in zip(images_open(page), [(one, other), (other, one)], strict=True):
        i, j = CLASSES.index(of), CLASSES.index(to)
        places, p = most_taken(role, temperature, i, j)
        assert [item["place"] for item in items] == places
        for item, expected in zip(items, p, strict=True):
            assert item["truth"] == of and item["answer"] == CLASSES[expected.argmax()]
            assert item["shares"].keys() == {of, to, item["answer"]}
            for name, value in item["shares"].items():
                assert value == pytest.approx(expected[CLASSES.index(name)].item(), abs=1e-6)


def test_a_line_opens_the_images_confused_by_the_network_shown_at_the_present_temperature(visit):
    page = visit("?T=4")
    upload(page, EXAMPLES / "ship.png")
    sent = []
    page.on("request", lambda request: sent.append(request.url) if RECORDED.name in request.url else None)
    opened(page, "map")
    drawn(page, 4)
    assert page.locator("#photo.own").count() == 1  # the photo and its answers stay when the recordings arrive
    assert page.locator("#answers .label").count() == 3
    page.wait_for_function("document.querySelectorAll('#map-pair option').length === 46")
    assert sent == []  # a megabyte, which nobody has asked for yet
    page.locator("#map-pair").select_option(index=1)
    one, other = thickest_pair()
    assert page.locator("#map-line h3").inner_text() == f"{one.capitalize()} – {other}"
    page.wait_for_function("document.querySelector('#map-line .waiting').textContent === ''")
    assert len(sent) >= 1
    assert_images(page, "teacher", 4, one, other)
    page.locator("#temperature-number").fill("1.5")
    drawn(page, 1.5)
    assert_images(page, "teacher", 1.5, one, other)
    page.locator("#map-networks").get_by_role("button", name="Student alone").click()
    page.wait_for_function("document.querySelector('#map').dataset.role === 'student'")
    assert_images(page, "student", 1.5, one, other)
    # The picture shown is that of the place: the file's square, enlarged to the item's size.
    first = page.locator("#map-line [role=img]").first
    assert first.evaluate("(node) => getComputedStyle(node).backgroundImage").endswith(f'/{RECORDED.name}")')
    across, down = first.evaluate("(node) => getComputedStyle(node).backgroundPosition").split()
    row, column = CLASSES.index(one), most_taken("student", 1.5, CLASSES.index(one), CLASSES.index(other))[0][0]
    assert float(across.rstrip("%")) == pytest.approx(column / 49 * 100, abs=0.01)
    assert float(down.rstrip("%")) == pytest.approx(row / 9 * 100, abs=0.01)


def test_a_line_is_opened_on_the_map_or_by_keyboard_and_closed_by_its_button_or_escape(visit):
    page = opened(visit("?T=4"), "map")
    drawn(page, 4)
    page.wait_for_function("document.querySelectorAll('#map-pair option').length === 46")
    select, line = page.locator("#map-pair"), page.locator("#map-line")
    for way in ("button", "Escape"):
        select.focus()
        page.keyboard.press("ArrowDown")
        assert line.is_visible()
        if way == "button":
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
        else:
            page.keyboard.press("Escape")
        assert not line.is_visible()
        assert page.evaluate("document.activeElement.id") == "map-pair"
    picture = page.locator("#map-picture")
    pair, x, y = picture.evaluate(LONELIEST_MIDDLE)
    picture.click(position={"x": x, "y": y})
    assert line.locator("h3").inner_text().lower().split(" – ") == pair.split("-")
    page.keyboard.press("Escape")
    assert not line.is_visible()


# The line whose middle lies farthest from all other lines, and that middle: where the classes lie, the networks decide.
LONELIEST_MIDDLE = """(picture) => {
    const lines = [...picture.querySelectorAll("line[data-pair]")].map((line) => [
        line.dataset.pair, ...["x1", "y1", "x2", "y2"].map((end) => +line.getAttribute(end))]);
    const distance = (x, y, [, x1, y1, x2, y2]) => {
        const along = ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / ((x2 - x1) ** 2 + (y2 - y1) ** 2);
        const t = Math.min(1, Math.max(0, along));
        return Math.hypot(x - x1 - t * (x2 - x1), y - y1 - t * (y2 - y1));
    };
    const alone = lines.map((line) => {
        const x = (line[1] + line[3]) / 2, y = (line[2] + line[4]) / 2;
        const others = lines.filter((other) => other !== line);
        return [Math.min(...others.map((other) => distance(x, y, other))), line[0], x, y];
    });
    return alone.sort((one, other) => other[0] - one[0])[0].slice(1);
}"""


def test_the_figures_of_a_line_and_the_table_are_the_means_over_the_images(visit):
    page = opened(visit("?T=4"), "map")
    drawn(page, 4)
    page.wait_for_function("document.querySelectorAll('#map-pair option').length === 46")
    page.locator("#map-pair").select_option(index=1)
    i, j = map(CLASSES.index, thickest_pair())
    table(page)
    shown = page.locator("#map-line tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.querySelectorAll('[data-value]')].map((cell) => +cell.dataset.value))"
    )
    answers = page.locator("#map-line tbody tr td:last-child").all_inner_texts()
    for role, cells, counted in zip(ROLES, shown, answers, strict=True):
        mean, said = means(role, 4), last_logits(role)[10:].argmax(dim=1).view(10, -1)
        there, back = mean[i, j].item(), mean[j, i].item()
        assert cells == pytest.approx([there, back, (there + back) / 2], abs=1e-6)
        assert counted == f"{((said[i] == j).sum() + (said[j] == i).sum()).item()} of {2 * said.shape[1]}"
    page.locator("#map-numbers > summary").click()
    cells = page.locator("#map-table tbody td").evaluate_all(VALUES)
    assert cells == pytest.approx(means("teacher", 4).flatten().tolist(), abs=1e-6)


def test_the_pictures_that_ship_are_the_images_that_were_recorded():
    """Asked again, the shipped student gives the recorded logits, up to their rounding and its half precision."""
    with Image.open(RECORDED) as file:
        rows = torch.from_numpy(np.array(file)).view(10, 32, 50, 32, 3).permute(0, 2, 4, 1, 3).reshape(500, 3, 32, 32)
    student = Classifier.from_pretrained(CHECKPOINTS / "student")
    with torch.inference_mode():
        logits = student(rows[::5].float() / 255).double()  # of each class ten
    expected, scale = last_logits("student")[10::5], read_recording(CHECKPOINTS / "student" / RECORDING)["scale"][-1]
    centred = logits - logits.mean(dim=1, keepdim=True)
    assert (centred - expected).abs().max() < scale / 2 + 0.01 * expected.abs().max()
    nearest = torch.cdist(centred, expected).argmin(dim=1)
    assert (nearest == torch.arange(100)).sum() > 95  # hardly any other image would do


def test_where_other_images_were_recorded_no_pictures_are_shown(folder, shown_examples):
    assert read_recorded(folder, shown_examples).pictures == RECORDED.name
    found = read_recording(folder / "student" / RECORDING)
    fewer = {name: tensor[-1][:110] if name == "logits" else tensor[-1] for name, tensor in found.items()}
    write_recording([fewer], folder / "student" / RECORDING)
    assert read_recorded(folder, shown_examples).pictures is None


# The replay


def moment_named(epoch, last):
    """How the page names a recorded moment."""
    if epoch == 0:
        return "Before the first step"
    return f"After {epoch:.1%} of the first epoch" if epoch < 1 else f"After epoch {epoch:.0f} of {last:.0f}"


def test_the_replay_scrubs_to_what_both_students_said_at_that_moment(visit, classify):
    sizes = []
    page = visit("?example=cat&T=2")
    page.on("response", lambda response: sizes.append(int(response.headers.get("content-length", 0))))
    opened(page, "replay")
    k = CLASSES.index("cat")
    recordings = {role: read_recording(CHECKPOINTS / role / RECORDING) for role in STUDENTS}
    epochs = recordings["student"]["epoch"].tolist()
    last = len(epochs) - 1
    for position in (last, 0, 3, last - 1):
        page.locator("#replay-slider").fill(str(position))
        shown = shown_at(page, position)
        for role, recording in recordings.items():
            logits = (recording["logits"][position, k] * recording["scale"][position]).tolist()
            expected, near = softmax(logits, 2), 1e-6
            if position == last:  # what the chart shows, of which the recording is a rounded copy
                assert table(page)[role] == pytest.approx(expected, abs=0.03)
                expected, near = table(page)[role], 1e-9
            assert shown[role] == pytest.approx(expected, abs=near)
            widths = page.locator(f"#replay-table .bar.{role}").evaluate_all(
                "bars => bars.map((bar) => parseFloat(bar.style.width) / 100)"
            )
            assert widths == pytest.approx(shown[role], abs=1e-4)
        told = page.locator("#replay-sentence").inner_text()
        assert moment_named(epochs[position], epochs[-1]) in told
        right = recordings["student"]["logits"][position, :10].argmax(dim=1) == torch.arange(10)
        assert f"student alone {right.sum().item()}, distilled" in told
    _, first, end, *between = page.locator("#replay-curve text").all_text_contents()[5:]  # after the accuracies
    assert (first, end) == ("epoch 1", f"{epochs[-1]:.0f}")
    assert between == [f"{epoch:.0f}" for epoch in epochs if f"{epoch:g}" in between] and len(between) > 1
    assert epochs[last - 1] >= 1  # of whole epochs the accuracy is that on all validation images
    for role, name in (("student", "Student alone"), ("distilled", "Distilled student")):
        told = page.locator(f"#replay figcaption .{role}").inner_text()
        accuracy = recordings[role]["accuracy"][last - 1].item()
        assert told.startswith(name) and share(told) == pytest.approx(accuracy, abs=6e-4)
    assert 0 < sum(sizes) < 400_000


@pytest.mark.parametrize("motion", ["no-preference", pytest.param("reduce", marks=pytest.mark.slow)])
def test_play_goes_from_the_start_to_the_end_by_itself_but_never_starts_by_itself(visit, motion):
    page = opened(visit(reduced_motion=motion), "replay")
    play, slider = page.locator("#replay-play"), page.locator("#replay-slider")
    last = int(slider.get_attribute("max"))
    shown_at(page, last)
    note_changes(page, "#replay-table", "moment")
    play.click()
    page.wait_for_function("window.noted.includes(1)")
    gliding = page.locator("#replay .bar.student").first.evaluate("(bar) => getComputedStyle(bar).transitionDuration")
    assert (gliding == "0s") == (motion == "reduce")
    assert page.evaluate("[...new Set(window.noted)].slice(0, 2)") == [0, 1]
    slider.fill(str(last - 1))  # the hand on the slider stops it
    assert play.inner_text() == "Play"
    play.click()
    shown_at(page, last)
    page.wait_for_function("document.querySelector('#replay-play').textContent === 'Play'")


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["light", "dark", "phone"])
def test_axe_finds_nothing_serious_in_the_open_views_and_they_fit_the_width(visit, setting):
    page = visit("?T=4", **SETTINGS[setting])
    for view in ("map", "replay"):
        opened(page, view)
        table(page)
    page.wait_for_function("document.querySelectorAll('#map-pair option').length === 46")
    page.locator("#map-pair").select_option(index=1)
    page.locator("#map-numbers > summary").click()
    assert page.locator("#map-table").is_visible()
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.locator("#replay figcaption").evaluate("(caption) => caption.scrollWidth <= caption.clientWidth")


def test_without_recordings_there_is_no_shell_of_the_views(folder, shown_examples):
    def shell():
        taught = {"taught_at": 4.0, "loss": "kd", "by_soft_targets": True, "alike": True}
        return stage_view(shown_examples, 32, 0, "", read_recorded(folder, shown_examples), "", **taught).html_template

    assert 'id="map"' in shell() and 'id="replay"' in shell()
    for role in ROLES:
        (folder / role / RECORDING).unlink()
    assert 'id="recordings"' not in shell() and 'id="map"' not in shell() and 'id="replay"' not in shell()
    assert "No recording of these networks gives a map of the classes or a replay of the training." in shell()
