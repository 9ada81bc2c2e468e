"""What the door before Gradio keeps out: addresses of other hosts, useless routes, what is too much; its headers."""

import asyncio
import json
import os
import re
import socketserver
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import gradio.route_utils
import httpx
import pytest
import safehttpx
import uvicorn
from gradio import processing_utils
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from kd.demo import door as door_module
from kd.demo import kept, messages, uploads
from kd.demo import page as page_module
from kd.demo import visitor as visitor_module
from kd.demo.crowd import QUEUE, STREAMS, may_have
from kd.demo.door import FAILED, FULL, FULL_FOR_ONE, MAX_ADDRESS, NO_FILE, Door
from kd.demo.messages import MAX_COMMAS, MAX_DEPTH, MAX_MESSAGE, MAX_VALUES, TOO_MANY_VALUES, RefusalError, only_uploads
from kd.demo.preview import PREVIEW
from tests.serving import ROOT, api_client, wait_until
from tests.visitors import RefusalError as VisitorRefused
from tests.visitors import Visitor, photo_bytes

NO_UPLOAD = "This is not an uploaded file"


@pytest.fixture(autouse=True)
def refusals_come_at_once(monkeypatch):
    monkeypatch.setattr(door_module, "REFUSAL_PAUSE", 0)


# No address is fetched


