"""The documentation: its links lead somewhere, its commands and its Python are ones that the code knows."""

import argparse
import ast
import importlib
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest

from kd.demo import documents
from kd.models import SCRIPT_OF_ROLE
from kd.studies.declared import STUDIES
from kd.studies.ledger import read_studies
from tests.browser import EXAMPLES
from tests.serving import ROOT
from train.run import chosen_recipe
from train.run import make_parser as make_run_parser
from train.study import make_parser, planned

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ROLE_OF_SCRIPT = {script: role for role, script in SCRIPT_OF_ROLE.items()}
SHELL_ENDS = {">", "&", "|", "&&", ";"}
SCRIPTS = ("train.", "tests.", "kd.")


def blocks(document, language):
    """The fenced blocks of a language in a document."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text("utf-8"), re.M | re.S)


def commands(documents=DOCUMENTS):
    """Each command in the documents' shell blocks, as its words up to the end of it, with where it stands."""
    for document in documents:
        for block in blocks(document, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words: list[str] = []
                for word in [*shlex.split(line, comments=True), ";"]:
                    if word in SHELL_ENDS:
                        yield pytest.param(words, id=f"{document.name}: {' '.join(words)}")
                        words = []
                    else:
                        words.append(word)


def inline_commands():
    """Each command in inline code that runs a module, but those that are said to be of the code of their time."""
    for document in DOCUMENTS:
        text = re.sub(
            r"```.*?```|By earlier code, in names of today: `[^`]+`", "", document.read_text("utf-8"), flags=re.S
        )
        for command in sorted(set(re.findall(r"`([^`]+ -m [^`]+)`", text))):
            yield pytest.param(shlex.split(command), id=f"{document.name}: {command}")


def starting(*first):
    """The arguments of all commands in which these words stand one after the other."""
    for command in commands():
        (words,) = command.values
        names = [word.rpartition("/")[2] for word in words]  # .venv/bin/python is python
        for start in range(len(words)):
            if names[start : start + len(first)] == list(first):
                yield pytest.param(words[start + len(first) :], id=command.id)


def scripts():
    """The commands `python -m train.X` and those of tests and kd, by torchrun too: the module and its arguments.

    A script that a sentence names without arguments is asked for its help: which it needs is not said there.
    """
    where: dict[tuple, list[str]] = {}
    for command in commands():
        for module, arguments in script(command):
            where.setdefault((module, *arguments), []).append(command.id)
    for command in inline_commands():
        for module, arguments in script(command):
            # As people are told it: any study, and further options.
            told = ["main" if word == "NAME" else word for word in arguments if word != "..."]
            where.setdefault((module, *(told or ["--help"])), []).append(command.id)
    return [pytest.param(module, arguments, id=", ".join(ids)) for (module, *arguments), ids in where.items()]


def trains(module, arguments):
    """Whether a command trains a network or carries a study out."""
    return (module == "train.study" and arguments[0] in STUDIES) or (
        module in ROLE_OF_SCRIPT and arguments != ["--help"]
    )


def script(command):
    """The module and the arguments of a command that runs one of the project's, in a list; else an empty one."""
    (words,) = command.values
    modules = [word for word in words if word.startswith(SCRIPTS)]
    return [(modules[0], words[words.index(modules[0]) + 1 :])] if modules and "-m" in words else []


def slug(heading):
    """The anchor that GitHub and the Hub make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(document):
    return [line.lstrip("#") for line in document.read_text("utf-8").splitlines() if line.startswith("#")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_relative_link_leads_to_a_file_and_every_anchor_to_a_heading(document):
    text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.S)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        assert target.exists(), f"{document.name} links to {link}"
        if anchor:
            assert anchor in map(slug, headings(target)), f"{document.name} links to {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_file_that_is_named_exists(document):
    folders = "kd|train|tests|docs|checkpoints"
    named = re.findall(rf"(?:^|`)((?:{folders})/[\w./-]*)", document.read_text("utf-8"), re.M)
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


class Parsed(BaseException):
    """Comes where a script has read its options, before it does anything."""


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize(("module", "arguments"), scripts())
def test_every_command_of_a_script_is_one_that_its_options_know(module, arguments, monkeypatch, capsys):
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, *given):
        parse(parser, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    try:
        runpy.run_module(module, run_name="__main__")
    except Parsed:
        return
    except SystemExit as end:
        if end.code:
            pytest.fail(capsys.readouterr().err)
        return
    pytest.fail(f"{module} reads no options")


def test_the_command_of_each_study_is_shown_by_itself_or_as_one_of_its_time():
    text = (ROOT / "docs" / "studies.md").read_text("utf-8")
    shown = re.findall(r"^(By earlier code, in names of today: )?`(python -m train\.study .+)`$", text, re.M)
    studies = read_studies(ROOT / "checkpoints").values()
    assert {command: bool(mark) for mark, command in shown} == {
        study.command: not all("commit" in run for arm in study.carried_out for run in arm.runs) for study in studies
    }


@pytest.mark.parametrize(("module", "arguments"), [command for command in scripts() if trains(*command.values)])
def test_every_command_that_trains_has_a_recipe_and_every_study_runs(module, arguments):
    if module == "train.study":
        options = make_parser().parse_args(arguments)
        options.teacher = ROOT / "checkpoints" / "teacher"  # the command's own lies where it was trained
        assert planned(STUDIES[options.study], options)
    else:
        role = ROLE_OF_SCRIPT[module]
        options = make_run_parser(role).parse_args(arguments)
        assert chosen_recipe(options, role).architecture(role)


def test_the_readme_has_a_line_for_each_study():
    text = (ROOT / "README.md").read_text("utf-8")
    studies = (ROOT / "docs" / "studies.md").read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$\n(?:(?!^#).*\n)*?<!-- study (.+) -->", studies, re.M)
    assert {study for _, study in headings} == {*read_studies(ROOT / "checkpoints")}
    for heading, _ in headings:
        assert f"docs/studies.md#{re.sub(r'[^a-z0-9 -]', '', heading.lower()).replace(' ', '-')})" in text, heading


def test_the_documents_show_the_commands_that_matter():
    shown = {command.values[0] for command in scripts()}
    assert {"train.teacher", "train.student", "train.distill", "train.evaluate"} <= shown
    assert any(starting("python", "app.py")) and any(starting("hf", "upload"))


@pytest.mark.parametrize("name", ["README.md", "docs/training.md"])
def test_training_is_taught_with_the_digits_first(name):
    shown = [" ".join(command.values[0]) for command in commands([ROOT / name])]
    trained = [command for command in shown if " train." in command]
    assert trained[0] == "python -m train.digits" and all("digits" in command for command in trained[:5])


def test_app_takes_no_options_and_none_is_shown():
    for arguments in starting("python", "app.py"):
        assert arguments.values == ([],), arguments.id


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="bash or curl is not installed")
def test_the_commands_for_curl_get_the_endpoints_answer(server, classify):
    (block,) = [block for block in blocks(ROOT / "docs" / "hosting.md", "sh") if "curl" in block]
    script = block.replace("http://127.0.0.1:7860/", server)
    done = subprocess.run(["bash", "-euc", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "event: complete" in done.stdout, done.stderr
    (answer,) = json.loads(done.stdout.split("data: ")[1])
    expected = classify(EXAMPLES / "cat.png")
    for role, model in answer["models"].items():
        assert model["softened"] == pytest.approx(expected["models"][role]["softened"], abs=1e-6)


def test_what_pip_is_told_to_install_is_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for install in starting("pip", "install"):
        for word in install.values[0]:
            if "[" in word:
                assert word.split("[")[1].rstrip("]") in extras, install.id
            elif word.endswith(".txt"):
                assert (ROOT / word).is_file(), install.id


@pytest.mark.parametrize(
    ("document", "code"),
    [
        pytest.param(document, code, id=f"{document.name} {number}")
        for document in DOCUMENTS
        for number, code in enumerate(blocks(document, "python"), start=1)
    ],
)
def test_every_piece_of_python_is_python_and_imports_what_there_is(document, code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)


def test_on_a_space_the_links_lead_to_the_hosts_own_pages(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "you/dark-knowledge")
    assert documents.document("studies.md") == (
        "[docs/studies.md](https://huggingface.co/spaces/you/dark-knowledge/blob/main/docs/studies.md)"
    )
    monkeypatch.delenv("SPACE_ID")
    assert documents.document("missing.md") == "docs/missing.md"
