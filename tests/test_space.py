"""The folder is a Space as it stands: its front matter, its sizes, its imports, its start, and the upload command.

The Hub is a stand-in on this machine (see tests/hub_stand_in.py); the page that all tests visit is started from what
the upload command takes (see `watched` in tests/conftest.py).
"""

import ast
import functools
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires

import pytest
from huggingface_hub import SpaceCard
from huggingface_hub.cli.hf import app as hf
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from kd.models import ROLES
from tests.browser import EXAMPLES
from tests.modules import MODULES, imports
from tests.serving import ROOT
from tests.space import files_of_the_space, requirements, upload_command

# https://huggingface.co/docs/hub/spaces-config-reference
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
MAX_DESCRIPTION = 60  # characters
MAX_FILE_BYTES = 10_000_000  # as kd.checkpoint cuts its shards


def tracked():
    """What git tracks, or would track, and people other than developers need."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    return sorted(name for name in names if not name.startswith(("tests/", ".")))


def test_the_front_matter_keeps_the_hubs_rules_and_says_what_the_project_says():
    fields = SpaceCard.load(ROOT / "README.md").data.to_dict()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert fields["sdk"] == "gradio"
    assert requirements()["gradio"].specifier.contains(fields["sdk_version"])
    assert SpecifierSet(project["requires-python"]).contains(fields["python_version"])
    assert (ROOT / fields["app_file"]).is_file()
    assert fields["title"] and fields["emoji"]
    assert {fields["colorFrom"], fields["colorTo"]} <= COLOURS
    assert 0 < len(fields["short_description"]) <= MAX_DESCRIPTION
    assert fields["license"] == project["license"].lower()
    # Without quotes YAML reads 3.10 as 3.1.
    assert isinstance(fields["python_version"], str) and isinstance(fields["sdk_version"], str)


def test_the_upload_command_takes_what_git_tracks_but_the_tests_and_each_file_is_under_10_mb():
    assert files_of_the_space() == tracked()
    assert [name for name in tracked() if (ROOT / name).stat().st_size >= MAX_FILE_BYTES] == []


def test_the_upload_command_makes_the_spaces_content_these_files_and_no_others(stand_in, tmp_path, monkeypatch):
    private = [".env", "notes.txt", "data/x", "runs/x", "kd/__pycache__/x.pyc", "checkpoints/student/training-state.pt"]
    for name in [*tracked(), *private]:
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clone" / name).write_text("")
    for name in ("README.md", "app.py"):  # the Hub's client reads the front matter
        (tmp_path / "clone" / name).write_bytes((ROOT / name).read_bytes())
    stand_in.repositories["space", "you/dark-knowledge"] = {"kd/retired.py": b"", ".gitattributes": b""}
    monkeypatch.chdir(tmp_path / "clone")
    hf(upload_command(), standalone_mode=False)
    content = stand_in.repositories["space", "you/dark-knowledge"]
    assert sorted(content) == sorted([".gitattributes", *tracked()])
    assert content["app.py"] == (ROOT / "app.py").read_bytes()
    assert [wanted["sdk"] for wanted in stand_in.created] == ["gradio"]


@pytest.mark.parametrize("start", ["app", "train.teacher", "train.distill", "train.evaluate"])
def test_nothing_is_imported_that_requirements_txt_does_not_name(start):
    distributions = packages_distributions()
    modules, others = reached_from(start)
    assert len(modules) > 10 and {"torch", "numpy"} <= others
    # Gradio's application is one of Starlette, whose middleware the page's door is.
    assert any(Requirement(line).name == "starlette" for line in requires("gradio"))
    for package in others - {"starlette"}:
        brought_by = {canonicalize_name(distribution) for distribution in distributions.get(package, [package])}
        assert brought_by & requirements().keys(), f"{start} comes to import {package}, which requirements.txt lacks"


def reached_from(start):
    """The project's modules that one comes to import, and the packages of others: all that any line would import."""
    modules, others, waiting = set(), set(), {start}
    while waiting:
        modules |= waiting
        sources = {module: MODULES[module].read_text("utf-8") for module in waiting}
        others |= set().union(*map(packages, sources.values()))
        waiting = set().union(*(imports(module, source) for module, source in sources.items())) - modules
    return modules, others


@functools.cache
def packages(source):
    """What a file imports of others; not what it does without: an import whose lack is caught belongs to an extra."""
    names, waiting = set(), [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
        elif isinstance(node, ast.Try) and any(getattr(each.type, "id", "") == "ImportError" for each in node.handlers):
            continue
        waiting += ast.iter_child_nodes(node)
    return {name.split(".")[0] for name in names} - {"kd", "train"} - sys.stdlib_module_names


def test_the_page_starts_from_these_files_alone_and_answers(watched, classify):
    """`watched` is served from a copy of them."""
    answer = classify(EXAMPLES / "cat.png")
    assert answer["models"].keys() == set(ROLES)
