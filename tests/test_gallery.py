"""Many images at once: the rows, the shares and the CSV, and the tab in real Chromium."""

import csv
import io

import pytest
from PIL import Image

from kd.cifar10 import CLASSES
from kd.demo import endpoint, gallery
from kd.demo.crowd import MAX_IMAGES
from kd.demo.gallery import as_csv, file_name, gallery_value, named, plain_cell
from kd.demo.page import STAGE_TAB
from kd.models import ROLE_NAMES, ROLES
from tests.browser import EXAMPLES, PATIENCE, choose_example, example_shown, hold_questions, share

MARKUP = "<img src=x onerror='window.broken=1'>.png"
FORMULA = "=HYPERLINK(1).png"


def row(name, teacher, student, distilled):
    labels = dict(zip(ROLES, (teacher, student, distilled), strict=True))
    return {
        "name": name,
        "predictions": {role: {"label": label, "confidence": 0.75} for role, label in labels.items()},
        "differ": len(set(labels.values())) > 1,
        "fits_no_class": False,
    }


ROWS = [
    row("a.png", "cat", "cat", "cat"),
    {"name": "b.png", "problem": "The file is empty."},
    row("c.png", "cat", "dog", "cat"),
    row("d.png", "cat", "cat", "cat"),
    row("e.png", "cat", "dog", "frog"),
]


def read_csv(text):
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))


# The rows, the shares and the CSV


def test_where_the_networks_differ_stands_first_and_what_is_no_image_last():
    assert [row["name"] for row in gallery_value(ROWS)["rows"]] == ["c.png", "e.png", "a.png", "d.png", "b.png"]


def test_the_shares_are_of_the_answered_images_alone():
    assert gallery_value(ROWS)["agreement"] == {"student": {"same": 2, "of": 4}, "distilled": {"same": 3, "of": 4}}


def test_the_csv_holds_a_line_for_each_file():
    head, *lines = read_csv(as_csv(ROWS))
    assert head[:3] == ["file", ROLE_NAMES["teacher"], f"{ROLE_NAMES['teacher']}: confidence"]
    assert {len(line) for line in lines} == {len(head)}
    assert lines[2] == ["c.png", "cat", "0.7500", "dog", "0.7500", "cat", "0.7500", "yes", "no", "", ""]
    assert lines[1] == ["b.png", *[""] * 9, "The file is empty."]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1+1", "＝1", "=cmd|' /C calc'!A0"]
)
def test_no_cell_starts_as_a_formula(text):
    (_, line) = read_csv(as_csv([{"name": text, "problem": text}]))
    for cell in (line[0], line[-1]):
        assert cell == "'" + text


@pytest.mark.parametrize("text", ["cat.png", "a=1.png", "1-2.png", ""])
def test_an_ordinary_cell_is_left_as_it_is(text):
    assert plain_cell(text) == text


def test_quotes_commas_and_line_ends_stay_within_their_cell():
    name = 'a "b", c\r\nd.png'
    assert read_csv(as_csv([{"name": name, "problem": "none"}]))[1][0] == name


@pytest.mark.parametrize(
    ("upload", "name"),
    [
        ({"orig_name": "häßlich 猫.png"}, "häßlich 猫.png"),
        ({"path": "/cache/abc/cat.png"}, "cat.png"),
        ({"orig_name": "a\nb\u202ec\ud800.png"}, "a�b�c�.png"),
        ({"orig_name": "x" * 1000}, "x" * 99 + "…"),
        ({"orig_name": {"a": 1}}, "{'a': 1}"),
        ({}, ""),
        (None, ""),
    ],
)
def test_a_file_name_is_one_line_of_printable_text(upload, name):
    assert file_name(upload) == name


@pytest.mark.parametrize(
    ("name", "label"),
    [("cat/1.png", "cat"), ("Ship/1.png", "ship"), ("cats/1.png", None), ("cat.png", None), ("cat/more/1.png", None)],
)
def test_a_folder_named_as_a_class_tells_the_class(name, label):
    assert named({"orig_name": name}, CLASSES) == {"name": name, "label": label}


def test_who_is_right_is_told_of_the_images_whose_class_is_known():
    rows = [{**row, "label": label} for row, label in zip(ROWS, ("cat", "cat", "dog", None, "frog"), strict=True)]
    assert gallery_value(rows)["right"] == {
        "teacher": {"right": 1, "of": 3},
        "student": {"right": 2, "of": 3},
        "distilled": {"right": 2, "of": 3},
    }
    assert gallery_value(ROWS)["right"] == {}


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Puts a file where uploads lie, and describes it as Gradio does."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    def cache(name, content):
        (tmp_path / name).write_bytes(content)
        return {"path": str(tmp_path / name), "orig_name": name}

    return cache


