"""What the door before Gradio keeps out: addresses of other hosts, useless routes, what is too much; its headers."""

import asyncio
import json
import os
import re
import socketserver
import threading
import time
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
import safehttpx
from gradio import processing_utils
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from kd.demo import door as door_module
from kd.demo import page as page_module
from kd.demo import uploads
from kd.demo.crowd import QUEUE, SINGLE_PHOTO
from kd.demo.door import MAX_DEPTH, MAX_MESSAGE, PLACES, Door, RefusalError, address_of, only_uploads
from tests.serving import ROOT, api_client
from tests.visitors import RefusalError as AnswerError
from tests.visitors import Visitor, photo_bytes

NO_UPLOAD = "This is not an uploaded file"


# No address is fetched


class Elsewhere(socketserver.ThreadingTCPServer):
    """Another host, which remembers what was asked of it, and answers with a picture."""

    daemon_threads = True

    def __init__(self):
        seen = self.seen = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                seen.append(self.rfile.readline().decode().split()[1])
                while self.rfile.readline().strip():
                    pass
                picture = photo_bytes(Image.new("RGB", (32, 32), "red"))
                self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\n" + picture)

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture(scope="module")
def elsewhere():
    """A host that Gradio takes for a public one."""
    server = Elsewhere()
    threading.Thread(target=server.serve_forever, daemon=True).start()

    async def is_public(host):
        return "127.0.0.1"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processing_utils, "PUBLIC_HOSTNAME_WHITELIST", ["127.0.0.1"])
        patch.setattr(safehttpx, "async_validate_url", is_public)
        yield server
    server.shutdown()