class Elsewhere(socketserver.ThreadingTCPServer):
    """Another host, which remembers what was asked of it, and sends a picture."""

    daemon_threads = True

    def __init__(self):
        requests = self.requests = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                requests.append(self.rfile.readline().decode().split()[1])
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
def page(elsewhere, networks, tiny, tmp_path_factory):
    """The real page in this process, where the other host is a public one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        page = page_module.build_page(networks)
        page_module.launch(page, prevent_thread_lock=True, quiet=True)
        yield page
        page.close()


@pytest.fixture
def visitor(page):
    return Visitor(page.local_url)


def door_of(page):
    """The door that the running page has, found in its middleware."""
    layer = page.server_app.middleware_stack
    while not isinstance(layer, Door):
        layer = layer.app
    return layer


def file_at(path, **more):
    return {"path": path, "meta": {"_type": "gradio.FileData"}} | more


def sentence_of(ask, *arguments):
    with pytest.raises(VisitorRefused) as caught:
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
    assert elsewhere.requests == ["/alone", "/alone-too"]
    elsewhere.requests.clear()


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
    assert elsewhere.requests == []


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
                except VisitorRefused:
                    pass
    for route in ("call/classify", "run/classify", "api/classify", "stream/x"):
        visitor.http.post(f"gradio_api/{route}", json={"data": [foreign, 4]})
    visitor.http.post("gradio_api/call/v2/classify", json={"image": foreign, "temperature": 4})
    time.sleep(0.5)
    assert elsewhere.requests == []


def test_gradios_client_uploads_a_file_and_is_told_that_an_address_is_none(elsewhere, page):
    client = api_client(page.local_url)
    answer = client.predict(handle_file(ROOT / "kd" / "demo" / "examples" / "cat.png"), api_name="/classify")
    assert answer["models"]
    with pytest.raises(AppError, match=NO_UPLOAD):
        client.predict(handle_file(f"{elsewhere.address}/client.png"), api_name="/classify")
    # The client itself may look whether the address exists; the server does not fetch it.
    stored = [path.name for path in Path(uploads.get_upload_folder()).rglob("*.png")]
    assert "cat.png" in stored and "client.png" not in stored


@pytest.mark.parametrize(
    "route",
    [
        "file={}/x",
        "file=%68ttp{}/x",
        "file/{}/x",
        "proxy={}/x",
        "runs",
        "vibe-code",
        "component_server",
        "mcp",
        "cancel",
        "call/v2/classify",
    ],
)
def test_no_route_leads_elsewhere(elsewhere, visitor, route):
    address = elsewhere.address.removeprefix("http") if "%68" in route else elsewhere.address
    for method in ("GET", "HEAD", "POST"):
        reply = visitor.http.request(method, "gradio_api/" + route.format(address))
        assert reply.status_code in (403, 404, 405)
    assert elsewhere.requests == []


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


@pytest.mark.parametrize("path", [1, "/tmp/gradio/a", "{uploads}/a"])
def test_a_message_of_very_many_files_is_refused_before_all_are_looked_for(tmp_path, monkeypatch, path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    path = path.format(uploads=tmp_path) if isinstance(path, str) else path
    files, looked_for = [{"path": path}] * 90_000, []
    monkeypatch.setattr(messages, "is_upload", lambda path: looked_for.append(path) or uploads.is_upload(path))
    with pytest.raises(RefusalError, match="holds too much"):
        only_uploads({"data": [files]})
    assert len(looked_for) <= MAX_VALUES
    assert len(only_uploads({"data": [files[: MAX_VALUES // 2]]})["data"][0]) == MAX_VALUES // 2


def test_a_long_message_of_small_parts_is_refused_before_it_is_taken_apart(monkeypatch):
    async def receive():
        return {"body": b'{"data": [' + b"1," * (MAX_COMMAS + 1) + b"1]}"}

    monkeypatch.setattr(messages.json, "loads", lambda _: pytest.fail("taken apart"))
    with pytest.raises(RefusalError, match=TOO_MANY_VALUES):
        asyncio.run(messages.checked_message(receive, "queue/join", None))


def test_who_asks_for_too_much_waits_for_the_answer(monkeypatch):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr(door_module, "REFUSAL_PAUSE", 7)
    monkeypatch.setattr(door_module, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep}))
    assert join(Door(taking, waiting(*crowd(QUEUE // 2)))) == 429
    assert waited[-1] == 7
    waited.clear()
    assert join(Door(taking, waiting(*(("session", f"9.9.8.{number}") for number in range(QUEUE))))) == 503
    assert waited[-1] == 7
    waited.clear()
    assert join(Door(taking, waiting())) == 200
    assert not waited


def test_who_has_his_share_of_the_queue_is_refused_before_his_message_is_read(monkeypatch):
    async def read(*_):
        pytest.fail("read")

    monkeypatch.setattr(door_module, "checked_message", read)
    assert join(Door(taking, waiting(*crowd(QUEUE // 2)))) == 429


def test_a_folder_among_the_uploads_is_none(tmp_path, monkeypatch):
    """Gradio's own removal of old uploads would fail at it, and never run again."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cat.png").write_bytes(b"x")
    (tmp_path / "b.png").symlink_to("/etc/hosts")
    assert uploads.is_upload(str(tmp_path / "a" / "cat.png")) and uploads.is_upload(str(tmp_path / "gone" / "cat.png"))
    for odd in ("", "a", "a/../a", "b.png", "../x", "a\0b", "\ud800", "x" * 10_000):
        assert not uploads.is_upload(f"{tmp_path}/{odd}"), odd


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
    """A page in whose queue these wait: pairs of a session and an address; every other one is being answered."""
    events = [
        SimpleNamespace(session_hash=session, request=SimpleNamespace(scope={"client": (address, 1), "headers": []}))
        for session, address in visitors
    ]
    queue = SimpleNamespace(
        event_queue_per_concurrency_id={"photos": SimpleNamespace(queue=events[::2])},
        active_jobs=[None, *([event] for event in events[1::2])],
        pending_messages_per_session={},
        send_message=None,
    )
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


def crowd(number, address="9.9.9.9", sessions=True):
    return [(f"visitor {each}" if sessions else "mine", address) for each in range(number)]