def test_one_broken_file_does_not_lose_the_others(trio, cached):
    good = (EXAMPLES / "cat.png").read_bytes()
    uploads = [cached("0.png", good), cached("1.png", b"no image"), cached("2.png", b""), None, cached("4.png", good)]
    rows = gallery.predict_batch(trio, uploads)
    assert [bool(row.get("predictions")) for row in rows] == [True, False, False, False, True]
    assert "not an image" in rows[1]["problem"] and "empty" in rows[2]["problem"]
    expected = trio.classify_all([Image.open(EXAMPLES / "cat.png").convert("RGB")], 1.0)[0]["models"]
    for role in ROLES:
        assert rows[4]["predictions"][role]["label"] == expected[role]["label"]
        assert rows[4]["predictions"][role]["confidence"] == pytest.approx(expected[role]["confidence"], abs=1e-4)


def test_files_beyond_the_limit_are_left_out_and_counted(trio, cached):
    bad = cached("bad.png", b"no image")
    *progress, value = gallery.predict_files(trio, [bad] * (MAX_IMAGES + 7))
    assert len(value["rows"]) == MAX_IMAGES and value["left_out"] == 7
    of = [bad["path"], MAX_IMAGES + 7]
    assert progress[0] == {"done": 0, "total": MAX_IMAGES, "of": of} and value["of"] == of
    assert [step["done"] for step in progress] == sorted({step["done"] for step in progress})


def test_what_is_named_more_than_once_is_read_once_and_answered_everywhere(trio, cached, monkeypatch):
    read, photos, picture = [], [], Image.new("RGB", (32, 32))
    monkeypatch.setattr(gallery, "read_upload", lambda upload, image_size: read.append(upload["path"]) or picture)
    one, other = cached("one.png", b"1"), cached("other.png", b"2")
    uploads = [one | {"orig_name": f"{number}.png"} for number in range(40)] + [other] * 10
    *_, value = gallery.predict_files(trio, uploads)
    assert read == [one["path"], other["path"]]
    assert [row["name"] for row in value["rows"]] == [f"{number}.png" for number in range(40)] + ["other.png"] * 10
    assert all(row["predictions"] for row in value["rows"])
    monkeypatch.setattr(endpoint, "read_upload", lambda upload, image_size: photos.append(upload) or picture)
    assert len(endpoint.classify_list(trio, [one] * 50, 1.0)) == 50 and photos == [one]


@pytest.mark.parametrize("nothing", [None, [], "text", 3])
def test_nothing_chosen_shows_nothing(trio, nothing):
    assert list(gallery.predict_files(trio, nothing)) == [None]


# The tab in Chromium


@pytest.fixture
def folder(tmp_path):
    """A folder of nine files: seven images, one of them with markup for a name, a broken one and one without a byte."""
    for name in ("cat", "dog", "ship", "frog", "bird"):
        (tmp_path / f"{name}.png").write_bytes((EXAMPLES / f"{name}.png").read_bytes())
    (tmp_path / MARKUP).write_bytes((EXAMPLES / "truck.png").read_bytes())
    (tmp_path / FORMULA).write_bytes((EXAMPLES / "horse.png").read_bytes())
    (tmp_path / "broken.png").write_text("this is no image")
    (tmp_path / "empty.png").write_bytes(b"")
    return tmp_path


@pytest.fixture
def gallery_of(visit):
    """Opens the tab of many images and uploads."""

    def open_gallery(paths, component="gallery-files", **settings):
        page = visit(**settings)
        page.get_by_role("tab", name="Many images").click()
        page.locator(f"#{component}").wait_for()
        page.evaluate(
            """() => {
                window.progress = [];
                const output = document.querySelector('#gallery .waiting output');
                new MutationObserver(() => window.progress.push(output.textContent)).observe(output, {childList: true});
            }"""
        )
        # The button makes its input beside itself, the file component within.
        page.locator(f"#{component} input[type=file], input[type=file]:has(+ #{component})").set_input_files(paths)
        page.wait_for_selector("#gallery-table tbody tr")
        return page

    return open_gallery