@pytest.fixture(scope="module")
def page(elsewhere, tmp_path_factory):
    """The real page in this process, where the other host is a public one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        page = page_module.build_page(ROOT / "checkpoints")
        page_module.launch(page, prevent_thread_lock=True, quiet=True)
        yield page
        page.close()


@pytest.fixture
def visitor(page):
    return Visitor(page.local_url)


def file_at(path, **more):
    return {"path": path, "meta": {"_type": "gradio.FileData"}} | more


def sentence_of(ask, *arguments):
    with pytest.raises(AnswerError) as caught:
        ask(*arguments)
    return str(caught.value)


def test_gradio_alone_would_fetch_the_address(elsewhere):
    """Or the tests below would prove nothing."""

    def classify(image: gr.FileData) -> str:
        return "done"

    with gr.Blocks() as bare:
        gr.api(classify, api_name="classify")
    bare.queue().launch(prevent_thread_lock=True, quiet=True)
    try:
        visitor = Visitor(bare.local_url)
        visitor.wait(visitor.join(visitor.event(api_name="classify"), [file_at(f"{elsewhere.address}/alone")]))
        visitor.http.get(f"gradio_api/file={elsewhere.address}/alone-too")
    finally:
        bare.close()
    assert elsewhere.seen == ["/alone", "/alone-too"]
    elsewhere.seen.clear()


@pytest.mark.parametrize(
    "disguise",
    [
        lambda address: file_at(f"{address}/x.png"),
        lambda address: {"path": f"{address}/x.png"},
        lambda address: file_at(f"{address}/x.png", url=f"{address}/x.png", is_stream=False, orig_name="x.png"),
        lambda address: file_at("x.png", url=f"{address}/x.png"),
        lambda address: file_at(f"{address}/x.png", is_stream=True),
        lambda address: file_at(address, meta=3),
        lambda address: {"path": {"path": f"{address}/x.png", "meta": {"_type": "gradio.FileData"}}},
        lambda address: file_at(f"{uploads.get_upload_folder()}/../x.png", url=f"{address}/x.png"),
    ],
    ids=["address", "bare", "with url", "url alone", "stream", "odd meta", "within", "beside"],
)
def test_an_address_in_the_place_of_a_file_gets_a_sentence_and_no_request(elsewhere, visitor, disguise):
    foreign = disguise(elsewhere.address)
    assert sentence_of(visitor.classify, foreign).startswith(NO_UPLOAD)
    assert sentence_of(visitor.show, foreign).startswith(NO_UPLOAD)
    (row,) = visitor.show_many([foreign])["rows"]
    assert row["problem"].startswith(NO_UPLOAD)
    good = visitor.upload(photo_bytes(Image.new("RGB", (40, 40), "blue")))
    answers = visitor.classify([good, foreign])
    assert answers[0]["models"] and answers[1]["error"].startswith(f"Image 2 of 2: {NO_UPLOAD}")
    assert elsewhere.seen == []


def test_no_event_of_the_page_fetches_an_address_from_any_of_its_inputs(elsewhere, page, visitor):
    foreign = file_at(f"{elsewhere.address}/x.png", url=f"{elsewhere.address}/x.png")
    events = visitor.config["dependencies"]
    assert len(events) > 8
    for event in events:
        for value in (foreign, [foreign], {"deep": [{"er": foreign}]}):
            body = {
                "data": [value] * len(event["inputs"]), "fn_index": event["id"], "session_hash": visitor.session,
                "event_data": {"position": 0, "file": foreign}, "trigger_id": None,
            }  # fmt: skip
            reply = visitor.http.post("gradio_api/queue/join", json=body)
            if reply.status_code == 200:
                try:
                    visitor.wait(reply.json()["event_id"])
                except AnswerError:
                    pass
    for route in ("call/classify", "run/classify", "api/classify", "stream/x"):
        visitor.http.post(f"gradio_api/{route}", json={"data": [foreign, 4]})
    visitor.http.post("gradio_api/call/v2/classify", json={"image": foreign, "temperature": 4})
    time.sleep(0.5)
    assert elsewhere.seen == []


def test_gradios_client_uploads_a_file_and_is_told_that_an_address_is_none(elsewhere, page):
    client = api_client(page.local_url)
    answer = client.predict(handle_file(ROOT / "kd" / "demo" / "examples" / "cat.png"), api_name="/classify")
    assert answer["models"]
    with pytest.raises(AppError, match=NO_UPLOAD):
        client.predict(handle_file(f"{elsewhere.address}/client.png"), api_name="/classify")
    # The client itself may look whether the address exists; the server does not fetch it.
    assert not [path for path in os.listdir(uploads.get_upload_folder()) if "client" in path]


@pytest.mark.parametrize(
    "route", ["file={}/x", "file=%68ttp{}/x", "file/{}/x", "proxy={}/x", "runs", "vibe-code", "component_server", "mcp"]
)
def test_no_route_leads_elsewhere(elsewhere, visitor, route):
    address = elsewhere.address.removeprefix("http") if "%68" in route else elsewhere.address
    for method in ("GET", "HEAD", "POST"):
        reply = visitor.http.request(method, "gradio_api/" + route.format(address))
        assert reply.status_code in (403, 404, 405)
    assert elsewhere.seen == []


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b'"' + b"x" * MAX_MESSAGE + b'"', b"\xff\xfe"])
def test_a_message_that_is_none_gets_a_sentence(visitor, body):
    reply = visitor.http.post("gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
    assert reply.status_code in (400, 413)
    assert re.fullmatch(r"This message is .+\.", reply.json()["detail"])


def test_what_is_nested_without_end_is_refused():
    value = "x"
    for _ in range(MAX_DEPTH + 1):
        value = [value]
    with pytest.raises(RefusalError, match="nested"):
        only_uploads(value)


def test_an_upload_is_let_in_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    upload = file_at(str(tmp_path / "a" / "cat.png"), orig_name="cat.png")
    message = {"data": [upload, [upload], 4.0, None, "http://text"], "session_hash": "x"}
    assert only_uploads(message) == message


# Not too much of anything


def run(door, scope, *messages):
    """Send a request to the door; returns the status and the content of its answer."""
    sent, messages = [], list(messages)

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(
        door({"type": "http", "method": "POST", "headers": [], "client": ("9.9.9.9", 1)} | scope, receive, send)
    )
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def waiting(*visitors):
    """A page in whose queue these wait: pairs of a session and an address."""
    events = [
        SimpleNamespace(session_hash=session, request=SimpleNamespace(scope={"client": (address, 1), "headers": []}))
        for session, address in visitors
    ]
    queue = SimpleNamespace(event_queue_per_concurrency_id={"single photo": SimpleNamespace(queue=events)})
    event = SimpleNamespace(fn=len, inputs=[])
    return SimpleNamespace(_queue=queue, fns={0: event}, blocks={}, title="", root_path="")


async def taking(scope, receive, send):
    """An application that reads all it is sent."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def join(door, session="mine", address="9.9.9.9"):
    body = json.dumps({"data": [], "fn_index": 0, "session_hash": session}).encode()
    scope = {"path": "/gradio_api/queue/join", "client": (address, 1)}
    return run(door, scope, {"type": "http.request", "body": body})[0]


