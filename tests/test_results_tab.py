"""The results tab: a file that is old or damaged costs its own table or figure a sentence, and nothing else."""

import html
import json
import logging
import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import pytest
from plotly.graph_objects import Figure

from kd.checkpoint import CONFIG, HISTORY, load_config
from kd.demo import results_tab
from kd.demo.crowd import Turns
from kd.demo.page import what_to_expect
from kd.demo.results_tab import NO_CLAIMS, NO_RESULTS, NO_STUDIES, ResultsTab
from kd.models import ROLES
from kd.results import load_results, read_results, results_table
from kd.studies.figures import drawings_of
from kd.studies.ledger import as_json, read_studies, write_study
from kd.studies.report import study_table
from tests.serving import ROOT, wait_until
from tests.studies import make_few_labels

SHIPPED = ROOT / "checkpoints"
CONFIGS = {role: load_config(SHIPPED / role) for role in ROLES}
REPLACED = "cannot be shown here: it is damaged, or of another version of this program"


@pytest.fixture
def checkpoints(tmp_path):
    """A copy of what the tab reads, with two of the studies."""
    for name in ("results.json", *(f"{role}/{name}" for role in ROLES for name in (CONFIG, HISTORY))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(SHIPPED / name, tmp_path / name)
    (tmp_path / "studies").mkdir()
    for name in ("main", "human-doubt"):
        shutil.copyfile(SHIPPED / "studies" / f"{name}.json", tmp_path / "studies" / f"{name}.json")
    return tmp_path


@pytest.fixture
def shown(checkpoints, caplog):
    """Builds the tab; returns its texts, the number of its figures, and what the log says."""

    results = ResultsTab(checkpoints)

    def build():
        with caplog.at_level(logging.WARNING), gr.Blocks() as page:
            results.show()
        blocks = page.blocks.values()
        texts = "\n".join(
            block.label if isinstance(block, gr.Accordion) else block.value
            for block in blocks
            if isinstance(block, (gr.Markdown, gr.HTML, gr.Accordion))
        )
        return html.unescape(texts), sum(isinstance(block, gr.Plot) for block in blocks), "\n".join(caplog.messages)

    return build


@pytest.fixture
def work(monkeypatch):
    """Counts what opening the tab costs: studies read, tables made, figures drawn and written as JSON."""
    done = Counter()
    for module, name in ((results_tab, "read_study"), (results_tab, "study_table"), (results_tab, "told")):
        original = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *given, name=name, original=original: done.update([name]) or original(*given)
        )
    for name in ("to_json", "__init__"):
        original = getattr(Figure, name)
        monkeypatch.setattr(
            Figure,
            name,
            lambda *given, name=name, original=original, **more: done.update([name]) or original(*given, **more),
        )
    return done


def test_only_the_first_opening_draws_and_another_content_is_drawn_anew(checkpoints, shown, work):
    first = shown()
    assert work["to_json"] == work["__init__"] == first[1] > 5 and work["told"] == 1
    once = Counter(work)
    assert shown() == first and shown() == first
    assert work == once
    edit(checkpoints / "studies" / "main.json", lambda study: study | {"command": "python -m train.now"})
    assert "python -m train.now" in shown()[0]
    assert work["to_json"] == 2 * once["to_json"]


@pytest.fixture
def opened(checkpoints, monkeypatch):
    """What an opening of the tab runs, on a page that all openings share."""
    rendered = []
    monkeypatch.setattr(results_tab.gr, "render", lambda **_: rendered.append)
    with gr.Blocks():
        results_tab.build_results(checkpoints)
    with gr.Blocks():
        yield rendered[0]


def test_of_many_who_open_the_tab_one_draws(opened, work):
    with ThreadPoolExecutor(4) as pool:
        for opening in [pool.submit(opened) for _ in range(4)]:
            opening.result()
    assert work["told"] == 1 and work["to_json"] == work["__init__"] > 5


def test_those_who_wait_for_the_drawing_leave_a_turn_for_photos(opened, monkeypatch):
    turns, drawing, drawn = Turns(at_once=2, large_at_once=1), threading.Event(), threading.Event()
    monkeypatch.setattr(results_tab, "TURNS", turns)

    def show(tab):
        drawing.set()
        assert drawn.wait(60)

    def photo():
        with turns.one():
            return True

    monkeypatch.setattr(ResultsTab, "show", show)
    with ThreadPoolExecutor(3) as pool:
        openings = [pool.submit(opened)]
        assert drawing.wait(60)
        openings.append(pool.submit(opened))
        wait_until(lambda: len(turns._waiting) == 1)
        assert pool.submit(photo).result(60)
        drawn.set()
        for opening in openings:
            opening.result(60)


def edit(path, change):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content)))


