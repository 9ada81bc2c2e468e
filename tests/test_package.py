"""pip installs `kd` with all that it needs at run time, and nothing beside it."""

import os
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.serving import ROOT
from tests.space import copy_space, files_of_the_space, requirements

USE = """
import sys
import torch
from kd.classifier import Classifier
network = Classifier.from_pretrained(sys.argv[1])
print(network(torch.zeros(1, 3, 32, 32)).shape[1], "gradio" in sys.modules)
import kd
print(kd.__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The content of the wheel, built from a clean copy of the project."""
    folder = tmp_path_factory.mktemp("package")
    source = copy_space(folder / "source", without="checkpoints/")
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_holds_kd_with_its_assets_and_no_other_package(installed):
    names = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    of_the_package = {name for name in names if ".dist-info/" not in name}
    assert of_the_package == {
        name for name in files_of_the_space() if name.startswith("kd/") and name != "kd/demo/screenshot.png"
    }
    (licence,) = installed.glob("*.dist-info/licenses/LICENSE")
    assert licence.read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")


def test_the_wheel_asks_for_what_requirements_txt_names(installed):
    (metadata,) = installed.glob("*.dist-info/METADATA")
    lines = metadata.read_text("utf-8").splitlines()
    required = [Requirement(line.split(": ", 1)[1]) for line in lines if line.startswith("Requires-Dist: ")]
    needed = {canonicalize_name(entry.name): entry.specifier for entry in required if entry.marker is None}
    assert needed == {name: entry.specifier for name, entry in requirements().items()}


@pytest.mark.slow
def test_an_installed_student_classifies_far_from_the_checkout(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", USE, ROOT / "checkpoints" / "student"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    used, where = done.stdout.splitlines()
    assert used == "10 False"
    assert where.startswith(str(installed))