def test_a_visitor_has_some_places_in_the_queue_and_no_more():
    mine = [("mine", "9.9.9.9")]
    assert join(Door(taking, waiting(*mine * (PLACES - 1)))) == 200
    assert join(Door(taking, waiting(*mine * PLACES))) == 429
    assert join(Door(taking, waiting(*mine * PLACES)), session="another") == 200


def test_a_crowd_behind_one_address_gets_half_of_all_places():
    crowd = [(f"visitor {number}", "9.9.9.9") for number in range(QUEUE // 2)]
    assert join(Door(taking, waiting(*crowd[1:]))) == 200
    assert join(Door(taking, waiting(*crowd))) == 429
    assert join(Door(taking, waiting(*crowd)), address="8.8.8.8") == 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("9.9.9.9", "", "9.9.9.9"),
        ("9.9.9.9", "1.2.3.4", "9.9.9.9"),  # anybody can say so
        ("10.1.2.3", "6.6.6.6, 1.2.3.4", "1.2.3.4"),  # a proxy adds what it sees at the end
        ("10.1.2.3", "", "10.1.2.3"),
        ("no address", "1.2.3.4", "no address"),
    ],
)
def test_behind_a_proxy_a_visitors_address_is_what_the_proxy_says(peer, forwarded, address):
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert address_of({"client": (peer, 1), "headers": headers}) == address


