"""Your own pictures and networks by the documented commands: from a folder to a page and an exported student."""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from kd import checkpoint, models
from kd.cifar10 import NORMALISATIONS
from kd.data_dir import open_data
from kd.dataset import DataError, difference_of_classes
from kd.demo.page import build_page
from kd.inference import Trio
from kd.model_card import model_card
from kd.models import ROLES
from kd.recipe import Recipe
from kd.results import read_results, training_sentences
from kd.teacher import FrozenTeacher
from tests.browser import settle, table
from tests.configs import made_config
from tests.pictures import COLOURS, draw_pictures
from tests.serving import ROOT, serve
from train import choose_examples, evaluate, export, halve, record
from train.run import main as train_run
from train.teachers import TaughtBy, together

QUICK = "--recipe digits --epochs 3 --batch-size 15 --image-size 24 --device cpu".split()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp("own") / "pictures", {"train": 20})


@pytest.fixture(scope="module")
def networks(pictures, tmp_path_factory):
    """The folder of three networks that know the pictures, measured, with examples."""
    folder = tmp_path_factory.mktemp("own") / "networks"
    data = ["--data-dir", str(pictures)]
    train_run("teacher", [*QUICK, *data, "--network", "convnet-16", "--output-dir", str(folder / "teacher")])
    train_run("student", [*QUICK, *data, "--output-dir", str(folder / "student")])
    taught = ["--teacher", str(folder / "teacher"), "--teacher-logits", str(folder / "logits")]
    train_run("distilled", [*QUICK, *data, *taught, "--output-dir", str(folder / "distilled")])
    evaluate.main(["--checkpoints", str(folder), *data, "--device", "cpu"])
    choose_examples.main(["--checkpoints", str(folder), *data])
    return folder


def test_the_networks_learn_three_colours_and_say_what_they_were_trained_on(networks, pictures):
    config = checkpoint.load_config(networks / "teacher")
    training, _ = open_data(pictures, 24).split()
    assert (config["classes"], config["image_size"]) == (sorted(COLOURS), 24)
    assert (config["architecture"], config["stem"]) == ("convnet-16", "imagenet")
    assert config["normalisation"]["std"] == list(training.normalisation.std)
    assert config["data"]["trained_on"] == len(training) == 42
    results = read_results(networks)
    assert results["models"]["teacher"]["accuracy"] > 0.8
    assert results["models"]["student"]["per_class_accuracy"].keys() == set(COLOURS)


def test_the_page_is_built_around_them(networks):
    build_page(networks)
    classified = Trio(networks).classify_all([Trio(networks).network_input(_picture((250, 20, 20)))], 2.0)[0]
    assert classified["classes"] == sorted(COLOURS)
    assert classified["models"]["teacher"]["label"] == "red"
    assert [len(model["softened"]) for model in classified["models"].values()] == [3, 3, 3]


def _picture(colour):
    from PIL import Image

    return Image.new("RGB", (60, 40), colour)


def test_the_student_is_exported_at_its_size_and_predicts_alike(networks, pictures, tmp_path):
    export.main([str(networks / "distilled"), "--output", str(tmp_path), "--data-dir", str(pictures)])
    exported = json.loads((tmp_path / "export.json").read_text())
    assert exported["files"]["model.onnx"]["agreement"] == 1
    import onnx

    model = onnx.load(tmp_path / "model.onnx")
    assert [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim[1:]] == [3, 24, 24]


def test_two_teachers_teach_together_and_a_file_of_their_logits_teaches_the_same(networks, pictures, tmp_path):
    """Both teachers are the same network, so their mean is it, whichever weights they have."""
    alike = ["--data-dir", str(pictures), *QUICK, "--epochs", "1", "--crop-padding", "0", "--rotation", "0"]
    teacher = str(networks / "teacher")

    def weights(name, *teachers):
        train_run("distilled", [*alike, *teachers, "--teacher-logits", str(tmp_path / "l"), "--output-dir",
                                str(tmp_path / name)])  # fmt: skip
        return torch.nn.utils.parameters_to_vector(checkpoint.load(tmp_path / name)[0].parameters())

    alone = weights("alone", "--teacher", teacher)
    shares = ["--teacher-weight", "1", "--teacher-weight", "3"]
    together = weights("together", "--teacher", teacher, "--teacher", teacher, *shares)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)
    assert len(checkpoint.load_config(tmp_path / "together")["teacher"]["several"]) == 2

    training, _ = open_data(pictures, 24).split()
    from kd.evaluation import checkpoint_logits

    np.save(tmp_path / "logits.npy", checkpoint_logits(networks / "teacher", training).numpy())
    from_file = weights("from-file", "--teacher", str(tmp_path / "logits.npy"))
    torch.testing.assert_close(from_file, alone, atol=1e-2, rtol=1e-2)  # kept logits are float16


