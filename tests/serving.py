"""The real page in a process of its own, and a plain file server, for tests and benchmarks to visit."""

import functools
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gradio_client import Client

ROOT = Path(__file__).parent.parent
CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
START_SECONDS = 120  # far more than it takes; a busy machine must not fail a test

NOT_THE_SERVERS = {".git", ".venv", "runs", "__pycache__", ".pytest_cache", ".ruff_cache"}


def api_client(address: str) -> Client:
    """A client of the endpoint, for one visitor: calls at once that share one share its stream, and may end each other.

    The client's own patience is 5 seconds, which browsers that draw at every frame can take from a slow machine.
    """
    return Client(address, verbose=False, httpx_kwargs={"timeout": START_SECONDS})


def wait_until(done: Callable[[], object]) -> None:
    """Wait for what happens in another thread or process, a minute at most."""
    deadline = time.monotonic() + 60
    while not done() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert done()


@contextmanager
def serve(
    checkpoints: Path | None = None, log: Path = Path(os.devnull), root: Path = ROOT, **settings: str
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run `python app.py` until the block ends; yields the page's address and the process.

    Args:
        checkpoints: of the three networks, if not the shipped ones.
        log: where all that the process says goes.
        root: the folder of the project.
        settings: further environment variables.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | settings | {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    if checkpoints:
        environment["KD_CHECKPOINTS"] = str(checkpoints)
    with open(log, "w") as said:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=root, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
    address = f"http://127.0.0.1:{port}/"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(address):
            if process.poll() is not None:
                raise RuntimeError(f"app.py ended with {process.returncode}: {log.read_text()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"app.py did not answer within {START_SECONDS} s")
            time.sleep(0.1)
        yield address, process
    finally:
        process.terminate()
        process.wait()


class FileServer(http.server.ThreadingHTTPServer):
    """A plain file server, until `stop`.

    Attributes:
        address: of the folder that it serves, which lies below the top.
        withheld: what is in the paths that it pretends not to have.
        sent: bytes of all files so far.
    """

    def __init__(self, folder: Path, **headers: str) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Files, headers, directory=folder.parent))
        self.address = f"http://127.0.0.1:{self.server_port}/{folder.name}/"
        self.withheld: str | None = None
        self.sent = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Files(http.server.SimpleHTTPRequestHandler):
    def __init__(self, further_headers: dict[str, str], *arguments: object, **settings: object) -> None:
        self.further_headers = further_headers
        super().__init__(*arguments, **settings)

    def do_GET(self) -> None:  # noqa: N802
        if self.server.withheld and self.server.withheld in self.path:
            self.send_error(404)
        else:
            super().do_GET()

    def end_headers(self) -> None:
        for name, value in self.further_headers.items():
            self.send_header(name.replace("_", "-"), value)
        super().end_headers()

    def copyfile(self, source: object, output: object) -> None:
        content = source.read()
        self.server.sent += len(content)
        output.write(content)

    def log_message(self, *_: object) -> None:
        pass


def resident_bytes(pid: int, which: str = "VmRSS") -> int:
    """Memory of a process: what it holds now, or, as VmHWM, the most it ever held."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{which}:")[1].split()[0]) * 1024


def processor_seconds(pid: int) -> float:
    """What a process has had of the processor so far: on a busy machine it waits, and that is not its doing."""
    of_user, of_system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(of_user) + int(of_system)) / os.sysconf("SC_CLK_TCK")


def _answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False


def files_in(*folders):
    """Every file in some folders with its time of change; what tools keep beside the project is left out."""
    times = {}
    for top in folders:
        for folder, below, names in os.walk(top):
            below[:] = [name for name in below if name not in NOT_THE_SERVERS]
            for name in names:
                path = os.path.join(folder, name)
                times[path] = os.lstat(path).st_mtime_ns
    return times