@pytest.fixture
def stingy(monkeypatch, tmp_path):
    """A door that lets 1,000 bytes in, for each address, and nothing more."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(door_module, "UPLOAD_BURST", 1000)
    monkeypatch.setattr(door_module, "UPLOAD_RATE", 1e-9)
    return Door(taking, waiting())


def upload_bytes(door, *lengths, address="9.9.9.9", announced=None):
    chunks = [{"type": "http.request", "body": b"x" * length, "more_body": True} for length in lengths]
    chunks.append({"type": "http.request", "body": b"", "more_body": False})
    headers = [(b"content-length", str(announced).encode())] if announced else []
    return run(door, {"path": "/gradio_api/upload", "headers": headers, "client": (address, 1)}, *chunks)[0]


def test_uploads_have_an_allowance_for_each_address(stingy):
    assert upload_bytes(stingy, 400, 400) == 200
    assert upload_bytes(stingy, 100, 101) == 429
    assert upload_bytes(stingy, 400, 400, address="8.8.8.8") == 200


def test_an_upload_that_is_announced_too_large_is_refused_unread(stingy):
    assert upload_bytes(stingy, announced=1001) == 429
    assert upload_bytes(stingy, 1000, announced=1000) == 200


def test_who_is_refused_has_been_heard_out_and_so_hears_the_answer(stingy):
    chunks = [{"type": "http.request", "body": b"x" * 999, "more_body": number < 3} for number in range(4)]
    scope = {"path": "/gradio_api/upload", "headers": [(b"content-length", b"3996")]}
    status, answer = run(stingy, scope, *chunks, {"type": "http.disconnect"})
    assert status == 429 and answer.decode().endswith("Please wait a little.")
    assert run(stingy, {"path": "/gradio_api/vibe-code"}, *chunks)[0] == 404


def test_an_upload_that_announces_less_than_it_sends_is_broken_off(stingy):
    assert upload_bytes(stingy, 900, 900, announced=900) == 429


def stored(folder, name, content, age):
    path = folder / name / "file.png"
    path.parent.mkdir()
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_of_all_uploads_the_oldest_go_when_there_is_too_much(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(uploads, "MAX_STORED", 2500)
    paths = [stored(tmp_path, f"{age}", b"x" * 1000, age) for age in (400, 300, 200, 100)]
    uploads.sweep()
    assert [path.exists() for path in paths] == [False, False, True, True]


def test_of_many_small_uploads_the_oldest_go(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(uploads, "MAX_STORED_FILES", 2)
    paths = [stored(tmp_path, f"{age}", b"x", age) for age in (30, 20, 10)]
    uploads.sweep()
    assert [path.exists() for path in paths] == [False, True, True]


def test_what_is_left_of_an_upload_that_broke_off_goes_with_its_time(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    rest = tmp_path / "tmp123"
    rest.write_bytes(b"half a photo")
    uploads.sweep()
    assert rest.exists()
    os.utime(rest, (time.time() - uploads.CACHE_SECONDS - 1,) * 2)
    uploads.sweep()
    assert not rest.exists()


def test_an_upload_that_was_swept_is_asked_for_again(visitor, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_STORED", 0)
    upload = visitor.upload(photo_bytes(Image.new("RGB", (41, 41))))
    uploads.sweep()
    assert not os.path.exists(upload["path"])
    assert "upload it again" in sentence_of(visitor.show, upload)


# What browsers and other sites are told


@pytest.mark.parametrize("path", ["", "config", "theme.css", "gradio_api/info", "gradio_api/proxy=x", "nothing"])
def test_every_answer_has_the_headers_of_a_public_page(visitor, path):
    headers = visitor.http.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'" and policy["object-src"] == "'none'"
    hosts = re.findall(r"https?://\S+", " ".join(value for name, value in policy.items() if name != "frame-ancestors"))
    assert hosts == [] and "*" not in headers["content-security-policy"]


def test_a_link_to_the_page_has_its_own_preview_with_a_picture(visitor, page):
    text = visitor.http.get("").text
    found = dict(re.findall(r'<meta property="(og:\w+)" content="([^"]*)">', text))
    assert found["og:title"] == "Dark Knowledge"
    assert len(found["og:description"]) > 50
    assert found["og:url"] == page.local_url
    assert text.count('="og:') == len(found) == 5 and "Click to try out the app" not in text
    picture = httpx.get(found["og:image"])
    assert picture.headers["content-type"] == "image/png"
    with Image.open(door_module.PREVIEW) as image:
        assert image.size == (1200, 630) and len(picture.content) < 300_000


def test_a_preview_of_a_page_behind_a_proxy_names_the_address_that_visitors_see(visitor):
    headers = {"x-forwarded-host": "dark.example", "x-forwarded-proto": "https"}
    assert 'content="https://dark.example/preview.png"' in visitor.http.get("", headers=headers).text


# Messages in which every value may be anything


def asked_raw(visitor, event, message):
    """What the server says to a message for one of the page's events: a sentence, or the value of its answer."""
    body = {"data": [], "fn_index": event, "session_hash": visitor.session, "event_data": None, "trigger_id": None}
    content = json.dumps(body | message).encode()  # with NaN and lone surrogates, which httpx would not write
    reply = visitor.http.post("gradio_api/queue/join", content=content, headers={"content-type": "application/json"})
    if reply.status_code != 200:
        assert reply.status_code in (400, 429)
        return reply.json()["detail"]
    value = visitor.wait(reply.json()["event_id"])[0]
    return value.get("problem") or value


