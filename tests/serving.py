"""The real page in a process of its own, for tests and benchmarks to visit."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
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


def api_client(address: str) -> Client:
    """A client of the endpoint, for one visitor: calls at once that share one share its stream, and may end each other.

    The client's own patience is 5 seconds, which browsers that draw at every frame can take from a slow machine.
    """
    return Client(address, verbose=False, httpx_kwargs={"timeout": START_SECONDS})


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


def resident_bytes(pid: int, which: str = "VmRSS") -> int:
    """Memory of a process: what it holds now, or, as VmHWM, the most it ever held."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{which}:")[1].split()[0]) * 1024


def _answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False
