"""What a Hugging Face Space asks of the folder that is uploaded to it: one function a rule.

Each takes the folder, returns a sentence about what it found, and raises SpaceError where a rule is
broken. The rules of the front matter are those of the Hub's Spaces configuration reference; the Hub
checks the same once more when the files arrive.
"""

import re
import subprocess
import sys
import tomllib
import unicodedata
from pathlib import Path

import yaml
from huggingface_hub import SpaceCard, SpaceCardData
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

MAX_FILE_BYTES = 10_000_000  # larger ones would need git LFS
MAX_DESCRIPTION = 60  # characters of short_description
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
NEEDED = ("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "license",
          "short_description")  # fmt: skip
KNOWN = NEEDED + (
    "suggested_hardware", "suggested_storage", "base_path", "fullWidth", "header", "models", "datasets", "tags",
    "thumbnail", "pinned", "hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes", "hf_oauth_authorized_org",
    "disable_embedding", "startup_duration_timeout", "custom_headers", "preload_from_hub", "duplicated_from",
)  # fmt: skip
RESOLUTION_SECONDS = 600


class SpaceError(ValueError):
    """The folder cannot become a Space; the message names the file, what is wrong with it, and the way out."""


def front_matter(folder: Path) -> SpaceCardData:
    """README.md's YAML block, in which every field is known and every needed one has a text.

    Raises:
        SpaceError: there is none, it is no YAML, or a field is unknown, missing or no text.
    """
    try:
        data = SpaceCard.load(folder / "README.md").data
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise SpaceError(f"README.md has no front matter that can be read ({error}): mend its YAML block") from error
    if not data.to_dict():
        raise SpaceError("README.md has no front matter: begin it with a YAML block between two lines of ---")
    unknown = [name for name in data.to_dict() if name not in KNOWN]
    if unknown:
        raise SpaceError(f"README.md: a Gradio Space has no {', '.join(unknown)}: correct or remove it")
    for name in NEEDED:
        value = data.get(name)
        if not isinstance(value, str) or not value:
            raise SpaceError(f"README.md: {name} is {value!r}: give it a text, in quotes where it looks like a number")
    return data


def check_front_matter(folder: Path) -> str:
    """The fields' values and lengths are allowed."""
    fields = front_matter(folder).to_dict()
    faults = {
        "sdk": fields["sdk"] != "gradio" and "this page is one of gradio",
        "emoji": not _is_emoji(fields["emoji"]) and "use one emoji and nothing else",
        "colorFrom": fields["colorFrom"] not in COLOURS and f"use one of {', '.join(COLOURS)}",
        "colorTo": fields["colorTo"] not in COLOURS and f"use one of {', '.join(COLOURS)}",
        "short_description": len(fields["short_description"]) > MAX_DESCRIPTION
        and f"it has {len(fields['short_description'])} characters, shorten it to {MAX_DESCRIPTION}",
        "sdk_version": not _is_version(fields["sdk_version"]) and "name one version of Gradio, such as 6.31.0",
        "python_version": not re.fullmatch(r"3\.\d+(\.\d+)?", fields["python_version"]) and "write 3.x or 3.x.y",
        "app_file": not (folder / fields["app_file"]).is_file() and "there is no such file: name the one that launches",
    }
    for name, fault in faults.items():
        if fault:
            raise SpaceError(f"README.md: {name} is {fields[name]!r}: {fault}")
    return f"{len(fields)} fields, {fields['title']!r}, short_description {len(fields['short_description'])} characters"


def check_project(folder: Path) -> str:
    """The front matter says what pyproject.toml says: the licence, and a Python that is recent enough."""
    fields = front_matter(folder)
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    if fields["license"] != project["license"].lower():
        raise SpaceError(f"README.md: license is {fields['license']!r}, pyproject.toml says {project['license']!r}")
    if not (folder / "LICENSE").is_file():
        raise SpaceError(f"LICENSE is missing: add the text of the {project['license']} licence")
    if not SpecifierSet(project["requires-python"]).contains(fields["python_version"]):
        raise SpaceError(
            f"README.md: python_version is {fields['python_version']}, "
            f"pyproject.toml asks for {project['requires-python']}: raise it"
        )
    return f"{project['license']}, Python {fields['python_version']} ({project['requires-python']})"


def check_sizes(folder: Path) -> str:
    """Every file is under 10 MB."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    large = [f"{name} ({size / 1e6:.1f} MB)" for name, size in sizes.items() if size >= MAX_FILE_BYTES]
    if large:
        raise SpaceError(f"{', '.join(large)}: a Space takes files under {MAX_FILE_BYTES // 1_000_000} MB; split them")
    largest = max(sizes, key=sizes.__getitem__)
    total = sum(sizes.values())
    return f"{len(sizes)} files, {total / 1e6:.1f} MB; the largest is {largest}, {sizes[largest] / 1e6:.1f} MB"


def check_requirements(folder: Path) -> str:
    """requirements.txt can be read, and its bound on Gradio admits the version that the Space installs."""
    lines = (line.split("#")[0].strip() for line in (folder / "requirements.txt").read_text("utf-8").splitlines())
    try:
        requirements = {entry.name: entry for entry in map(Requirement, filter(None, lines))}
    except InvalidRequirement as error:
        raise SpaceError(f"requirements.txt cannot be read ({error}): correct that line") from error
    version = front_matter(folder)["sdk_version"]
    if "gradio" not in requirements:
        raise SpaceError("requirements.txt does not name gradio: a Space would install no more than its own version")
    if not requirements["gradio"].specifier.contains(version):
        raise SpaceError(
            f"README.md: sdk_version is {version}, requirements.txt asks for {requirements['gradio']}: make them agree"
        )
    return f"{len(requirements)} packages, sdk_version {version} satisfies {requirements['gradio']}"


def check_resolution(folder: Path) -> str:
    """pip finds versions of all requirements that go together with the Space's Gradio; what is installed counts."""
    gradio = f"gradio=={front_matter(folder)['sdk_version']}"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--disable-pip-version-check",
               "-r", str(folder / "requirements.txt"), gradio]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RESOLUTION_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SpaceError(f"pip took over {RESOLUTION_SECONDS} s: try again, or leave it out by --no-resolve") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line][:2]
        raise SpaceError(
            f"pip cannot resolve requirements.txt with {gradio} ({' '.join(said)}): "
            "correct the bounds, or leave this check out by --no-resolve"
        )
    return f"pip resolves requirements.txt with {gradio}"


def _is_emoji(text: str) -> bool:
    """Symbols, and what joins and varies them, alone."""
    categories = [unicodedata.category(character) for character in text]
    return "So" in categories and set(categories) <= {"So", "Sk", "Mn", "Me", "Cf"}


def _is_version(text: str) -> bool:
    try:
        return bool(Version(text))
    except InvalidVersion:
        return False
