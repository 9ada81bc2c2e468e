"""What the browser tests do on the page, and what they read from it."""

import math
import re

from kd import checkpoint
from kd.cifar10 import CLASSES
from kd.models import ROLES
from tests.serving import ROOT

EXAMPLES = ROOT / "kd" / "demo" / "examples"
PATIENCE = 30_000  # ms; a busy machine must not fail a test

VALUES = "cells => cells.map((cell) => +cell.dataset.value)"
LAPTOPS, PHONE = [(1366, 657), (1280, 720)], (390, 844)
TEMPERATURE = "+document.querySelector('#soft-targets-table').dataset.temperature"


def softmax(logits, temperature):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def answered_anew(page, action):
    """Do something that brings new answers, and wait until they are shown."""
    page.evaluate("document.querySelector('#answers').firstElementChild?.setAttribute('data-old', '')")
    action()
    page.wait_for_selector("#answers .answer:not([data-old])")
    page.wait_for_function("!document.querySelector('#answers [data-old]')")


def upload(page, path):
    """Upload a file and wait for its answers."""
    answered_anew(page, lambda: page.locator("#image input[type=file]").set_input_files(path))


def choose_example(page, position):
    """Click on an example and wait for its answers."""
    answered_anew(page, page.locator("#examples img").nth(position).click)


def other_examples(page):
    """The names of the examples that are not shown, in class order."""
    shown = example_shown(page)
    return [name for name in CLASSES if name != shown]


def example_shown(page):
    """The name of the example that is shown; None while none is."""
    pressed = page.locator("#examples [aria-pressed=true]")
    return pressed.get_attribute("title") if pressed.count() else None


def share(text):
    """A share as the page writes it, "12.3%" (or "> 99.9%"), as a number from 0 to 1."""
    return float(re.search(r"[\d.]+", text)[0]) / 100


def assert_serves_document(page, name):
    """The page links to a file of docs/, and serves it as text."""
    link = page.get_by_role("link", name=f"docs/{name}", include_hidden=True).first
    link.wait_for(state="attached")
    answer = page.request.get(link.evaluate("(link) => link.href"))
    assert answer.ok and answer.headers["content-type"].startswith("text/plain")
    assert answer.text() == (ROOT / "docs" / name).read_text("utf-8")


def settle(page):
    """Wait for two frames: what was put off to the next one has been drawn then."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def table(page):
    """The live table, settled: T, and each network's ten numbers in class order."""
    settle(page)
    return page.evaluate(
        """() => {
            const table = document.querySelector('#soft-targets-table');
            const rows = [...table.querySelectorAll('tbody tr')];
            const of = (role) => rows.map((row) => +row.querySelector(`[data-model=${role}]`).dataset.value);
            return {
                temperature: +table.dataset.temperature,
                classes: rows.map((row) => row.dataset.class),
                teacher: of('teacher'), student: of('student'), distilled: of('distilled'),
            };
        }"""
    )


def number_in(page, selector):
    """The number at the start of an element's text."""
    settle(page)
    return float(page.locator(selector).inner_text().split()[0])


def drag(page, *shares, steps=10):
    """Drag the slider's thumb with the mouse to these shares of its length, one after the other."""
    box = page.locator("#temperature input[type=range]").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for share in shares:
        page.mouse.move(box["x"] + box["width"] * share, middle, steps=steps)
    page.mouse.up()


def note_changes(page, selector, name):
    """Have the page note in `noted` each number that an element's data-`name` becomes from now on."""
    page.evaluate(
        """([selector, name]) => {
            const element = document.querySelector(selector);
            window.noted = [];
            const note = () => window.noted.push(+element.dataset[name]);
            new MutationObserver(note).observe(element, {attributes: true, attributeFilter: [`data-${name}`]});
        }""",
        [selector, name],
    )


def hold_questions(page):
    """Hold the page's questions to the server back.

    Returns:
        What waits until one is asked, and what lets it go and waits until its answer has come.
    """
    questions, holds = [], True
    page.route("**/queue/join*", lambda question: questions.append(question) if holds else question.continue_())

    def wait_for_one():
        while not questions:
            page.wait_for_timeout(20)

    def let_go():
        nonlocal holds
        wait_for_one()
        holds = False
        assert len(questions) == 1
        with page.expect_response("**/queue/join*"):
            questions[0].continue_()
        page.wait_for_timeout(600)  # an answer takes a third of that

    return wait_for_one, let_go


def opened(page, view):
    """The page with one of the stage's folded views open: map or replay."""
    page.locator(f"#{view} > summary").click()
    page.wait_for_selector(f"#{view} .panel", timeout=PATIENCE)
    page.locator(f"#{view}").evaluate("(node) => node.scrollIntoView()")
    return page


def drawn(page, temperature):
    """The pixels of each line on the map, once it is drawn at this temperature."""
    page.wait_for_function(
        "(t) => document.querySelector('#map-sentence').textContent.includes(`T = ${t}`)", arg=f"{temperature:.2f}"
    )
    return page.locator("#map-picture .lines line").evaluate_all(
        "lines => Object.fromEntries(lines.map((line) => [line.dataset.pair, +line.getAttribute('stroke-width')]))"
    )


def shown_at(page, moment):
    """The numbers of both students in the replay's table, once it is drawn at this moment."""
    page.wait_for_function("(m) => document.querySelector('#replay-table').dataset.moment === String(m)", arg=moment)
    rows = page.locator("#replay-table tbody")
    return {role: rows.locator(f"[data-model={role}]").evaluate_all(VALUES) for role in ROLES}


def taught_at():
    """The T at which the distilled student that ships was taught, where the slider begins."""
    return checkpoint.load_config(ROOT / "checkpoints" / "distilled")["recipe"]["temperature"]


def ticks_above(temperature):
    """The slider's marks above a temperature, where Page Up leads."""
    return [tick for tick in sorted({0.5, 1, 2, taught_at(), 8, 20}) if tick > temperature]