def test_the_tab_shows_what_the_endpoint_answers_where_they_differ_first(gallery_of, folder, classify):
    page = gallery_of(sorted(folder.iterdir()))
    rows = page.locator("#gallery-table tbody tr").all()
    names = [row.locator("th").inner_text().split("\n")[0] for row in rows]
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    classified = {}
    for name, shown in zip(names, rows, strict=True):
        if name in ("broken.png", "empty.png"):
            assert ("empty" if name == "empty.png" else "not an image") in shown.inner_text()
            continue
        classified[name] = classify(folder / name)["models"]
        for role in ROLES:
            cell = shown.locator(f"td[data-model={role}]")
            assert cell.locator(".label").inner_text() == classified[name][role]["label"]
            assert share(cell.locator(".confidence").inner_text()) == pytest.approx(
                classified[name][role]["confidence"],
                abs=1e-3,  # "> 99.9%" is read as .999
            )
    differ = [len({model["label"] for model in classified[name].values()}) > 1 for name in names if name in classified]
    assert differ == sorted(differ, reverse=True) and set(names[-2:]) == {"broken.png", "empty.png"}
    for role in ("student", "distilled"):
        same = sum(models[role]["label"] == models["teacher"]["label"] for models in classified.values())
        text = page.locator(f"[data-agreement={role}]").inner_text()
        assert text == f"{same / 7 * 100:.1f}% ({same} of 7)"
    assert "0 of 9 images answered" in page.evaluate("window.progress")
    assert page.evaluate("window.broken") is None and page.locator("#gallery img[src=x]").count() == 0


def test_the_csv_that_is_saved_holds_the_table_and_no_formula(gallery_of, folder):
    page = gallery_of(sorted(folder.iterdir()))
    with page.expect_download() as download:
        page.locator("#gallery-csv").click()
    lines = read_csv(open(download.value.path(), encoding="utf-8", newline="").read())
    assert download.value.suggested_filename.endswith(".csv")
    names = [row.inner_text().split("\n")[0] for row in page.locator("#gallery-table tbody th").all()]
    assert [line[0].removeprefix("'") for line in lines[1:]] == names
    assert not any(cell.startswith("=") for line in lines for cell in line)


def test_the_folders_of_a_folder_are_its_images_classes_and_a_row_opens_on_the_stage(gallery_of, tmp_path, classify):
    for name in ("cat", "ship"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes((EXAMPLES / f"{name}.png").read_bytes())
    page = gallery_of(tmp_path, component="gallery-folder")
    for name in ("cat", "ship"):
        label = classify(EXAMPLES / f"{name}.png")["models"]["teacher"]["label"]
        cell = page.locator("#gallery-table tr", has_text=f"{name}/1.png").locator("td[data-model=teacher] .label")
        assert cell.inner_text() == f"{label} {'✓' if label == name else '✗'}"
    page.get_by_role("button", name="ship/1.png").click()
    page.wait_for_selector("#photo.own")
    assert page.evaluate("document.activeElement.textContent").strip() == STAGE_TAB  # what had the focus is hidden
    expected = classify(EXAMPLES / "ship.png")["models"]
    assert page.locator("#answers .label").all_inner_texts() == [expected[role]["label"] for role in ROLES]
    choose_example(page, 0)
    assert example_shown(page) == "airplane"


def test_what_is_chosen_later_replaces_what_was_chosen_before_a_folder_too(gallery_of, tmp_path):
    (tmp_path / "frog").mkdir()
    (tmp_path / "frog" / "1.png").write_bytes((EXAMPLES / "frog.png").read_bytes())
    page = gallery_of([EXAMPLES / "frog.png"])
    wait_for_one, let_go = hold_questions(page)
    page.locator("input[type=file]:has(+ #gallery-folder)").set_input_files(tmp_path / "frog")  # the same content
    wait_for_one()
    assert not page.locator("#gallery-table").is_visible()  # which is of what was chosen before
    let_go()
    page.get_by_role("button", name="frog/1.png").wait_for(timeout=PATIENCE)
    assert page.locator("#gallery-table tbody tr").count() == 1
    page.locator("#gallery-files").get_by_role("button", name="Clear").click()
    page.locator("#gallery-table").wait_for(state="hidden", timeout=PATIENCE)


def test_where_no_answer_comes_the_bar_goes_and_a_sentence_says_so(gallery_of):
    page = gallery_of([EXAMPLES / "cat.png"])
    page.route("**/queue/join*", lambda question: question.fulfill(status=503, json={"detail": "Full."}))
    page.locator("input[type=file]:has(+ #gallery-folder)").set_input_files(EXAMPLES)
    page.locator("#gallery .failed", has_text="No answer came").wait_for(timeout=PATIENCE)
    assert not page.locator("#gallery progress").is_visible() and not page.locator("#gallery-table").is_visible()
    page.locator("#gallery-files").get_by_role("button", name="Clear").click()
    page.locator("#gallery .failed").wait_for(state="hidden", timeout=PATIENCE)


@pytest.mark.slow
def test_the_gallery_fits_a_phone(gallery_of, folder):
    page = gallery_of(sorted(folder.iterdir()), viewport={"width": 390, "height": 844}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in ("#gallery-csv", "#gallery-table td[data-model=distilled] .label"):
        boxes = [item.bounding_box() for item in page.locator(selector).all()]
        assert boxes, selector
        for box in boxes:
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390
