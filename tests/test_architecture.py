"""docs/architecture.md names every module of the library, and imports point down the layers that it draws."""

import ast
import graphlib
import re

import pytest

from tests.modules import FILES, MODULES, imports
from tests.serving import ROOT

DOCUMENT = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def layers_drawn(document):
    """The entries of each line of the diagram, from the top: files, and folders with a slash at their end."""
    (diagram,) = re.findall(r"<!-- layers -->\n```text\n(.*?)```", document, re.S)
    return [line.split()[1:] for line in diagram.splitlines()]


def line_of(module, layers):
    """The number of the line that a module stands on; None for a package's own file, which holds nothing."""
    path = MODULES[module].relative_to(ROOT).as_posix()
    if path == "kd/__init__.py":
        return None
    found = [
        number
        for number, entries in enumerate(layers)
        if any(path == entry or (entry.endswith("/") and path.startswith(entry)) for entry in entries)
    ]
    assert len(found) == 1, f"{path} stands on {len(found)} lines of the diagram"
    return found[0]


def wrong_way(layers, sources):
    """The imports that point from a line of the diagram to one above it."""
    return [
        f"{module} imports {other}"
        for module, source in sources.items()
        for other in sorted(imports(module, source))
        if None not in (here := line_of(module, layers), there := line_of(other, layers)) and there < here
    ]


@pytest.fixture(scope="module")
def sources():
    return {module: path.read_text("utf-8") for module, path in MODULES.items()}


def test_every_module_is_named_with_a_link_and_what_it_has():
    told = set(re.findall(r"^\| \[(kd/[\w/]+\.py)\]\(\.\./\1\) \| \S", DOCUMENT, re.M))
    files = {path.relative_to(ROOT).as_posix() for path in FILES if path.name != "__init__.py"}
    assert told == {path for path in files if path.startswith("kd/")}


def test_imports_point_down_the_layers(sources):
    assert wrong_way(layers_drawn(DOCUMENT), sources) == []


def test_no_modules_import_each_other(sources):
    graph = {module: imports(module, source) for module, source in sources.items()}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the way round


def test_gradio_is_imported_for_the_page_alone(sources):
    users = {
        module
        for module, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any(
            name.split(".")[0] == "gradio"
            for name in [getattr(node, "module", None) or "", *(a.name for a in node.names)]
        )
    }
    assert users and all(module.startswith(("kd.demo", "kd.site")) for module in users)
