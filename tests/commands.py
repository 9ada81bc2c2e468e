"""Commands, given in this process or in one of their own."""

import os
import subprocess
import sys

import pytest

from tests.serving import ROOT


def run(*arguments, **environment):
    """A command in a process of its own, which takes seconds to start: once for each command."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def contents(folder):
    """The bytes of each file in a folder, by its path in it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(main, *arguments):
    """The sentence that a command ends with, given in this process: a new one takes seconds to start."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    return caught.value.code
