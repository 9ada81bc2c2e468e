"""What the page loads and when, what it asks while it is dragged, and what remains when the server is gone."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from gradio_client import handle_file

from kd.cifar10 import CLASSES
from tests.browser import EXAMPLES, PATIENCE, choose_example, drag, example_shown, settle, softmax, table
from tests.serving import api_client, serve

FIRST_PICTURE_BYTES = 350_000


@pytest.fixture
def received(visit):
    """Opens the page anew and counts what it receives: (page, list of (URL, bytes on the wire), URLs asked for)."""
    page = visit()
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    urls, finished = {}, []
    session.on("Network.requestWillBeSent", lambda event: urls.update({event["requestId"]: event["request"]["url"]}))
    session.on(
        "Network.loadingFinished",
        lambda event: finished.append((urls.get(event["requestId"], ""), event["encodedDataLength"])),
    )
    page.reload()
    page.wait_for_selector("#soft-targets-table tbody tr")
    yield page, finished, urls
    session.detach()


def test_the_first_picture_takes_less_than_350_kb_and_plotly_comes_with_the_results_and_all_from_here(received, server):
    page, finished, urls = received
    page.wait_for_load_state("networkidle")  # whatever would follow by itself has its chance
    assert 100_000 < sum(size for _, size in finished) < FIRST_PICTURE_BYTES
    assert not any("Plotly" in url for url, _ in finished)
    page.get_by_role("tab", name="Results").click()
    page.wait_for_selector(".claim .js-plotly-plot .main-svg", state="attached")
    assert any("Plotly" in url for url, _ in finished)
    assert [url for url in urls.values() if not url.startswith((server, "data:", "blob:"))] == []


def test_an_example_and_its_drag_need_no_request(visit, classify):
    page = visit()
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    choose_example(page, CLASSES.index("bird"))
    drag(page, 0.6)
    shown = table(page)
    assert [url for url in requests if not url.startswith("data:")] == []
    logits = classify(EXAMPLES / "bird.png")["models"]["teacher"]["logits"]
    assert shown["teacher"] == pytest.approx(softmax(logits, shown["temperature"]), abs=1e-6)


@pytest.mark.slow
def test_a_page_is_dragged_without_requests_while_others_drag_and_upload(visit, server, classify):
    page, *others = [visit() for _ in range(4)]
    clients = [api_client(server) for _ in range(10)]
    requests = []
    with ThreadPoolExecutor(len(clients)) as visitors:
        dog = handle_file(EXAMPLES / "dog.png")
        answers = [visitors.submit(client.predict, dog, 4.0, api_name="/classify") for client in clients]
        for other in others:
            other.locator("#play").click()  # it draws at every frame
        started = time.monotonic()
        page.on("request", lambda request: requests.append(request.url))
        drag(page, 0.1, 0.9, 0.3, steps=30)
        shown = table(page)
        assert all(answer.result()["models"] for answer in answers)
    logits = classify(EXAMPLES / f"{example_shown(page)}.png")["models"]["teacher"]["logits"]
    assert shown["temperature"] == pytest.approx(0.5 * 40**0.3, rel=0.1)
    assert shown["teacher"] == pytest.approx(softmax(logits, shown["temperature"]), abs=1e-6)
    # Whether the server is still there, the page asks every ten seconds, dragged or not; nothing else, and no oftener.
    assert {url.rpartition("/")[2] for url in requests} <= {"app_id"}
    assert len(requests) <= 1 + (time.monotonic() - started) / 10
    for other in others:
        before = table(other)["temperature"]
        other.wait_for_function(f"+document.querySelector('#soft-targets-table').dataset.temperature !== {before}")


@pytest.mark.slow
def test_when_the_server_is_gone_the_page_says_so_and_the_slider_goes_on(browser):
    with serve() as (address, process):
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_selector("#soft-targets-table tbody tr")
        settle(page)
        assert page.locator("#connection").inner_text() == ""
        process.terminate()
        process.wait()
        page.get_by_text("The server cannot be reached").wait_for()
        drag(page, 0.2)
        assert table(page)["temperature"] < 2
        assert sum(table(page)["teacher"]) == pytest.approx(1)
        page.close()


def test_a_lost_network_is_said_at_once_and_the_sentence_goes_when_it_is_back(visit):
    page = visit()
    # No request can tell it, only the browser.
    page.evaluate("() => { window.asked = window.fetch; window.fetch = () => new Promise(() => {}); }")
    page.context.set_offline(True)
    page.get_by_text("The server cannot be reached").wait_for()
    assert page.locator("#connection").get_attribute("role") == "status"
    page.evaluate("() => { window.fetch = window.asked; }")
    page.context.set_offline(False)
    page.wait_for_function("document.querySelector('#connection').textContent === ''")
