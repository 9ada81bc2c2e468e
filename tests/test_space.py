"""A Space gets the right files, its app is rehearsed as a Space runs it, and only what passes is uploaded.

The Hub is a stand-in on this machine (see tests/hub_stand_in.py).
"""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from huggingface_hub import constants

from kd.demo import space, space_rehearsal, space_rules
from kd.demo.space import files_of_the_space, staged
from kd.demo.space_rehearsal import check_answer
from kd.demo.space_rules import SpaceError
from kd.recipe import ROLES
from tests.serving import ROOT
from tests.small_space import PAGE, write_small_space

CLONED = ["LICENSE", "README.md", "app.py", "kd/cats.py", "pyproject.toml", "requirements.txt"]


@pytest.fixture
def place():
    """A folder that other users can reach, which pytest's own ones are not."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.fixture
def folder(place):
    return write_small_space(place / "space")


@pytest.fixture
def scratch(place):
    """An empty folder that the app may write, whoever runs it."""
    (place / "scratch").mkdir()
    return place / "scratch"


@pytest.fixture
def clone(folder):
    """The small folder as a clone, with files that are not for the Space."""
    for name in ("tests/test_cats.py", ".ci/run", ".gitignore", "kd/cats.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    subprocess.run("git init --quiet && git add --all", cwd=folder, shell=True, check=True)
    (folder / "untracked.py").write_text("")
    return folder


# The files


def test_the_space_gets_what_git_tracks_without_the_tests_and_what_begins_with_a_dot(clone):
    assert files_of_the_space(clone) == CLONED


def test_a_tracked_file_that_is_gone_and_a_folder_that_is_no_clone_are_refused(clone, tmp_path):
    (clone / "app.py").unlink()
    with pytest.raises(SpaceError, match="git tracks app.py, which .* lacks"):
        files_of_the_space(clone)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpaceError, match="git cannot list the files .*run this in a clone"):
        files_of_the_space(tmp_path / "empty")


def test_the_clean_copy_holds_these_files_alone_and_cannot_be_written(clone):
    with staged(clone, CLONED) as (copy, scratch):
        assert sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()) == CLONED
        assert (copy / "app.py").read_text() == (clone / "app.py").read_text()
        assert {path.stat().st_mode & 0o777 for path in copy.rglob("*")} == {0o444, 0o555}
        assert copy.stat().st_mode & 0o777 == 0o555
        assert list(scratch.iterdir()) == []
    assert not copy.parent.exists()


# The rehearsal


def test_this_repository_is_a_space_that_answers_and_its_log_tells_nothing_of_the_photo():
    with staged(ROOT, files_of_the_space(ROOT)) as (folder, scratch):
        for check in (
            space_rules.check_front_matter,
            space_rules.check_project,
            space_rules.check_sizes,
            space_rules.check_requirements,
        ):
            check(folder)
        said = check_answer(folder, scratch, "ann/cats")
        log = (scratch / "log").read_text()
    assert "/classify answers (teacher cat, student cat, distilled cat)" in said
    assert "Running on local URL" in log
    assert "cat.png" not in log and "base64" not in log


def test_the_app_gets_the_variables_of_a_space_and_none_of_ours(folder, scratch, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("KD_CHECKPOINTS", "elsewhere")
    (folder / "app.py").write_text("import os; print(sorted(os.environ), os.environ, flush=True)" + PAGE)
    with space_rehearsal.running(folder, scratch, "ann/cats") as (address, _):
        said = (scratch / "log").read_text()
    assert "hf_secret" not in said and "elsewhere" not in said
    for variable in ("'SYSTEM': 'spaces'", "'SPACE_ID': 'ann/cats'", "'GRADIO_SERVER_NAME': '0.0.0.0'"):
        assert variable in said
    assert f"'GRADIO_SERVER_PORT': '{address.split(':')[2].strip('/')}'" in said


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_root_has_the_app_run_by_nobody(folder, scratch):
    environment = space_rehearsal.space_environment(folder, scratch, "ann/cats", 1)
    if space_rehearsal.least_privileged(environment)[1] is None:
        pytest.skip("the Pythons of this machine are closed to other users")
    (folder / "app.py").write_text("import os; print(os.getuid(), os.getgroups(), flush=True)" + PAGE)
    with space_rehearsal.running(folder, scratch, "ann/cats") as (_, user):
        assert user == "as user 65534"
        assert (scratch / "log").read_text() == "65534 []\n"


def test_an_app_that_ends_is_told_with_its_last_words(folder, scratch):
    (folder / "app.py").write_text("raise RuntimeError('no cats')")
    with pytest.raises(SpaceError, match=r"the app ended with 1 \(RuntimeError: no cats\): mend that"):
        check_answer(folder, scratch, "ann/cats")


def test_an_app_that_does_not_answer_in_time_is_told_and_ended(folder, scratch, monkeypatch):
    monkeypatch.setattr(space_rehearsal, "START_SECONDS", 1)
    (folder / "app.py").write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    with pytest.raises(SpaceError, match="the app is silent"):
        check_answer(folder, scratch, "ann/cats")
    with pytest.raises(ProcessLookupError):
        os.kill(int((scratch / "log").read_text()), 0)


def test_an_app_that_writes_beside_its_code_fails(folder, scratch, monkeypatch):
    answer = {"models": dict.fromkeys(ROLES, {"label": "cat"})}
    monkeypatch.setattr(space_rehearsal, "ask", lambda address, photo: answer)
    (folder / "app.py").write_text("open('cache.txt', 'w').write('a cat')" + PAGE)
    folder.chmod(0o777)
    with pytest.raises(SpaceError, match="the app wrote beside its code .*cache.txt"):
        check_answer(folder, scratch, "ann/cats")
    (folder / "cache.txt").unlink()
    folder.chmod(0o555)
    # Root is not held by permissions, but found out.
    with pytest.raises(SpaceError, match="PermissionError|the app wrote beside its code"):
        check_answer(folder, scratch, "ann/cats")


def test_a_page_that_is_not_ours_fails(folder, scratch):
    with pytest.raises(SpaceError, match="/classify gave no answer of three networks"):
        check_answer(folder, scratch, "ann/cats")


def test_an_answer_that_is_no_distribution_fails(monkeypatch):
    model = {"label": "cat", "softened": [0.5, 0.4]}
    answer = {"classes": ["cat", "dog"], "models": dict.fromkeys(ROLES, model)}
    client = type("Client", (), {"__init__": lambda *_, **__: None, "predict": lambda *_, **__: answer})
    monkeypatch.setattr(space_rehearsal, "Client", client)
    with pytest.raises(SpaceError, match="no answer of three networks"):
        space_rehearsal.ask("http://127.0.0.1:9/", ROOT / space_rehearsal.PHOTO)
    model["softened"] = [0.5, 0.5]
    assert space_rehearsal.ask("http://127.0.0.1:9/", ROOT / space_rehearsal.PHOTO) == answer


# The command


def wrong():
    raise SpaceError("app.py: no cats: add one")


@pytest.fixture
def command(clone, monkeypatch, capsys):
    """Gives the command in the small clone, with checks of the test's own; returns what it prints and ends with."""
    checks = {"first": lambda: "fine", "second": lambda: "fine"}
    monkeypatch.setattr(space, "ROOT", clone)
    monkeypatch.setattr(space, "checks_of", lambda *_, **__: checks)

    def give(*arguments, **others):
        checks.update(others)
        try:
            space.main(list(arguments))
            code = 0
        except SystemExit as end:
            code = end.code
        return capsys.readouterr().out, code

    return give


