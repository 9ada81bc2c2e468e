"""The page's warning that a photo may show none of the classes: whom it warns, and where it is damaged."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from kd import checkpoint
from kd.cifar10 import CLASSES, NORMALISATIONS, read_test_set
from kd.files import write_json
from kd.inference import Trio
from kd.models import ROLES
from kd.out_of_class import Warner, floats_as_text, responses
from kd.results import RESULTS
from kd.strange_images import strange_images
from kd.studies.omitted_class import FOLDER
from tests.configs import made_config
from train.out_of_class import measure_omitted_class


@pytest.fixture
def with_warning(networks, tiny, tmp_path):
    """A folder with three tiny networks and what was measured of their warning, and their results to be changed."""
    for role in ROLES:
        (tmp_path / role).symlink_to(networks / role)
    shutil.copyfile(networks / RESULTS, tmp_path / RESULTS)
    return tmp_path, json.loads((tmp_path / RESULTS).read_text())


def test_of_a_class_that_was_omitted_the_network_is_asked_without_its_logit(checkpoints, data_dir, subset):
    data = made_config()["data"] | {"omitted_class": "frog"}
    (network, _), frog = checkpoint.load(checkpoints / "student"), CLASSES.index("frog")
    checkpoint.save(network, made_config(data=data), checkpoints / FOLDER)
    validation, test = subset[1], read_test_set(data_dir)
    found = measure_omitted_class(checkpoints, validation, test, torch.device("cpu"))

    def looked(images):
        seen = responses(network, images, NORMALISATIONS["seed-project"])
        return seen._replace(logits=torch.cat([seen.logits[:, :frog], seen.logits[:, frog + 1 :]], dim=1))

    others = validation.labels != frog
    warner = Warner.fit(looked(validation.images[others]), validation.labels[others])
    of_frogs, of_others = (looked(test.images[which]) for which in (test.labels == frog, test.labels != frog))
    expected = {"detected": warner.share(of_frogs), "false_alarms": warner.share(of_others)}
    assert (
        found
        == {"class": "frog", "weights": checkpoint.digest(checkpoint.load_config(checkpoints / FOLDER))} | expected
    )


def test_the_page_warns_of_the_same_images_that_evaluate_counts(with_warning, carried_images):
    trio = Trio(with_warning[0])
    images = carried_images[:20] + [
        Image.fromarray(image.permute(1, 2, 0).numpy()) for image in strange_images(5, 4)["cells"]
    ]
    pixels = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
    normalisation = checkpoint.normalisation_of(trio.configs["teacher"])
    looked = responses(trio.networks["teacher"].network, pixels, normalisation)
    expected = trio.warner.warns(looked.logits, looked.contrasts).tolist()
    timed = trio.timed_logits(images)
    warned = [trio.fits_no_class(each["teacher"].logits, image) for each, image in zip(timed, images, strict=True)]
    assert warned == expected and set(warned) == {True, False}


def test_nobody_is_warned_where_nothing_was_measured_or_with_another_teacher(with_warning, carried_images):
    folder, results = with_warning
    results["models"]["teacher"]["weights"] = "another's"
    write_json(folder / RESULTS, results)
    assert Trio(folder).warner is None
    (folder / RESULTS).unlink()
    trio = Trio(folder)
    assert trio.warner is None
    assert not trio.fits_no_class(trio.timed_logits(carried_images[:1])[0]["teacher"].logits, carried_images[0])


@pytest.mark.parametrize("older", [{"threshold": 4.0}, None], ids=str)
def test_results_of_an_older_form_warn_nobody(with_warning, older):
    folder, results = with_warning
    write_json(folder / RESULTS, results | {"out_of_class": older})
    assert Trio(folder).warner is None


@pytest.mark.parametrize(
    "damage",
    [
        {"centre": "?"},
        {"precision": ""},
        {"cosine_below": None},
        {"means": ""},
        {"detected": []},
        {"precision": 3},
        {"means": floats_as_text(torch.ones(99))},
        {"cosine_below": 10**400},
    ],  # fmt: skip
    ids=str,
)
def test_a_damaged_warning_is_named_with_the_command_that_measures_it(with_warning, damage, caplog):
    folder, results = with_warning
    assert Trio(folder).warner
    results["out_of_class"] |= damage
    write_json(folder / RESULTS, results)
    assert Trio(folder).warner is None and "out_of_class" in caplog.text and "train.evaluate" in caplog.text
