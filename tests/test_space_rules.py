"""A folder that breaks a rule of a Space is refused with the file, the fault and the way out."""

import gradio
import pytest

from kd.demo import space_rules
from kd.demo.space_rules import SpaceError
from tests.small_space import change, write_small_space


@pytest.fixture
def folder(tmp_path):
    return write_small_space(tmp_path / "space")


def test_the_small_folder_keeps_every_rule(folder):
    assert "10 fields, 'Cats'" in space_rules.check_front_matter(folder)
    assert space_rules.check_project(folder) == "MIT, Python 3.11 (>=3.11)"
    assert "5 files, 0.0 MB" in space_rules.check_sizes(folder)
    assert "sdk_version 6.31.0 satisfies gradio" in space_rules.check_requirements(folder)


@pytest.mark.parametrize(
    ("field", "line", "said"),
    [
        ("short_description", "short_description: " + "x" * 61, "it has 61 characters, shorten it to 60"),
        ("colorFrom", "colorFrom: orange", "colorFrom is 'orange': use one of red, yellow"),
        ("colorTo", "colorTo: grey", "colorTo is 'grey': use one of red, yellow"),
        ("colorTo", "colourTo: gray", "a Gradio Space has no colourTo"),
        ("emoji", "emoji: cat", "emoji is 'cat': use one emoji"),
        ("emoji", "emoji: 🐈 cat", "emoji is '🐈 cat': use one emoji"),
        ("sdk", "sdk: docker", "sdk is 'docker'"),
        ("sdk_version", "sdk_version: newest", "sdk_version is 'newest': name one version"),
        ("sdk_version", "sdk_version: 6.31", "sdk_version is 6.31: give it a text, in quotes"),
        ("python_version", "python_version: 3.11", "python_version is 3.11: give it a text, in quotes"),
        ("python_version", 'python_version: "3"', "python_version is '3': write 3.x"),
        ("app_file", "app_file: main.py", "app_file is 'main.py': there is no such file"),
        ("app_file", "app_file: kd", "app_file is 'kd': there is no such file"),
        ("title", "", "title is None: give it a text"),
        ("title", "title: [a, b", "no front matter that can be read"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_right(folder, field, line, said):
    change(folder, field, line)
    with pytest.raises(SpaceError) as caught:
        space_rules.check_front_matter(folder)
    assert said in str(caught.value)


def test_a_description_of_60_characters_is_short_enough(folder):
    change(folder, "short_description", "short_description: " + "x" * 60)
    assert "short_description 60 characters" in space_rules.check_front_matter(folder)


def test_a_readme_without_front_matter_is_refused(folder):
    (folder / "README.md").write_text("# Cats\n")
    with pytest.raises(SpaceError, match="no front matter: begin it with a YAML block"):
        space_rules.check_front_matter(folder)
    (folder / "README.md").unlink()
    with pytest.raises(SpaceError, match="no front matter that can be read"):
        space_rules.check_front_matter(folder)


def test_another_licence_than_the_projects_is_refused(folder):
    change(folder, "license", "license: apache-2.0")
    with pytest.raises(SpaceError, match="license is 'apache-2.0', pyproject.toml says 'MIT'"):
        space_rules.check_project(folder)
    change(folder, "license", "license: mit")
    (folder / "LICENSE").unlink()
    with pytest.raises(SpaceError, match="LICENSE is missing"):
        space_rules.check_project(folder)


def test_a_python_that_is_too_old_for_the_project_is_refused(folder):
    change(folder, "python_version", 'python_version: "3.10"')
    with pytest.raises(SpaceError, match="python_version is 3.10, pyproject.toml asks for >=3.11"):
        space_rules.check_project(folder)


@pytest.mark.parametrize(("size", "passes"), [(9_999_999, True), (10_000_000, False), (11_000_000, False)])
def test_a_file_of_10_mb_is_refused(folder, size, passes):
    (folder / "kd").mkdir()
    with open(folder / "kd" / "weights", "wb") as file:
        file.truncate(size)
    if passes:
        assert "the largest is kd/weights, 10.0 MB" in space_rules.check_sizes(folder)
    else:
        with pytest.raises(SpaceError, match=rf"^kd/weights \({size / 1e6} MB\): .* under 10 MB"):
            space_rules.check_sizes(folder)


@pytest.mark.parametrize(
    ("requirements", "said"),
    [
        ("gradio>=6.32,<7\n", "sdk_version is 6.31.0, requirements.txt asks for gradio<7,>=6.32"),
        ("gradio>=5,<6\n", "sdk_version is 6.31.0, requirements.txt asks for gradio<6,>=5"),
        ("pillow\n", "does not name gradio"),
        ("gradio>=6\npillow at least 11\n", "cannot be read"),
    ],
)
def test_requirements_that_do_not_fit_the_spaces_gradio_are_refused(folder, requirements, said):
    (folder / "requirements.txt").write_text(requirements)
    with pytest.raises(SpaceError, match=said):
        space_rules.check_requirements(folder)


def test_what_pip_cannot_resolve_is_refused(folder, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # what is installed has to do
    change(folder, "sdk_version", f"sdk_version: {gradio.__version__}")
    (folder / "requirements.txt").write_text("gradio>=6\npillow\n")
    assert f"with gradio=={gradio.__version__}" in space_rules.check_resolution(folder)
    (folder / "requirements.txt").write_text("gradio>=6\npillow<1\n")
    with pytest.raises(SpaceError, match="pip cannot resolve .*pillow<1.*--no-resolve"):
        space_rules.check_resolution(folder)
