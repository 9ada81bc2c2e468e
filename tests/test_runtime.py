"""ONNX Runtime Web comes in one exact version: fetched, verified, or a sentence says why not."""

import base64
import hashlib
import io
import os
import tarfile

import pytest

import kd.site.runtime
from kd.site.runtime import FILES, VERSION, RuntimeFetchError, fetch_runtime


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Puts a stand-in for npm in its place, which packs the files it is given; returns their package's checksum."""

    def stand_in(*names):
        package = tmp_path / "package.tgz"
        with tarfile.open(package, "w:gz") as archive:
            for name in names:
                entry = tarfile.TarInfo(f"package/dist/{name}")
                entry.size = len(name)
                archive.addfile(entry, io.BytesIO(name.encode()))
        script = tmp_path / "bin" / "npm"
        script.parent.mkdir()
        script.write_text(
            f'#!/bin/sh\ntest "$1 $2 $3" = "pack onnxruntime-web@{VERSION} --pack-destination" && cp {package} "$4"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
        return base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()

    return stand_in


def test_the_runtime_is_unpacked_where_its_checksum_is_right(npm, tmp_path, monkeypatch):
    monkeypatch.setattr(kd.site.runtime, "SHA512", npm(*FILES, "ort.all.js"))
    fetch_runtime(tmp_path / "runtime")
    found = {path.name: path.read_text() for path in (tmp_path / "runtime").iterdir()}
    assert found == {name: packed for packed, name in FILES.items()}


def test_a_runtime_of_another_checksum_is_refused(npm, tmp_path):
    npm(*FILES)
    with pytest.raises(RuntimeFetchError, match="do not use it"):
        fetch_runtime(tmp_path / "runtime")
    assert not (tmp_path / "runtime").exists()


def test_where_the_runtime_cannot_be_had_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeFetchError, match="npm is needed"):
        fetch_runtime(tmp_path / "runtime")
    (tmp_path / "npm").write_text("#!/bin/sh\necho no connection >&2\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)
    with pytest.raises(RuntimeFetchError, match="could not be fetched by npm: connect and try again. no connection"):
        fetch_runtime(tmp_path / "runtime")
