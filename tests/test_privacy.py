"""What becomes of uploads: not in the log, not with other visitors, nowhere but in Gradio's cache, and not for long."""

import base64
import os

import httpx
import pytest
from PIL import Image, PngImagePlugin

from kd.demo import page as page_module
from kd.demo.crowd import SESSIONS, THREADS
from kd.photo import MAX_FILE_BYTES
from tests.serving import files_in, wait_until
from tests.visitors import RefusalError, Visitor, photo_bytes

MARK = "zqx7-holiday-mark"  # in the names and in the content of files; nothing else says this


def marked_photo(size=(64, 64)):
    """A PNG with the mark in a text chunk."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", MARK)
    return photo_bytes(Image.effect_noise(size, 60).convert("RGB"), pnginfo=text)


def refusal(ask, *arguments):
    with pytest.raises(RefusalError) as caught:
        ask(*arguments)
    return str(caught.value)


def use_everything(visitor, photo=None):
    """A good and two bad uploads, by every way into the page."""
    good = visitor.upload(photo or marked_photo(), f"{MARK}.png")
    cut_off = visitor.upload(marked_photo()[:900], f"cut-{MARK}.png")
    text = visitor.upload(f"no image, {MARK}".encode(), f"text-{MARK}.png")
    visitor.show(good)
    assert "predictions" in visitor.show_many([good, cut_off, text])["rows"][0]
    assert visitor.classify(good)["models"]
    for bad in (cut_off, text):
        assert "image" in refusal(visitor.show, bad)
        assert "image" in refusal(visitor.classify, bad)
    assert ["error" in answer for answer in visitor.classify([good, cut_off])] == [False, True]
    return good


def test_the_log_holds_neither_file_names_nor_image_data(watched):
    said = watched.log.stat().st_size
    photo = marked_photo()
    use_everything(Visitor(watched.address), photo)
    log = watched.log.read_bytes()[said:]
    assert MARK.encode() not in log
    assert b"Traceback" not in log
    assert photo[100:200] not in log and base64.b64encode(photo[99:198]) not in log


def test_a_photo_that_is_gone_gets_a_sentence_and_no_line_in_the_log(watched):
    visitor = Visitor(watched.address)
    said = watched.log.stat().st_size
    upload = visitor.upload(marked_photo((40, 40)), f"gone-{MARK}.png")
    os.remove(upload["path"])
    assert "upload it again" in refusal(visitor.show, upload)
    assert "upload it again" in refusal(visitor.classify, upload)
    assert watched.log.read_bytes()[said:] == b""


def test_at_its_start_the_page_sweeps_what_a_crash_has_left_and_no_files_of_the_hosts(watched):
    assert not (watched.cache / "dark-knowledge" / "crash" / "rest.png").exists()
    assert watched.letter.exists()


def test_nothing_is_written_outside_gradios_cache(watched):
    before = files_in(watched.root, watched.elsewhere)
    assert before
    use_everything(Visitor(watched.address))
    assert files_in(watched.root, watched.elsewhere) == before
    assert any(MARK in path for path in files_in(watched.cache))


def test_neither_at_its_start_nor_for_a_visitor_does_the_page_call_another_host(watched):
    use_everything(Visitor(watched.address))
    called = set(watched.hosts.read_text().split())
    assert "127.0.0.1" in called  # Gradio asks at the start whether the page answers
    assert called <= {"127.0.0.1", "::1", "localhost", "None"}


def test_a_visitor_sees_nothing_of_another(watched):
    one, other = Visitor(watched.address), Visitor(watched.address)
    messages = other.messages()
    place = other.join(other.event("image", "input"), [None])
    upload = use_everything(one)
    recorded = []
    for message in messages:
        recorded.append(message)
        if message["msg"] == "process_completed":
            break
    assert {message.get("event_id", place) for message in recorded} == {place}
    assert MARK not in str(recorded)
    for path in ("", "config", "gradio_api/info"):
        assert MARK not in other.http.get(path).text
    # A file's address holds a digest of its content: who cannot name it cannot fetch it, and no folder is listed.
    assert other.http.get(f"gradio_api/file={watched.cache}").status_code in (403, 404)
    guess = upload["path"].replace(os.path.basename(os.path.dirname(upload["path"])), "0" * 64)
    assert other.http.get(f"gradio_api/file={guess}").status_code in (403, 404)


def test_a_file_of_the_servers_own_is_not_read_for_anybody(watched):
    visitor = Visitor(watched.address)
    path = str(watched.root / "kd/demo/examples/cat.png")  # even an image
    bare = {"path": path}
    assert "not an uploaded file" in refusal(visitor.classify, bare)
    assert "not an uploaded file" in visitor.classify([bare])[0]["error"]
    for fake in (bare, bare | {"meta": {"_type": "gradio.FileData"}}):
        with pytest.raises(RefusalError):
            visitor.show(fake)
    assert "not an uploaded file" in refusal(visitor.classify, {"path": f"{watched.cache}/../../../{path}"})


def test_an_upload_is_removed_after_its_time_and_asking_again_gets_a_sentence(tmp_path, monkeypatch, networks, tiny):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(page_module, "SWEEP_SECONDS", 1)
    monkeypatch.setattr(page_module, "CACHE_SECONDS", 2)
    page = page_module.build_page(networks)
    page_module.launch(page, prevent_thread_lock=True, quiet=True)
    visitor = Visitor(page.local_url)
    try:
        assert page.state_holder.capacity == SESSIONS  # of visitors who are long gone, too
        assert page.max_threads == THREADS and visitor.config["max_file_size"] == MAX_FILE_BYTES
        assert visitor.config["run_history"] is False  # which would send runs to a host of the visitor's choice
        upload = visitor.upload(marked_photo(), "photo.png")
        visitor.show_many([upload])
        visitor.show(upload)
        wait_until(lambda: not os.path.exists(upload["path"]))
        assert [path for path in files_in(tmp_path / "cache") if path.endswith("photo.png")] == []
        assert "upload it again" in refusal(visitor.show, upload)
        shown = httpx.get(page.local_url + "gradio_api/file=" + upload["path"])
        assert shown.status_code in (403, 404)
    finally:
        page.server.force_exit = True  # or it would wait for the visitor's streams
        page.close()