def test_markup_in_a_results_file_is_text(checkpoints):
    markup = "<img src=x onerror=alert(1)>"
    path = checkpoints / "studies" / "main.json"
    edit(path, lambda study: study | {"command": markup, "machine": markup})
    with gr.Blocks() as page:
        ResultsTab(checkpoints).show()
    raw = "".join(str(block.value) for block in page.blocks.values() if isinstance(block, (gr.Markdown, gr.HTML)))
    assert "<img" not in raw and html.escape(markup, quote=False) in raw


def test_everything_is_shown_of_what_ships_and_first_how_often_the_networks_are_right(shown):
    texts, figures, log = shown()
    for model in read_results(SHIPPED)["models"].values():
        assert f"{model['accuracy']:.1%}" in texts.split("\n")[0]
    main = read_studies(SHIPPED)["main"]
    assert results_table(read_results(SHIPPED)) in texts and study_table(main) in texts
    assert figures > len(drawings_of(main)) and log == "" and REPLACED not in texts


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: edit(path, lambda study: study | {"schema": 99}),
        lambda path: edit(path, lambda study: study | {"arms": [{"name": "of whatever version"}]}),
    ],
    ids=["damaged", "another version", "other fields"],
)
def test_a_study_that_cannot_be_read_costs_its_own_section(checkpoints, shown, damage):
    before, figures, _ = shown()
    damage(checkpoints / "studies" / "main.json")
    texts, fewer, log = shown()
    main = read_studies(SHIPPED)["main"]
    assert f"`main.json` {REPLACED}" in texts and "main.json cannot be" in log
    assert study_table(main) not in texts and study_table(read_studies(SHIPPED)["human-doubt"]) in texts
    assert fewer == figures - len(drawings_of(main))


def test_one_figure_that_cannot_be_drawn_costs_itself_alone(checkpoints, shown):
    _, figures, _ = shown()

    def without_reliability(study):
        for arm in study["arms"]:
            for run in arm["runs"]:
                del run["reliability"]
        return study

    edit(checkpoints / "studies" / "main.json", without_reliability)
    texts, fewer, log = shown()
    assert fewer == figures - 1 and f"`main.json` {REPLACED}" in texts
    assert "main.json, the figure calibration cannot be shown" in log
    assert study_table(read_studies(SHIPPED)["main"]) in texts


def test_a_claim_that_cannot_be_made_costs_itself_alone(checkpoints, shown):
    def without_agreement(study):
        for arm in study["arms"]:
            for run in arm["runs"]:
                run["agreement"] = float("nan")
        return study

    edit(checkpoints / "studies" / "main.json", without_agreement)
    texts, _, log = shown()
    assert f"`main.json` {REPLACED}" in texts and "main.json makes no claim" in log
    assert "is more often right than the student alone" in texts


def test_a_copy_of_a_study_under_another_name_is_not_taken_for_one(checkpoints, shown):
    shutil.copyfile(checkpoints / "studies" / "main.json", checkpoints / "studies" / "other.json")
    texts, _, log = shown()
    assert f"`other.json` {REPLACED}" in texts and "it is of the study main" in log


def test_without_a_study_that_claims_something_the_page_says_which_one_would(checkpoints, shown):
    shutil.rmtree(checkpoints / "studies")
    (checkpoints / "studies").mkdir()
    shutil.copyfile(SHIPPED / "studies" / "seed-project.json", checkpoints / "studies" / "seed-project.json")
    texts, _, log = shown()
    assert NO_CLAIMS in texts and NO_CLAIMS in log


def test_a_study_of_a_retired_name_preset_and_field_is_shown_like_any_other(checkpoints, shown):
    content = as_json(make_few_labels())
    for arm in content["arms"]:
        arm["changes"] = {"ema": 0.99}
    path = checkpoints / "studies" / "abandoned.json"
    path.write_text(json.dumps(content | {"study": "abandoned", "question": "What was that?"}))
    texts, _, log = shown()
    assert "What was that?" in texts and "Recipe" not in log and log == ""
    assert "recipe `seed`" in texts


def test_what_is_missing_is_told_with_the_command_that_makes_it(checkpoints, shown):
    (checkpoints / "results.json").unlink()
    shutil.rmtree(checkpoints / "studies")
    (checkpoints / "student" / "history.jsonl").unlink()
    texts, figures, log = shown()
    for said in (NO_RESULTS, NO_STUDIES, "Student alone: no curve, as there is no `student/history.jsonl`"):
        assert said in texts and said in log
    assert figures == 1


def test_results_of_a_network_that_was_replaced_are_not_those_of_these_checkpoints(checkpoints, shown):
    def replaced(results):
        student = results["models"]["student"] | {"weights": "others"}
        return results | {"models": results["models"] | {"student": student}}

    edit(checkpoints / "results.json", replaced)
    texts, figures, log = shown()
    assert texts.startswith(NO_RESULTS) and NO_RESULTS in log and "Right on" not in texts
    assert figures > 1  # the studies name their own networks