def test_a_crowd_behind_one_address_gets_half_of_all_places():
    assert join(Door(taking, waiting(*crowd(QUEUE // 2 - 1)))) == 200
    assert join(Door(taking, waiting(*crowd(QUEUE // 2)))) == 429
    assert join(Door(taking, waiting(*crowd(QUEUE // 2))), address="8.8.8.8") == 200


@pytest.mark.parametrize("held", [QUEUE // 2 - 1, QUEUE // 2])
def test_a_name_that_a_session_gives_itself_changes_nobodys_share(held):
    said = {
        join(Door(taking, waiting(*crowd(held, sessions=sessions))), session=session)
        for sessions in (True, False)
        for session in ("mine", "ever another")
    }
    assert said == {200 if held < QUEUE // 2 else 429}


def test_all_who_send_from_one_network_of_ipv6_are_one_visitor():
    page = waiting(*((f"visitor {each}", f"2001:db8:1:2::{each:x}") for each in range(QUEUE // 2)))
    assert join(Door(taking, page), address="2001:db8:1:2:ffff::1") == 429
    assert join(Door(taking, page), address="2001:db8:1:3::1") == 200


def test_the_more_addresses_there_are_the_less_each_gets_and_a_new_one_finds_a_place_to_the_end():
    held = Counter()
    while any(may_have(held[each], held.total(), QUEUE) for each in range(10)):
        for each in range(10):
            if may_have(held[each], held.total(), QUEUE):
                held[each] += 1
    assert max(held.values()) - min(held.values()) <= 1 and held.total() < QUEUE
    everybody = [place for each, number in held.items() for place in crowd(number, f"9.9.9.{each}")]
    assert join(Door(taking, waiting(*everybody)), address="8.8.8.8") == 200
    assert join(Door(taking, waiting(*everybody)), address="9.9.9.1") == 429
    full = [place for each in range(QUEUE) for place in crowd(1, f"9.9.{each}.9")]
    assert join(Door(taking, waiting(*full)), address="8.8.8.8") == 503


def test_who_asks_many_times_at_once_is_counted_before_the_queue_has_him():
    door, statuses = Door(None, waiting(*crowd(QUEUE // 2 - 3))), []

    async def slow(scope, receive, send):
        await asyncio.sleep(0.01)
        await taking(scope, receive, send)

    async def ask():
        body = json.dumps({"data": [], "fn_index": 0, "session_hash": "mine"}).encode()
        messages = [{"type": "http.request", "body": body}]
        scope = {"type": "http", "method": "POST", "headers": [], "path": "/gradio_api/queue/join"}

        async def receive():
            return messages.pop(0)

        async def send(message):
            statuses.append(message.get("status"))

        await door(scope | {"client": ("9.9.9.9", 1)}, receive, send)

    async def ask_all():
        await asyncio.gather(*(ask() for _ in range(20)))

    door.app = slow
    asyncio.run(ask_all())
    assert statuses.count(200) == 3 and statuses.count(429) == 17
    assert not door.joining and not door.open


@pytest.mark.parametrize(
    "path",
    [*(f"/gradio_api/{route}" for route in ("heartbeat/mine", "queue/data", "call/classify/1", "upload_progress")),
     "/", "/config"],
)  # fmt: skip
def test_open_streams_are_counted_for_each_address_and_given_back(path):
    over, statuses, ended = asyncio.Event(), Counter(), []

    async def streaming(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await over.wait()
        ended.append(scope["client"])

    door = Door(streaming, waiting())

    async def open_stream(address):
        said = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            if "status" in message:
                statuses[address, message["status"]] += 1
            said.append(message.get("body", b""))

        scope = {"type": "http", "method": "GET", "headers": [], "path": path}
        await door(scope | {"client": (address, 1)}, receive, send)
        return b"".join(said).decode()

    async def open_all():
        mine = [asyncio.ensure_future(open_stream("9.9.9.9")) for _ in range(STREAMS // 2 + 5)]
        others = [asyncio.ensure_future(open_stream(f"8.8.{n // 99}.{n % 99}")) for n in range(STREAMS // 2 + 5)]
        await asyncio.sleep(0)
        over.set()
        return await asyncio.gather(*mine, *others)

    said = asyncio.run(open_all())
    assert statuses["9.9.9.9", 200] == STREAMS // 2 and statuses["9.9.9.9", 429] == 5
    assert sum(times for (_, status), times in statuses.items() if status == 503) == 5
    assert sum(FULL_FOR_ONE in text for text in said) == sum(FULL in text for text in said) == 5
    assert len(ended) == STREAMS and not door.open


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("9.9.9.9", 1), "9.9.9.9"),
        (("::ffff:9.9.9.9", 1), "9.9.9.9"),  # IPv4 at a socket of both kinds
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("no address", 1), "unknown"),
        (("", 1), "unknown"),
        (None, "unknown"),
    ],
)
def test_a_visitor_is_the_address_of_the_connection_or_its_network_of_ipv6(client, address):
    assert visitor_module.address_of(client) == address


PEER, SPACES_PROXY = "127.0.0.1", "10.1.2.3"


@pytest.mark.parametrize(
    ("peer", "named", "forwarded", "address"),
    [
        (PEER, "", "1.2.3.4", PEER),
        (SPACES_PROXY, "", "1.2.3.4", SPACES_PROXY),  # nobody has named it
        ("192.168.0.7", "10.0.0.0/8", "1.2.3.4", "192.168.0.7"),
        (PEER, "127.0.0.1", "1.2.3.4", "1.2.3.4"),
        (SPACES_PROXY, "10.0.0.0/8", "6.6.6.6, 1.2.3.4", "1.2.3.4"),  # a proxy adds what it sees at the end
        (SPACES_PROXY, "10.0.0.0/8", "6.6.6.6, 1.2.3.4, 10.7.7.7", "1.2.3.4"),  # two proxies
        (SPACES_PROXY, "10.0.0.0/8", "6.6.6.6, 2001:db8::7", "2001:db8::/64"),
        (SPACES_PROXY, "10.0.0.0/8", "6.6.6.6, anything", "unknown"),
        (SPACES_PROXY, "10.0.0.0/8", None, SPACES_PROXY),
    ],
)
def test_only_proxies_that_the_host_names_say_whose_a_connection_is(peer, named, forwarded, address, monkeypatch):
    monkeypatch.setenv(visitor_module.PROXIES, named)
    addresses = []

    async def record(scope, receive, send):
        addresses.append(visitor_module.address_of(scope["client"]))

    config = uvicorn.Config(record, lifespan="off", log_config=None)  # as Gradio makes it
    config.load()
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    scope = {"type": "http", "client": (peer, 1), "headers": headers, "scheme": "http"}
    asyncio.run(config.loaded_app(scope, None, None))
    assert addresses == [address]


@pytest.mark.parametrize(
    ("set_before", "space", "named"),
    [
        (None, None, ""),
        (None, "you/dark-knowledge", visitor_module.PROXIES_OF_A_SPACE),
        ("7.7.7.7", "you/dark-knowledge", "7.7.7.7"),
        ("7.7.7.7", None, "7.7.7.7"),
    ],
)
def test_without_a_word_of_the_host_the_proxy_of_a_space_is_believed_and_elsewhere_none(
    set_before, space, named, monkeypatch
):
    for name, value in ((visitor_module.PROXIES, set_before), ("SPACE_ID", space)):
        monkeypatch.setenv(name, "") if value is None else monkeypatch.setenv(name, value)
        if value is None:
            monkeypatch.delenv(name)
    visitor_module.name_proxies()
    assert os.environ[visitor_module.PROXIES] == named


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


def test_who_is_refused_and_never_ends_is_answered_and_holds_no_place(stingy, monkeypatch):
    monkeypatch.setattr(door_module, "DRAIN_SECONDS", 0.05)
    monkeypatch.setattr(door_module, "REFUSAL_PAUSE", 0)
    sent = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    headers = [(b"content-length", b"3996")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/gradio_api/upload",
        "headers": headers,
        "client": ("9.9.9.9", 1),
    }
    asyncio.run(asyncio.wait_for(stingy(scope, receive, send), 5))
    assert sent[0]["status"] == 429 and not stingy.open


def upload_files(door, *bodies, kind='multipart/form-data; boundary="of the files"'):
    chunks = [{"type": "http.request", "body": body, "more_body": True} for body in bodies]
    chunks.append({"type": "http.request", "body": b"", "more_body": False})
    headers = [(b"content-type", kind.encode())]
    return run(door, {"path": "/gradio_api/upload", "headers": headers}, *chunks)[0]


@pytest.mark.parametrize(
    "parameters",
    ['boundary="of the files"', 'Boundary="of the files"', 'xboundary=zz; boundary="of the files"',
     'boundary=zz; boundary="of the files"', 'charset=x;BOUNDARY = "of the files" ', 'boundary=""', "boundary="],
)  # fmt: skip
def test_many_small_files_count_as_larger_ones_however_they_are_cut(stingy, monkeypatch, parameters):
    monkeypatch.setattr(door_module, "LEAST_UPLOAD", 300)
    kind = f"multipart/form-data; {parameters}"
    assert upload_files(stingy, b"--of the fi", b"les\r\n1\r\n--of the files\r\n2", kind=kind) == 200
    assert upload_files(stingy, b"--of the files\r\n3\r\n--of the files\r\n4", kind=kind) == 429


def test_an_upload_that_announces_less_than_it_sends_is_broken_off(stingy):
    assert upload_bytes(stingy, 900, 900, announced=900) == 429


def test_after_uploads_in_quick_succession_there_is_a_sweep_once_the_pause_is_over(monkeypatch):
    swept, started = [], time.monotonic()
    monkeypatch.setattr(door_module, "sweep", lambda: swept.append(time.monotonic() - started))
    monkeypatch.setattr(door_module, "SWEEP_PAUSE", 0.1)
    door = Door(taking, waiting())

    async def upload():
        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_):
            pass

        scope = {"type": "http", "method": "POST", "headers": [], "path": "/gradio_api/upload"}
        await door(scope | {"client": ("9.9.9.9", 1)}, receive, send)

    async def upload_all():
        for _ in range(20):
            await asyncio.sleep(0.01)
            await upload()
        last = time.monotonic() - started
        await asyncio.gather(*door.sweeps)
        return last

    last = asyncio.run(upload_all())
    assert 2 <= len(swept) <= 2 + swept[-1] / 0.1 and swept[-1] >= last


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


def test_uploads_are_swept_on_a_quiet_page_too(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(uploads, "SWEEP_SECONDS", 0.05)
    uploads.keep_sweeping()
    rest = tmp_path / "tmp123"
    rest.write_bytes(b"half a photo")
    os.utime(rest, (time.time() - uploads.CACHE_SECONDS - 1,) * 2)
    wait_until(lambda: not rest.exists())


@pytest.mark.parametrize("field", ["x", "files"])
@pytest.mark.parametrize("query", ["", "?upload_id=abc"])
def test_a_part_of_an_upload_that_is_no_file_is_refused_and_kept_nowhere(visitor, capfd, monkeypatch, field, query):
    kept_bytes = []
    monkeypatch.setattr(
        gradio.route_utils.GradioMultiPartParser, "on_part_data", lambda *_: kept_bytes.append("not a file's")
    )
    reply = visitor.http.post(f"gradio_api/upload{query}", files={field: (None, b"x" * 3_000_000)})
    assert (reply.status_code, reply.text) == (400, NO_FILE) and not kept_bytes
    assert "Traceback" not in "".join(capfd.readouterr())


def test_gradio_forgets_how_far_old_uploads_have_come(visitor, monkeypatch):
    """Fails where a new Gradio keeps it elsewhere; kd/demo/kept.py then wants a new way."""
    monkeypatch.setattr(kept, "UPLOADS", 5)
    photo = photo_bytes(Image.new("RGB", (40, 40), "blue"))
    for number in range(12):
        visitor.http.post(f"gradio_api/upload?upload_id=number-{number}", files={"files": ("x.png", photo)})
    for form in (kept.file_upload_statuses._signals, kept.file_upload_statuses._statuses):
        assert list(form) == [f"number-{number}" for number in range(7, 12)]
    said = visitor.http.get("gradio_api/upload_progress", params={"upload_id": "number-11"}).text
    assert '"done"' in said


# Answers that nobody fetches


def test_an_answer_that_is_not_fetched_holds_its_place_and_is_forgotten_after_a_while(page, visitor, monkeypatch):
    """Fails where a new Gradio keeps its answers elsewhere; kd/demo/kept.py then wants a new way."""
    monkeypatch.setattr(door_module, "QUEUE", 10)
    upload, event = visitor.upload(photo_bytes(Image.new("RGB", (40, 40), "blue"))), visitor.event("image", "input")
    places = door_of(page).places
    places._unread.clear()  # of other tests' visitors
    for number in range(5):
        visitor.session = f"nobody reads {number}"
        visitor.join(event, [upload])
    wait_until(lambda: not places.events())
    with pytest.raises(VisitorRefused, match="from your address"):
        visitor.join(event, [upload])
    list(visitor.messages())  # of the last session, which is read now
    visitor.wait(visitor.join(event, [upload]))
    monkeypatch.setattr(kept, "UNREAD_SECONDS", 0)
    visitor.session = "another"
    visitor.wait(visitor.join(event, [upload]))
    kept_sessions = page._queue.pending_messages_per_session
    assert not {f"nobody reads {number}" for number in range(4)} & {*kept_sessions}
    assert not {f"nobody reads {number}" for number in range(4)} & {*page._queue.pending_event_ids_session}


@pytest.mark.parametrize(("places", "seconds", "kept_answers"), [(10, 61, 0), (10, 10, 2), (2, 10, 0), (2, 1, 2)])
def test_answers_that_nobody_fetched_go_together_sooner_in_a_crowd_and_make_nobody_a_visitor(
    monkeypatch, places, seconds, kept_answers
):
    page, came = waiting(), []
    page._queue.pending_messages_per_session = {"mine": SimpleNamespace(empty=lambda: False)}
    page._queue.pending_event_ids_session = {}

    async def clean_events(session_hash):
        pass

    page._queue.clean_events = clean_events
    monkeypatch.setattr(kept, "QUEUE", places)
    people = SimpleNamespace(came=lambda *who: came.append(who))
    monkeypatch.setattr(kept, "TURNS", SimpleNamespace(people=people))
    counted = kept.Places(page)
    counted._unread = {event: ("9.9.9.9", "mine", time.monotonic() - seconds) for event in ("a", "b")}
    assert asyncio.run(counted.taken()).total() == len(counted._unread) == kept_answers
    assert not came
    if kept_answers:
        page._queue.pending_messages_per_session.clear()  # fetched
        assert not asyncio.run(counted.taken()) and [who[:2] for who in came] == [("9.9.9.9", "mine")] * 2


# What browsers and other sites are told


@pytest.mark.parametrize(
    "path", ["?page=x", "config?page=x", "?x=" + MAX_ADDRESS * "x", "gradio_api/heartbeat/" + MAX_ADDRESS * "x"]
)
def test_an_address_that_the_page_does_not_have_gets_a_sentence(visitor, capfd, path):
    reply = visitor.http.get(path)
    assert reply.status_code in (404, 414) and reply.json()["detail"].endswith(".")
    assert "Traceback" not in "".join(capfd.readouterr())


def test_an_error_within_gradio_is_a_sentence_with_the_headers_and_one_line_in_the_log(caplog):
    async def failing(scope, receive, send):
        raise KeyError("something of a visitor's")

    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "headers": [], "client": ("9.9.9.9", 1), "path": "/"}
    asyncio.run(Door(failing, waiting())(scope, receive, send))
    assert sent[0]["status"] == 500 and json.loads(sent[1]["body"]) == {"detail": FAILED}
    assert b"content-security-policy" in dict(sent[0]["headers"])
    (record,) = caplog.records
    assert "KeyError" in record.getMessage() and "visitor" not in record.getMessage()


@pytest.mark.parametrize("path", ["", "config", "theme.css", "gradio_api/info", "gradio_api/proxy=x", "nothing"])
def test_every_answer_has_the_headers_of_a_public_page(visitor, path):
    headers = visitor.http.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'" and policy["object-src"] == "'none'"
    assert policy["base-uri"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == "'self' https://huggingface.co"
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
    with Image.open(PREVIEW) as image:
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
    *({"session_hash": odd} for odd in ODD if odd != "x"),
    *({"trigger_id": odd} for odd in ODD if odd is True or odd not in (None, 3, -1)),
]


def test_fifty_and_more_crafted_messages_get_a_sentence_each_no_traceback_and_the_next_photo_an_answer(visitor, capfd):
    upload, event = visitor.upload(photo_bytes(Image.new("RGB", (40, 40), "blue"))), visitor.event("stage", "crop")
    good = {"file": upload["path"], "whole": False, "across": 0.5, "down": 0.5, "side": 1, "number": 7}
    assert asked_raw(visitor, event, {"event_data": good})["number"] == 7
    more = {"batched": "x", "oauth_token": [], "simple_format": NEST}  # which Gradio never sees
    assert asked_raw(visitor, event, {"event_data": good} | more)["number"] == 7
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
    ("part", "trigger"), [("image", "input"), ("gallery-files", "change"), ("game-image", "input")]
)
def test_what_is_no_file_is_told_so_wherever_a_file_is_awaited(visitor, capfd, part, trigger):
    for odd in (3, "x", True, NEST, [3], [None], [[{}]], float("nan"), "\ud800"):
        said = asked_raw(visitor, visitor.event(part, trigger), {"data": [odd]})
        assert said == uploads.NO_UPLOAD
    for values in ([], [None, None]):
        said = asked_raw(visitor, visitor.event(part, trigger), {"data": values})
        assert said == "This message has to bring a list of 1 values."
    assert "Traceback" not in "".join(capfd.readouterr())


def test_nobody_goes_past_the_queue(visitor):
    upload = visitor.upload(photo_bytes(Image.new("RGB", (40, 40))))
    body = {"data": [upload, 4.0], "fn_index": visitor.event(api_name="classify"), "session_hash": visitor.session}
    reply = visitor.http.post("gradio_api/run/predict", json=body)
    assert reply.status_code == 404 and "join the queue" in reply.text


@pytest.mark.parametrize("route", ["queue/join", "run/predict", "call/classify", "call/nothing", "call/"])
def test_a_message_of_another_form_gets_a_sentence_on_every_route_that_takes_one(visitor, capfd, route):
    for message in (
        None,
        3,
        "x",
        [],
        {},
        {"data": 3},
        {"data": []},
        {"data": [1, 2, 3]},
        {"data": None},
        {"event_id": 3},
    ):
        reply = visitor.http.post(f"gradio_api/{route}", json=message)
        assert reply.status_code in (400, 404), (route, message, reply.text)
        said = reply.json()["detail"]
        assert isinstance(said, str) and said.endswith("."), (route, message, said)
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


def test_the_real_queue_shows_who_asks_as_the_door_reads_it(page, visitor, monkeypatch):
    """Fails where a new Gradio keeps its queue elsewhere; kd/demo/kept.py then wants a new way."""
    held, asked = threading.Event(), []
    door_of(page).places._unread.clear()
    monkeypatch.setattr(uploads, "takes_long", lambda path: asked.append(visitor_module.asking()) or held.wait(60))
    upload, event = visitor.upload(photo_bytes(Image.new("RGB", (40, 40), "blue"))), visitor.event("image", "input")
    try:
        places = [visitor.join(event, [upload]) for _ in range(5)]
        wait_until(lambda: asked)
        found = door_of(page).places.events()
        assert [each.session_hash for each in found] == [visitor.session] * 5
        assert {visitor_module.address_of(each.request.scope["client"]) for each in found} == {"127.0.0.1"}
        assert set(asked) == {("127.0.0.1", visitor.session)}
        monkeypatch.setattr(door_module, "QUEUE", 10)
        assert sentence_of(visitor.join, event, [upload]) == json.dumps({"detail": FULL_FOR_ONE}, separators=(",", ":"))
    finally:
        held.set()
    visitor.wait_for_all(places)
    assert door_of(page).places.events() == []


def test_a_header_that_names_another_address_makes_nobody_another_visitor(page, visitor):
    """The real server, on whose machine no proxy is named."""
    addresses = []
    taken = page.server_app.user_middleware
    door = next(each for each in taken if each.cls is Door)
    assert door.kwargs["page"] is page
    original = Door.let_into_api

    async def record(self, scope, receive, send, route, address):
        addresses.append(address)
        await original(self, scope, receive, send, route, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Door, "let_into_api", record)
        for forwarded in ("1.2.3.4", "2.2.2.2, 3.3.3.3"):
            visitor.http.get("gradio_api/info", headers={"x-forwarded-for": forwarded})
    assert addresses == ["127.0.0.1"] * 2