NEST = [[[[[[[[[["deep"]]]]]]]]]]
ODD = (None, 3, -1, True, "x", "x" * 100_000, "\ud800", "a\0b", [], {}, NEST, float("nan"), float("inf"), 10**400)
WHOLE_ODD = tuple(odd for odd in ODD if odd is not True)
CRAFTED = [
    *({"event_data": odd} for odd in ODD),
    *({"crop": {"file": odd}} for odd in (*ODD, "/etc/passwd", "../x", "http://192.0.2.1/x.png")),
    *({"crop": {"whole": odd}} for odd in WHOLE_ODD),
    *({"crop": {name: odd}} for name in ("across", "side") for odd in ODD if odd != 3),
    *({"crop": {"number": odd}} for odd in ODD if odd not in (None, 3, -1) or odd is True),
    *({"data": odd} for odd in ODD if odd != []),
    *({"fn_index": odd} for odd in (*ODD, 10**6) if odd != 3),
    *({"session_hash": odd} for odd in ODD if odd not in ("x", "\ud800", "a\0b")),
    *({"trigger_id": odd} for odd in ODD if odd is True or odd not in (None, 3, -1)),
]


def test_fifty_and_more_crafted_messages_get_a_sentence_each_no_traceback_and_the_next_photo_an_answer(visitor, capfd):
    upload, event = visitor.upload(photo_bytes(Image.new("RGB", (40, 40), "blue"))), visitor.event("stage", "crop")
    good = {"file": upload["path"], "whole": False, "across": 0.5, "down": 0.5, "side": 1, "number": 7}
    assert asked_raw(visitor, event, {"event_data": good})["number"] == 7
    assert len(CRAFTED) > 50
    for message in CRAFTED:
        if "crop" in message:
            message = {"event_data": good | message["crop"]}
        said = asked_raw(visitor, event, message)
        assert isinstance(said, str) and said.endswith(".") and len(said) < 200, (str(message)[:200], said)
    assert asked_raw(visitor, event, {"event_data": good | {"whole": True}})["models"]
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said and "Error" not in said


@pytest.mark.parametrize(
    ("part", "trigger"), [("image", "input"), ("gallery-files", "upload"), ("game-image", "input")]
)
def test_what_is_no_file_is_told_so_wherever_a_file_is_awaited(visitor, capfd, part, trigger):
    for odd in (3, "x", True, NEST, [3], [None], [[{}]], float("nan"), "\ud800"):
        said = asked_raw(visitor, visitor.event(part, trigger), {"data": [odd]})
        assert said == uploads.NO_UPLOAD
    for values in ([], [None, None]):
        said = asked_raw(visitor, visitor.event(part, trigger), {"data": values})
        assert said == "This message has to bring a list of 1 values."
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_temperature_of_any_kind_and_length_gets_a_short_sentence(visitor):
    upload = visitor.upload(photo_bytes(Image.new("RGB", (40, 40), "blue")))
    for odd in (NEST, {}, "x" * 1000, 10**400, float("nan"), "-1"):
        body = {"data": [upload, odd], "fn_index": visitor.event(api_name="classify"), "session_hash": visitor.session}
        headers = {"content-type": "application/json"}
        reply = visitor.http.post("gradio_api/queue/join", content=json.dumps(body).encode(), headers=headers)
        said = sentence_of(visitor.wait, reply.json()["event_id"])
        assert said.startswith("The temperature is wrong") and len(said) < 150


# What is read of Gradio's own


def test_the_real_queue_shows_who_waits_as_the_door_reads_it(page, visitor, monkeypatch):
    """Fails where a new Gradio keeps its queue elsewhere; `events_waiting` in kd/demo/door.py then wants a new way."""
    held = threading.Event()
    monkeypatch.setattr(page_module, "show", lambda *_, **__: held.wait(60) and {})
    upload, event = visitor.upload(photo_bytes(Image.new("RGB", (40, 40), "blue"))), visitor.event("image", "input")
    running = [Visitor(page.local_url) for _ in range(SINGLE_PHOTO["concurrency_limit"])]
    try:
        for other in running:  # as many as are answered at once
            other.join(event, [upload])
        deadline = time.monotonic() + 60
        while door_module.events_waiting(page) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert door_module.events_waiting(page) == []
        for _ in range(PLACES):
            visitor.join(event, [upload])
        waiting = door_module.events_waiting(page)
        assert [each.session_hash for each in waiting] == [visitor.session] * PLACES
        assert {address_of(each.request.scope) for each in waiting} == {"127.0.0.1"}
        assert "still waiting" in sentence_of(visitor.join, event, [upload])
    finally:
        held.set()