@pytest.mark.parametrize(
    "change",
    [
        lambda results: [],
        lambda results: results | {"data": {}},
        lambda results: results | {"models": {"oracle": results["models"]["teacher"]}},
        lambda results: results | {"models": {"teacher": {"accuracy": 0.5}}},
        lambda results: results | {"models": {"teacher": results["models"]["teacher"] | {"architecture": 7}}},
        lambda results: results | {"models": {"teacher": results["models"]["teacher"] | {"per_class_accuracy": 5}}},
        lambda results: results | {"models": {"teacher": results["models"]["teacher"] | {"accuracy": float("nan")}}},
        lambda results: results | {"models": {"teacher": results["models"]["teacher"] | {"macs": 10**400}}},
    ],
    ids=[
        "a list",
        "no name of the data",
        "an unknown role",
        "no numbers",
        "a network without a name",
        "no list of classes",
        "no number",
        "a number beyond all others",
    ],
)
def test_results_that_cannot_be_read_cost_their_table_and_the_page_goes_without(checkpoints, shown, change):
    edit(checkpoints / "results.json", change)
    texts, figures, log = shown()
    assert f"`results.json` {REPLACED}" in texts and "results.json cannot be" in log
    assert study_table(read_studies(SHIPPED)["main"]) in texts and figures > 1
    assert read_results(checkpoints) is None
    assert "are all that the networks see" in what_to_expect(checkpoints, CONFIGS)


def test_results_of_a_preset_that_is_gone_are_shown(checkpoints, shown):
    def golden(model):
        return model | {"recipe": model["recipe"] | {"name": "golden", "ema": 0.9}}

    edit(
        checkpoints / "results.json",
        lambda results: results | {"models": {role: golden(model) for role, model in results["models"].items()}},
    )
    for role in ROLES:
        edit(checkpoints / role / CONFIG, golden)
    texts, _, log = shown()
    assert "recipe `golden`" in texts and log == ""
    assert load_results(checkpoints)


def test_results_of_one_network_alone_tell_nobody_what_to_expect_of_three(checkpoints):
    edit(checkpoints / "results.json", lambda results: results | {"models": {"teacher": results["models"]["teacher"]}})
    assert "teacher is right" not in what_to_expect(checkpoints, CONFIGS)


def test_results_of_another_network_tell_nobody_what_to_expect_of_this_one(checkpoints):
    assert "teacher is right" in what_to_expect(checkpoints, CONFIGS)
    trained_anew = CONFIGS | {"student": CONFIGS["student"] | {"weights": {}}}
    assert "teacher is right" not in what_to_expect(checkpoints, trained_anew)


def test_a_history_whose_lines_lack_keys_is_shown_as_far_as_it_goes(checkpoints, shown):
    path = checkpoints / "student" / "history.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(['{"epoch": 1, "loss": 2.0}', '{"epoch": 2, "accuracy": null}', *lines[2:]]))
    texts, _, log = shown()
    said = f"Student alone: 2 of {len(lines)} epochs in `student/history.jsonl` do not tell how they went."
    assert said in texts and said in log and "the training curves cannot be shown" not in log
    with gr.Blocks():
        left = ResultsTab(checkpoints).history_of("student")
    assert [epoch["epoch"] for epoch in left] == list(range(3, len(lines) + 1))


def test_what_came_before_the_epochs_of_a_curve_is_told(checkpoints, shown):
    began = {"started_from": {"epochs_done": 17, "recipe": None, "weights": {}, "machine": None}}
    edit(checkpoints / "student" / "config.json", lambda config: config | began)
    texts, _, _ = shown()
    assert "Student alone: the curve shows its last run; 17 epochs came before." in texts
    assert "Distilled student: the curve shows its last run" not in texts


def test_a_damaged_history_costs_its_own_lines(checkpoints, shown):
    _, figures, _ = shown()
    (checkpoints / "student" / "history.jsonl").write_text('{"epoch')
    texts, as_many, log = shown()
    assert f"`student/history.jsonl` {REPLACED}" in texts and "student/history.jsonl cannot be shown" in log
    assert as_many == figures and "the training curves cannot be shown" not in log


def test_a_study_of_few_epochs_is_not_on_the_page(checkpoints, shown):
    study = make_few_labels()
    write_study(study, checkpoints / "studies" / "made.json")
    assert "By hand?" in shown()[0]
    content = as_json(study)
    for arm in content["arms"]:
        arm["recipe"] = arm["recipe"] | {"name": "original"} if arm["runs"] else {}
        for run in arm["runs"]:
            run["epochs_done"] = 4
    (checkpoints / "studies" / "made.json").write_text(json.dumps(content))
    assert "By hand?" not in shown()[0]