def test_several_teachers_have_their_weights_the_recipes_t_and_their_own_normalisation(make_network):
    own = made_config("teacher", "original")  # whose constants are the seed project's
    both = [TaughtBy(Path(), FrozenTeacher(make_network(number)), {}, own) for number in (1, 2)]
    options = argparse.Namespace(teacher=[1, 2], teacher_weight=[1.0, 3.0])
    found = together(both, Recipe(temperature=2.5), NORMALISATIONS["cifar10"], options)
    assert (found.temperature, found.weights) == (2.5, [0.25, 0.75])
    assert all(each.scale is not None for each in found.teachers)


def test_a_teacher_begins_with_the_weights_of_a_file_and_with_a_last_layer_of_its_own(networks, pictures, tmp_path):
    torch.manual_seed(5)
    other = models.build("convnet-16", "imagenet", 7)
    checkpoint.save(other, checkpoint.load_config(networks / "teacher"), tmp_path / "other")
    given = ["--weights", str(tmp_path / "other" / "model.safetensors"), "--output-dir", str(tmp_path / "teacher")]
    small_step = [*QUICK, "--epochs", "1", "--learning-rate", "1e-6", "--network", "convnet-16"]
    train_run("teacher", [*small_step, "--data-dir", str(pictures), *given])
    network, config = checkpoint.load(tmp_path / "teacher")
    torch.testing.assert_close(network[3].weight, other[3].weight, atol=1e-4, rtol=0)
    assert config["started_from"]["anew"] == ["11.weight", "11.bias"]
    assert "weights from elsewhere and 1 epochs" in training_sentences({"teacher": config})
    assert "began with weights from elsewhere" in str(model_card(config, None))
    with pytest.raises(SystemExit, match="weights of another network"):
        train_run("teacher", [*small_step, "--network", "convnet-8", "--data-dir", str(pictures), "--restart", *given])
    pickled = [*given[2:], "--weights", str(tmp_path / "weights.pth")]
    with pytest.raises(SystemExit, match="Pickles"):
        train_run("teacher", [*small_step, "--data-dir", str(pictures), "--restart", *pickled])


def test_a_student_of_another_size_is_told_at_once_and_refused_beside_its_teacher(networks, pictures, tmp_path, capsys):
    taught = ["--teacher", str(networks / "teacher"), "--teacher-logits", str(tmp_path / "logits")]
    smaller = [*QUICK, "--data-dir", str(pictures), "--epochs", "1", "--image-size", "16"]
    train_run("distilled", [*smaller, *taught, "--output-dir", str(tmp_path / "distilled")])
    assert "takes images of 24 pixels, this student of 16" in capsys.readouterr().out
    for role in ("teacher", "student"):
        (tmp_path / role).symlink_to(networks / role)
    with pytest.raises(SystemExit, match="distilled takes images of 16 pixels, the networks beside it of 24"):
        evaluate.main(["--checkpoints", str(tmp_path), "--data-dir", str(pictures), "--device", "cpu"])


