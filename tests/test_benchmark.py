"""The training benchmark: both loops train the same, and its table says what was measured."""

import json

import pytest
import torch
from torch import nn

import train.benchmark
from kd import models
from kd.recipe import RECIPES, Recipe
from train.benchmark import PillowImages, benchmark_table, main, operations_an_image, plain_loss


@pytest.fixture(scope="module")
def measured(tmp_path_factory, data_dir):
    """A benchmark of 32 images with tiny networks, and the README it wrote to."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "README.md").write_text("<!-- benchmark -->\n<!-- end of benchmark -->\n")
    arguments = [
        "--recipe",
        "original",
        "--images",
        "32",
        "--rounds",
        "1",
        "--workers",
        "0",
        "--eager",
        "--device",
        "cpu",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.benchmark, "build", lambda *_: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)))
        main(
            [
                *arguments,
                "--data-dir",
                str(data_dir),
                "--output-dir",
                str(folder),
                "--document",
                str(folder / "README.md"),
            ]
        )
    return json.loads((folder / "benchmark.json").read_text()), (folder / "README.md").read_text()


def test_ratios_follow_from_the_speeds_and_the_operations(measured):
    found, _ = measured
    assert set(found["roles"]) == {"teacher", "student", "distilled"}
    for role, figures in found["roles"].items():
        speed = figures["images_per_second"]
        assert set(speed) == {"ours", "plain"} and min(speed.values()) > 0
        assert figures["ratio"] == pytest.approx(speed["ours"] / speed["plain"], abs=0.006)
        operations = operations_an_image(role, RECIPES["original"], 10)
        share = speed["ours"] * operations / found["matmul_operations_per_second"]
        assert figures["share_of_matmul"] == pytest.approx(share, abs=6e-5)


def test_distilling_costs_the_students_training_and_the_teachers_logits():
    recipes = RECIPES["original"]
    teacher, student, distilled = (
        operations_an_image(role, recipes, 10) for role in ("teacher", "student", "distilled")
    )
    assert distilled == student + teacher / 3
    assert student == 6 * models.count_macs("mobilenet_v2", "imagenet")


def test_the_teacher_of_a_benchmark_is_its_recipes_own():
    recipes = RECIPES["digits"]
    teacher, student, distilled = (
        operations_an_image(role, recipes, 10) for role in ("teacher", "student", "distilled")
    )
    assert distilled == student + teacher / 3 and teacher > 2 * student


def test_readme_gets_the_table_of_what_was_written(measured):
    found, readme = measured
    assert benchmark_table(found) in readme
    for name in ("Teacher", "Student alone", "Distilled student"):
        assert f"| {name} |" in readme


def test_plain_loss_is_the_cross_entropy_until_there_is_a_teacher():
    logits, images, labels = torch.randn(4, 10), torch.randn(4, 3, 32, 32), torch.tensor([1, 2, 3, 4])
    recipe = RECIPES["original"]["student"]
    hard = plain_loss(logits, images, labels, None, recipe)
    assert hard == nn.functional.cross_entropy(logits, labels)
    agreeing = plain_loss(logits, images, labels, lambda _: logits, recipe)
    assert agreeing == pytest.approx((1 - recipe.soft_weight) * hard.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("recipe", "extra"),
    [
        (RECIPES["original"]["student"], {"RandomRotation", "ColorJitter"}),
        (RECIPES["strong"]["student"], {"RandomErasing", "ColorJitter"}),
        (Recipe(crop_scale=0.6, saturation=0.2, blur=0.5), {"RandomResizedCrop", "ColorJitter", "RandomApply"}),
    ],
    ids=["original", "strong", "for photos"],
)
def test_plain_images_are_augmented_by_all_the_recipe_names(subset, recipe, extra):
    images = PillowImages(subset[0], recipe)
    names = {type(step).__name__ for step in images.transform.transforms}
    assert names == {"RandomCrop", "RandomHorizontalFlip", "ToTensor", "Normalize"} | extra
    pixels, label = images[7]
    assert pixels.shape == (3, 32, 32) and pixels.dtype == torch.float32 and label == subset[0].labels[7]