def test_a_dry_run_lists_the_files_with_their_sizes_and_uploads_nothing(command, stand_in):
    out, code = command("--dry-run", "--repo", "ann/cats")
    assert code == 0
    sizes = dict(reversed(line.split()) for line in out.splitlines()[: len(CLONED)])
    assert list(sizes) == CLONED and sizes["LICENSE"] == "3"
    assert out.endswith("PASS  first: fine\nPASS  second: fine\nNothing was uploaded.\n")
    assert stand_in.requests == []


def test_one_failed_check_is_status_1_and_no_upload_and_the_others_still_run(command, stand_in):
    out, code = command("--repo", "ann/cats", first=wrong)
    assert (out, code) == ("FAIL  first: app.py: no cats: add one\nPASS  second: fine\n", 1)
    assert stand_in.requests == []


def test_the_spaces_content_becomes_that_of_the_folder(command, clone, stand_in):
    out, code = command("--repo", "ann/cats", "--token", "hf_given")
    assert code == 0, out
    assert out.endswith(f"Uploaded to {stand_in.address}/spaces/ann/cats\n")
    assert stand_in.created == [{"name": "cats", "organization": "ann", "type": "space", "sdk": "gradio"}]
    files = stand_in.repositories["space", "ann/cats"]
    assert files == {name: (clone / name).read_bytes() for name in CLONED}
    assert stand_in.tokens == {"hf_given"}

    files["old.py"] = b"of an older version"
    (clone / "app.py").write_text("new")
    command("--repo", "ann/cats")
    assert files.keys() == set(CLONED) and files["app.py"] == b"new"
    assert stand_in.tokens == {"hf_given", "hf_of_the_test"}  # HF_TOKEN's


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repo", "cats"], "--repo cats has no owner: write OWNER/NAME"),
        (["--repo", "ann/cats--dogs"], "--repo ann/cats--dogs: Cannot have --"),
        (["--dry-run", "--repo", "a/b/c"], "--repo a/b/c: "),
    ],
)
def test_a_name_that_cannot_be_is_refused_before_anything_is_checked(command, stand_in, arguments, said):
    out, code = command(*arguments)
    assert out == "" and said in code


def test_without_a_token_nothing_is_checked_in_vain(command, monkeypatch):
    monkeypatch.setattr(space, "get_token", lambda: None)
    out, code = command("--repo", "ann/cats")
    assert out == "" and "no token to upload with: set HF_TOKEN" in code
    assert command("--dry-run")[1] == 0


def test_a_hub_that_refuses_or_cannot_be_reached_is_told(command, stand_in, monkeypatch):
    stand_in.refusals["ann/cats"] = (403, "")
    assert "the Hub refused" in command("--repo", "ann/cats")[1]
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the upload failed" in command("--repo", "ann/cats")[1]


def test_resolution_can_be_left_out(folder, scratch):
    names = list(space.checks_of(folder, scratch, "ann/cats"))
    assert names == ["front matter", "project", "sizes", "requirements", "resolution", "answer"]
    assert list(space.checks_of(folder, scratch, "ann/cats", resolve=False)) == [n for n in names if n != "resolution"]


def test_help_explains_every_option(command):
    out, code = command("--help")
    assert code == 0
    for option in ("--repo", "--dry-run", "--no-resolve", "--token"):
        assert option in out
