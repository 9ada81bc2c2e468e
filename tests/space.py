"""The folder as a Space gets it: what the upload command of docs/hosting.md takes."""

import shlex
import shutil
from pathlib import Path

from huggingface_hub.utils import filter_repo_objects
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.serving import ROOT


def upload_command() -> list[str]:
    """The arguments of the documented `hf upload`."""
    text = (ROOT / "docs" / "hosting.md").read_text("utf-8")
    block = text.split("<!-- upload command -->\n```sh\n")[1].split("```")[0]
    name, *arguments = shlex.split(block.replace("\\\n", ""))
    assert name == "hf"
    return arguments


def files_of_the_space() -> list[str]:
    """The paths that the command takes from this folder."""
    arguments = upload_command()
    included, excluded = (
        [value for option, value in zip(arguments, arguments[1:], strict=False) if option == wanted]
        for wanted in ("--include", "--exclude")
    )
    tops = [ROOT / pattern.split("/")[0] for pattern in included]  # so that environments and data are not walked
    paths = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()]
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    return sorted(filter_repo_objects(names, allow_patterns=included, ignore_patterns=excluded))


def copy_space(folder: Path, without: str = " ") -> Path:
    """Copy these files to an empty folder, but for those whose path starts with `without`."""
    for name in files_of_the_space():
        if name.startswith(without):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def requirements() -> dict[str, Requirement]:
    """What requirements.txt asks for, by name."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines())
    return {canonicalize_name(entry.name): entry for entry in map(Requirement, filter(None, lines))}
