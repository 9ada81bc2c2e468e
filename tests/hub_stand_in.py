"""A stand-in for the Hugging Face Hub on this machine: the few requests that the Hub's own client makes in the tests.

It keeps repositories in memory and takes every file as part of the commit; the real Hub has large files
uploaded apart. Whether the real Hub accepts what it is sent is therefore not proved here.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class StandIn:
    """The Hub's state.

    Attributes:
        address: where it listens.
        repositories: by (type, name), such as ("model", "ann/cats"), the files by their path.
        refusals: by name, the status and the Hub's error code that answer every request.
        requests: the method and path of each request so far.
        created: the bodies of the requests that created repositories.
        tokens: the tokens that came with requests that write.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.repositories: dict[tuple[str, str], dict[str, bytes]] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.requests: list[str] = []
        self.created: list[dict] = []
        self.tokens: set[str] = set()

    def commit(self, key: tuple[str, str]) -> str:
        """The id of what a repository holds: 40 hexadecimal digits, as git's."""
        files = self.repositories[key]
        return hashlib.sha1(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()


@contextmanager
def hub_stand_in() -> Iterator[StandIn]:
    """Run a stand-in until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.state = StandIn(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.state
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        """Say nothing; the tests' output is for the tests."""

    def do_HEAD(self) -> None:  # noqa: N802
        self.do_GET()

    def do_GET(self) -> None:  # noqa: N802
        hub, parts = self.server.state, self._parts()
        if parts[0] == "api":  # api/models/OWNER/NAME, with /revision/REVISION or /tree/REVISION behind it
            what, *rest = parts[4:] or ["revision", "main"]
            key, revision = (parts[1].rstrip("s"), "/".join(parts[2:4])), "/".join(rest)
        else:  # OWNER/NAME/resolve/REVISION/PATH
            key, what, revision = ("model", "/".join(parts[:2])), parts[2], parts[3]
        if self._refused(key) or self._lacks(key, revision):
            return
        files = hub.repositories[key]
        if what == "revision":
            self._reply(200, {"id": key[1], "sha": hub.commit(key)})
        elif what == "tree":
            oids = {path: hashlib.sha1(content).hexdigest() for path, content in files.items()}
            tree = [{"type": "file", "path": path, "size": len(files[path]), "oid": oids[path]} for path in files]
            self._reply(200, tree)
        else:
            content = files["/".join(parts[4:])]
            self._reply(200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": parts[3]})

    def do_POST(self) -> None:  # noqa: N802
        hub, parts = self.server.state, self._parts()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hub.tokens.add(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if parts == ["api", "validate-yaml"]:
            self._reply(200, {})
        elif parts == ["api", "repos", "create"]:
            wanted = json.loads(body)
            key = (wanted.get("type", "model"), f"{wanted['organization']}/{wanted['name']}")
            if not self._refused(key):
                hub.created.append(wanted)
                hub.repositories.setdefault(key, {})
                kind = "" if key[0] == "model" else key[0] + "s/"
                self._reply(200, {"url": f"{hub.address}/{kind}{key[1]}"})
        elif parts[4] == "preupload":
            files = json.loads(body)["files"]
            self._reply(200, {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                                        for file in files]})  # fmt: skip
        else:  # api/models/OWNER/NAME/commit/REVISION
            self._commit((parts[1].rstrip("s"), "/".join(parts[2:4])), body)

    def _commit(self, key: tuple[str, str], body: bytes) -> None:
        hub, files = self.server.state, self.server.state.repositories[key]
        for operation in map(json.loads, body.splitlines()):
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        commit = hub.commit(key)
        self._reply(200, {"success": True, "commitOid": commit, "commitUrl": f"{hub.address}/{key[1]}/commit/{commit}"})

    def _parts(self) -> list[str]:
        path = unquote(urlsplit(self.path).path)
        self.server.state.requests.append(f"{self.command} {path}")
        return path.strip("/").split("/")

    def _refused(self, key: tuple[str, str]) -> bool:
        if key[1] not in self.server.state.refusals:
            return False
        status, code = self.server.state.refusals[key[1]]
        self._reply(status, {"error": code}, {"X-Error-Code": code})
        return True

    def _lacks(self, key: tuple[str, str], revision: str) -> bool:
        hub = self.server.state
        code = "RepoNotFound" if key not in hub.repositories else "RevisionNotFound"
        if key in hub.repositories and revision in ("main", hub.commit(key)):
            return False
        self._reply(404, {"error": code}, {"X-Error-Code": code})
        return True

    def _reply(self, status: int, content: bytes | dict | list, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