def test_what_does_not_fit_into_a_gpus_memory_ends_with_a_sentence(pictures, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    arguments = [*QUICK, "--data-dir", str(pictures), "--output-dir", str(tmp_path)]
    with (
        monkeypatch.context() as patch,
        pytest.raises(SystemExit, match="the GPU's memory is full: give a smaller --batch-size"),
    ):
        patch.setattr("train.run.train", full)
        train_run("student", arguments)
    training, _ = open_data(pictures, 24).split()
    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(DataError, match="42 images of 24 pixels do not fit into the memory of cuda"):
        training.to("cuda")


@pytest.mark.parametrize(
    "command",
    [
        lambda folder, data: export.main([str(folder / "teacher"), "--output", str(folder / "x"), *data]),
        lambda folder, data: halve.main([str(folder / "teacher"), str(folder / "x"), *data]),
        lambda folder, data: record.main([str(folder / "teacher"), *data]),
        lambda folder, data: choose_examples.main(["--checkpoints", str(folder), *data]),
    ],
    ids=["export", "halve", "record", "choose_examples"],
)
def test_a_network_of_other_data_is_refused_where_its_data_are_not_named(
    command, make_network, data_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(models, "build", lambda *_: make_network())
    config = checkpoint.load_config(ROOT / "checkpoints" / "student")
    config |= {"classes": [*"0123456789"], "data": {"name": "digits", "trained_on": 1000}}
    checkpoint.save(make_network(), config, tmp_path / "teacher")
    with pytest.raises(SystemExit, match="was trained on 10 classes, .*only it knows 0, 1, 2 .*--data-dir"):
        command(tmp_path, ["--data-dir", str(data_dir)])


def test_networks_that_may_have_seen_the_test_images_are_named(networks, pictures, tmp_path, capsys):
    """With more pictures others are parted off for the test."""
    evaluate.main(["--checkpoints", str(networks), "--data-dir", str(pictures), "--json"])
    assert "trained on other images" not in capsys.readouterr().err
    more = shutil.copytree(pictures, tmp_path / "pictures")
    first = next((more / "train").rglob("*.png"))
    shutil.copyfile(first, first.with_name("another.png"))
    evaluate.main(["--checkpoints", str(networks), "--data-dir", str(more), "--json"])
    assert capsys.readouterr().err.count("was trained on other images than there are now") == len(ROLES)


@pytest.mark.parametrize(
    ("known", "here", "told"),
    [
        ("abcd", "abc", "only it knows d"),
        ("ab", "abcdef", "only these have c, d, e ..."),
        ("abx", "aby", "only it knows x, only these have y"),
        ("abc", "cba", "the same ones in another order"),
    ],
)
def test_how_classes_differ_is_told_by_those_that_do(known, here, told):
    assert difference_of_classes(list(known), list(here)) == told


@pytest.fixture(scope="module")
def many_classes(tmp_path_factory):
    """Untrained networks of 14 classes with examples, as a folder for the page."""
    folder = tmp_path_factory.mktemp("many")
    random = np.random.default_rng(0)
    from PIL import Image

    for label in range(14):
        (folder / "pictures" / "train" / f"kind {label}").mkdir(parents=True)
        for number in range(5):
            pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / "train" / f"kind {label}" / f"{number}.png")
    quick = [*QUICK, "--epochs", "1", "--data-dir", str(folder / "pictures")]
    for role, more in (("teacher", []), ("student", []), ("distilled", ["--teacher", str(folder / "teacher")])):
        more += ["--teacher-logits", str(folder / "logits")] if more else []
        train_run(role, [*quick, *more, "--output-dir", str(folder / role)])
    choose_examples.main(["--checkpoints", str(folder), "--data-dir", str(folder / "pictures")])
    return folder


@pytest.mark.slow
def test_of_many_classes_the_chart_shows_the_teachers_first_ten_and_the_rest_as_one_bar(many_classes, browser):
    with serve(many_classes) as (address, _):
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#answers .answer")
        shown = table(page)
        settle(page)
        assert len(shown["classes"]) == 14 and sum(shown["teacher"]) == pytest.approx(1, abs=1e-6)
        rows = page.evaluate(
            """() => [...document.querySelectorAll('#soft-targets-table tbody tr:not(.beyond)')]
                .map((row) => [row.getBoundingClientRect().top, row.dataset.class, +row.querySelector('td.teacher').dataset.value])
                .sort((a, b) => a[0] - b[0])"""  # noqa: E501
        )
        assert len(rows) == 10
        assert [value for *_, value in rows] == sorted(shown["teacher"], reverse=True)[:10]
        rest = page.locator("#soft-targets-table tfoot tr")
        assert rest.locator("th").inner_text() == "4 others"
        share = float(rest.locator("td.teacher").last.inner_text().rstrip("%")) / 100
        assert share == pytest.approx(sum(sorted(shown["teacher"])[:4]), abs=6e-4)
        assert rest.bounding_box()["y"] > rows[-1][0]
        assert page.locator("#examples img").count() == 10
        with page.expect_download() as download:
            page.locator("#save-svg").click()
        saved = download.value.path().read_text("utf-8")
        assert saved.count("<circle") == 2 * 11 and ">4 others</text>" in saved
        page.locator("#pulls-table").scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('#pulls-table td.number').textContent !== ''")
        pulled = page.locator("#pulls-table tbody tr:visible th").all_inner_texts()
        assert set(pulled) == {name for _, name, _ in rows} | {page.locator("#label").input_value()}
        assert errors == []
        page.close()
