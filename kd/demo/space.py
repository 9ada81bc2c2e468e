"""Prepare the project's folder as a Hugging Face Space, check it, and upload it.

python -m kd.demo.space --dry-run                  lists what would go and checks it; nothing is uploaded
python -m kd.demo.space --repo you/dark-knowledge  checks, then creates or updates that Space
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from kd.demo.space_rehearsal import check_answer
from kd.demo.space_rules import (
    SpaceError,
    check_front_matter,
    check_project,
    check_requirements,
    check_resolution,
    check_sizes,
)

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("tests/", ".")  # of what git tracks: the tests, and what is git's and the integration's own
UNNAMED = "you/dark-knowledge"  # stands for the Space in checks before it has a name


def main(arguments: list[str] | None = None) -> None:
    """Stage the files, run every check on them, and upload them where a name is given; exit with 1 on a failure."""
    parser = argparse.ArgumentParser(prog="python -m kd.demo.space", description=__doc__.splitlines()[0])
    parser.add_argument("--repo", metavar="OWNER/NAME", help="the Space; what it holds is replaced by these files")
    parser.add_argument("--dry-run", action="store_true", help="list what would go and check it, upload nothing")
    parser.add_argument("--no-resolve", action="store_true", help="do not let pip resolve the requirements (offline)")
    parser.add_argument("--token", help="of the Hub, with the right to write (HF_TOKEN, or that of `hf auth login`)")
    options = parser.parse_args(arguments)
    uploads = bool(options.repo) and not options.dry_run
    try:
        token = options.token or get_token()
        if options.repo:
            check_name(options.repo)
        if uploads and not token:
            raise SpaceError("no token to upload with: set HF_TOKEN, or log in with `hf auth login`")
        files = files_of_the_space(ROOT)
        with staged(ROOT, files) as (folder, scratch):
            if options.dry_run:
                print(*(f"{(folder / name).stat().st_size:>12,}  {name}" for name in files), sep="\n")
            checks = checks_of(folder, scratch, options.repo or UNNAMED, resolve=not options.no_resolve)
            if not all([report(name, check) for name, check in checks.items()]):  # a list, so that each one runs
                sys.exit(1)
            print(upload(folder, options.repo, token) if uploads else "Nothing was uploaded.")
    except SpaceError as error:
        sys.exit(f"{parser.prog}: {error}")


def check_name(space: str) -> None:
    """Raise SpaceError unless `space` is OWNER/NAME in letters that the Hub allows."""
    try:
        validate_repo_id(space)
    except HFValidationError as error:
        raise SpaceError(f"--repo {space}: {error}") from error
    if "/" not in space:
        raise SpaceError(f"--repo {space} has no owner: write OWNER/NAME")


def files_of_the_space(root: Path) -> list[str]:
    """The files that a Space gets: all that git tracks but `LEFT_OUT`, as they are in the folder now.

    Raises:
        SpaceError: `root` is no clone, or a tracked file is missing.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    if listed.returncode:
        raise SpaceError(f"git cannot list the files of {root} ({listed.stderr.strip()}): run this in a clone")
    files = sorted(name for name in listed.stdout.split("\0") if name and not name.startswith(LEFT_OUT))
    missing = [name for name in files if not (root / name).is_file()]
    if missing:
        raise SpaceError(f"git tracks {', '.join(missing)}, which {root} lacks: git restore or git rm it")
    return files


@contextmanager
def staged(root: Path, files: list[str]) -> Iterator[tuple[Path, Path]]:
    """A clean copy of `files` that nobody can write, and a folder for temporary files; both go when the block ends."""
    with tempfile.TemporaryDirectory(prefix="space-") as parent:
        folder, scratch = Path(parent, "app"), Path(parent, "scratch")
        scratch.mkdir(mode=0o700)
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
        Path(parent).chmod(0o755)  # another user has to find the way in
        set_modes(folder, file=0o444, directory=0o555)
        try:
            yield folder, scratch
        finally:
            set_modes(folder, file=0o644, directory=0o755)


def set_modes(folder: Path, file: int, directory: int) -> None:
    """Set the permissions of a folder and of all in it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(directory if path.is_dir() else file)


def checks_of(folder: Path, scratch: Path, space: str, *, resolve: bool = True) -> dict[str, Callable[[], str]]:
    """Every check by its name, the quick ones first; each returns a sentence or raises SpaceError."""
    checks = {
        "front matter": partial(check_front_matter, folder),
        "project": partial(check_project, folder),
        "sizes": partial(check_sizes, folder),
        "requirements": partial(check_requirements, folder),
        "resolution": partial(check_resolution, folder),
        "answer": partial(check_answer, folder, scratch, space),
    }
    return checks if resolve else {name: check for name, check in checks.items() if name != "resolution"}


def report(name: str, check: Callable[[], str]) -> bool:
    """Run a check and print one line about it; returns whether it passed."""
    try:
        print(f"PASS  {name}: {check()}", flush=True)
        return True
    except (
        SpaceError,
        OSError,
        KeyError,
    ) as error:  # a file or a field that one check needs can be what another misses
        print(f"FAIL  {name}: {error}", flush=True)
        return False


def upload(folder: Path, space: str, token: str) -> str:
    """Create the Space where there is none, and make its content that of `folder` in one commit.

    Returns:
        A sentence with the Space's address.

    Raises:
        SpaceError: the Hub refuses, or cannot be reached.
    """
    api = HfApi(token=token)
    try:
        address = api.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True)
        api.upload_folder(
            repo_id=space, repo_type="space", folder_path=folder, commit_message="Update from the project's folder",
            delete_patterns="*",  # of what the Space holds, all that is not among the files
        )  # fmt: skip
    except HfHubHTTPError as error:
        raise SpaceError(
            f"the Hub refused ({error}): check that the token may write and that {space} is yours"
        ) from error
    except Exception as error:  # a connection fails in more ways than the Hub's client has classes for
        raise SpaceError(f"the upload failed ({error}): check the connection and give the command again") from error
    return f"Uploaded to {address}"


if __name__ == "__main__":
    main()
