"""A dress rehearsal of a Space: the app in a Space's environment, in a folder it cannot write, asked for an answer.

As on a Space, the app does not run as root. Where this command does, `nobody` runs the app, provided
that `nobody` may run a Python here; where not, root does, and that nothing was written is all that is checked.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradio_client import Client, handle_file

from kd.demo.space_rules import SpaceError, front_matter
from kd.recipe import ROLES

NOBODY = 65534
START_SECONDS = 120  # far more than it takes
PHOTO = Path("kd", "demo", "examples", "cat.png")
PACKAGES = os.pathsep.join(path for path in sys.path if Path(path).name in ("site-packages", "dist-packages"))


def check_answer(folder: Path, scratch: Path, space: str) -> str:
    """The app starts, shows its page, classifies a photo, and writes nothing beside its code.

    Args:
        folder: the files of the Space, which should not be writable.
        scratch: an empty folder for temporary files and the app's log.
        space: OWNER/NAME of the Space.

    Raises:
        SpaceError: one of these fails; with the end of what the app said.
    """
    before = _state(folder)
    started = time.monotonic()
    with running(folder, scratch, space) as (address, user):
        seconds = time.monotonic() - started
        answer = ask(address, folder / PHOTO)
    changed = sorted(str(path) for path in before.items() ^ _state(folder).items())
    if changed:
        raise SpaceError(f"the app wrote beside its code ({', '.join(changed)}): let it write into a temporary folder")
    labels = ", ".join(f"{role} {answer['models'][role]['label']}" for role in ROLES)
    return f"/classify answers ({labels}); up after {seconds:.0f} s, {user}; nothing written beside its code"


@contextmanager
def running(folder: Path, scratch: Path, space: str) -> Iterator[tuple[str, str]]:
    """Run the app of `folder` as a Space does, until the block ends; yields its address and who runs it.

    Raises:
        SpaceError: it ends, or does not answer in time.
    """
    port = _free_port()
    address, log = f"http://127.0.0.1:{port}/", scratch / "log"
    environment = space_environment(folder, scratch, space, port)
    python, user = least_privileged(environment)
    if user is not None:
        os.chown(scratch, user, user)
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [python, front_matter(folder)["app_file"]],
            cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, **_as_user(user),
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _shows_page(address):
            if process.poll() is not None or time.monotonic() > deadline:
                ended = "is silent" if process.returncode is None else f"ended with {process.returncode}"
                raise SpaceError(f"the app {ended} ({_last_words(log)}): mend that; it gets only what git tracks")
            time.sleep(0.1)
        yield address, f"as user {user}" if user is not None else "as the user of this command"
    finally:
        process.terminate()
        process.wait()


def space_environment(folder: Path, scratch: Path, space: str, port: int) -> dict[str, str]:
    """All the environment variables that the app gets: a Space's, and nothing of this command's own."""
    owner, name = space.split("/")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),  # a library that keeps files there finds it read-only
        "TMPDIR": str(scratch),
        "PYTHONPATH": PACKAGES,  # for another Python than this one
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "SYSTEM": "spaces",
        "SPACE_ID": space,
        "SPACE_AUTHOR_NAME": owner,
        "SPACE_REPO_NAME": name,
        "SPACE_TITLE": front_matter(folder)["title"],
        "SPACE_HOST": f"{owner}-{name}.hf.space",
        "ACCELERATOR": "none",
        "CPU_CORES": "2",
        "MEMORY": "16Gi",
        "GRADIO_ALLOW_FLAGGING": "never",
        "GRADIO_NUM_PORTS": "1",
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_THEME": "huggingface",
    }


def ask(address: str, photo: Path) -> dict:
    """Ask `/classify` about a photo.

    Raises:
        SpaceError: no answer, or not one of three networks with ten probabilities each.
    """
    try:
        client = Client(address, verbose=False, analytics_enabled=False)
        answer = client.predict(handle_file(photo), 4.0, api_name="/classify")
        for role in ROLES:
            model = answer["models"][role]
            if model["label"] not in answer["classes"] or abs(sum(model["softened"]) - 1) > 1e-6:
                raise ValueError(f"{role} says {model}")
    except Exception as error:  # a page that is not ours can answer with anything
        raise SpaceError(
            f"/classify gave no answer of three networks ({error!r}): try it with python app.py"
        ) from error
    return answer


def least_privileged(environment: dict[str, str]) -> tuple[str, int | None]:
    """A Python to run the app with, and the user to run it as; None is who runs this command."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return sys.executable, None
    same_version = shutil.which(f"python{sys.version_info.major}.{sys.version_info.minor}", path=os.defpath)
    for python in filter(None, (sys.executable, same_version)):
        try:
            subprocess.run([python, "-c", "import gradio_client"], env=environment, check=True, cwd="/",
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **_as_user(NOBODY))  # fmt: skip
            return python, NOBODY
        except (OSError, subprocess.CalledProcessError):  # its folder is closed to others
            continue
    return sys.executable, None


def _as_user(user: int | None) -> dict:
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _shows_page(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


def _last_words(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything in a folder."""
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}
