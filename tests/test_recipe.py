"""Hyper-parameters: each in its range, each with its option, the same for baseline and distilled student."""

import math
import re
import runpy
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest

import train.run
from kd.models import ROLES
from kd.recipe import (
    _RETIRED,
    RECIPES,
    Recipe,
    RecipeError,
    as_config,
    beside_preset,
    from_config,
    option_name,
    settings_in_words,
)

ROOT = Path(__file__).parent.parent
SCRIPTS = {"teacher": "train.teacher", "student": "train.student", "distilled": "train.distill"}

RANGES = {
    "crop_padding": (0, 16),
    "flip": (0, 1),
    "rotation": (0, 180),
    "brightness": (0, 1),
    "contrast": (0, 1),
    "cutout": (0, 32),
    "early_downsampling": (0, 0.99),
    "dropout": (0, 0.9),
    "crop_scale": (0.1, 1),
    "saturation": (0, 1),
    "blur": (0, 1),
    "augmentation_seed": (0, 2**31 - 1),
    "muon_learning_rate": (1e-6, 10),
    "muon_momentum": (0, 0.9999),
    "epochs": (1, 10_000),
    "batch_size": (2, 45_000),
    "learning_rate": (1e-6, 10),
    "warmup": (0, 0.9),
    "momentum": (0, 0.9999),
    "weight_decay": (0, 1),
    "temperature": (0.01, 1000),
    "soft_weight": (0, 1),
    "seed": (0, 2**31 - 1),
    "image_size": (16, 224),
}
CHOICES = {
    "stem": "imagenet, cifar",
    "normalisation": "seed-project, cifar10, data",
    "loss": "kd, logit-mse, dkd, dist, standardised-kd",
    "precision": "auto, float32, bfloat16",
    "optimizer": "nesterov, muon",
    "schedule": "cosine, linear",
    "padding_mode": "constant, reflect",
}


@pytest.mark.parametrize(
    "values",
    [{"temperature": {}}, {"temperature": "4"}, {"flip": True}, {"epochs": 1.5}, {"stem": 3}, {"seed": None}],
    ids=str,
)
def test_what_is_no_number_or_no_text_is_refused_by_its_option(values):
    (name,) = values
    with pytest.raises(RecipeError, match=f"{option_name(name)} .* is no (whole number|number|text)"):
        Recipe(**values)
    with pytest.raises(RecipeError, match=option_name(name)):
        from_config(as_config("strong", Recipe()) | values)


def test_a_recipe_has_a_name():
    for config in ({}, {"name": None}, {"name": {}}):
        with pytest.raises(RecipeError, match="no name"):
            from_config(config)


# Presets


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_preset_for_every_role(name):
    assert set(RECIPES[name]) == set(ROLES) == {"teacher", "student", "distilled"}
    assert all(isinstance(preset, Recipe) for preset in RECIPES[name].values())


@pytest.mark.parametrize("name", RECIPES)
def test_baseline_and_distilled_student_share_every_hyper_parameter(name):
    assert asdict(RECIPES[name]["student"]) == asdict(RECIPES[name]["distilled"])


@pytest.mark.parametrize("name", RECIPES)
def test_teacher_and_student_can_look_at_the_identical_view(name):
    assert RECIPES[name]["teacher"].view() == RECIPES[name]["distilled"].view()


def test_recipe_named_original_repeats_the_starting_projects_set_up():
    assert len({(recipe.optimizer, recipe.momentum) for recipe in RECIPES["original"].values()}) == 1
    for recipe in RECIPES["original"].values():
        assert (recipe.stem, recipe.normalisation) == ("imagenet", "seed-project")
        assert (recipe.crop_padding, recipe.flip, recipe.rotation) == (4, 0.5, 15)
        assert (recipe.brightness, recipe.contrast) == (0.2, 0.2)
        assert (recipe.epochs, recipe.temperature) == (40, 4)


@pytest.mark.parametrize(
    ("epochs", "share", "early"), [(24, 0.5, 12), (4, 0.5, 2), (8, 0.75, 6), (1, 0.5, 0), (10, 0.99, 9), (24, 0, 0)]
)
def test_early_downsampling_takes_its_share_of_the_epochs_but_never_the_last(epochs, share, early):
    assert Recipe(epochs=epochs, early_downsampling=share).early_epochs == early


def test_recipe_named_strong_saves_where_it_can_and_keeps_the_teachers_doubts():
    for recipe in RECIPES["strong"].values():
        assert (recipe.stem, recipe.optimizer, recipe.early_epochs) == ("cifar", "muon", recipe.epochs // 2)
        assert (recipe.loss, recipe.temperature) == ("kd", 4)


def test_config_holds_the_name_and_every_field():
    recipe = RECIPES["strong"]["student"]
    assert as_config("strong", recipe) == {"name": "strong"} | {
        field.name: getattr(recipe, field.name) for field in fields(Recipe)
    }


# Ranges


def test_every_field_has_its_range_or_its_choices_in_these_tests():
    assert {field.name for field in fields(Recipe)} == {*RANGES, *CHOICES, "network"}


@pytest.mark.parametrize("name", RANGES)
def test_ends_of_a_range_are_allowed(name):
    for value in RANGES[name]:
        assert getattr(Recipe(**{name: value}), name) == value


@pytest.mark.parametrize("where", ["below", "above", "nan", "infinite"])
@pytest.mark.parametrize("name", RANGES)
def test_value_out_of_range_is_refused_with_its_option_and_the_range(name, where):
    low, high = RANGES[name]
    value = {"below": low - 1, "above": high + 1, "nan": math.nan, "infinite": math.inf}[where]
    message = f"{option_name(name)} {value} is not between {low} and {high}"
    with pytest.raises(RecipeError, match=re.escape(message)):
        Recipe(**{name: value})
    with pytest.raises(RecipeError, match=re.escape(message)):
        RECIPES["original"]["student"].changed(**{name: value})


@pytest.mark.parametrize("name", CHOICES)
def test_unknown_choice_is_refused_with_its_option_and_the_known_ones(name):
    with pytest.raises(RecipeError, match=re.escape(f"{option_name(name)} 'magic' is not one of {CHOICES[name]}")):
        Recipe(**{name: "magic"})


def test_padding_that_mirrors_is_less_than_the_image():
    Recipe(padding_mode="reflect", crop_padding=16, image_size=17)
    Recipe(padding_mode="constant", crop_padding=16, image_size=16)
    with pytest.raises(RecipeError, match="--crop-padding 16 is not below --image-size 16"):
        Recipe(padding_mode="reflect", crop_padding=16, image_size=16)


def test_with_the_stem_that_has_no_early_stride_no_epoch_counts_as_one_with_it():
    def chosen(*arguments):
        return train.run.chosen_recipe(train.run.make_parser("student").parse_args(arguments), "student")

    assert chosen("--recipe", "strong").early_epochs == 12
    assert chosen("--recipe", "strong", "--stem", "imagenet").early_epochs == 0


# Options


@pytest.mark.parametrize("role", ROLES)
def test_help_of_each_script_lists_every_hyper_parameter(role, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module(SCRIPTS[role], run_name="__main__")
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")  # lines are broken behind hyphens too
    entries = re.split(r" (?=--[a-z])", text)
    listed = {entry.split()[0]: entry for entry in entries}
    for field in fields(Recipe):
        line = listed[option_name(field.name).replace("--", "--no-") if field.type is bool else option_name(field.name)]
        assert field.metadata["help"] in line
        if field.name in RANGES:
            low, high = (f"{end:g}" if isinstance(end, float) else str(end) for end in RANGES[field.name][:2])
            assert f"; range {low} to {high}" in line
        # What the presets say, in their order: it is the default.
        presets = {name: getattr(RECIPES[name][role], field.name) for name in RECIPES}
        told = [
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in presets.items()
            if value != ""
        ]
        assert not told or f"({', '.join(told)})" in line
    others = {"--recipe", "--data-dir", "--output-dir", "--device", "--restart"}
    assert others | ({"--teacher"} if role == "distilled" else set()) <= set(listed)


def test_options_change_the_preset_and_nothing_else():
    parser = train.run.make_parser("student")
    given = "--recipe strong --epochs 3 --batch-size 64 --soft-weight 0 --loss dkd".split()
    recipe = train.run.chosen_recipe(parser.parse_args(given), "student")
    changes = {"epochs": 3, "batch_size": 64, "soft_weight": 0.0, "loss": "dkd"}
    assert asdict(recipe) == asdict(RECIPES["strong"]["student"]) | changes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--temperature 0", "--temperature 0.0 is not between 0.01 and 1000"),
        ("--temperature nan", "--temperature nan is not between 0.01 and 1000"),
        ("--soft-weight 1.5", "--soft-weight 1.5 is not between 0 and 1"),
        ("--epochs 0", "--epochs 0 is not between 1 and 10000"),
        ("--seed " + "9" * 400, " is not between 0 and 2147483647"),
        ("--epochs many", "argument --epochs: invalid int value: 'many'"),
        ("--loss mse", "argument --loss: invalid choice: 'mse'"),
        ("--recipe weak", "argument --recipe: invalid choice: 'weak'"),
        ("--alpha 0.5", "unrecognized arguments: --alpha"),
    ],
)
def test_wrong_option_ends_with_code_2_and_touches_no_folder(tmp_path, capsys, monkeypatch, given, message):
    monkeypatch.setattr(train.run, "open_data", lambda *_: pytest.fail("read the data"))
    folders = ["--data-dir", str(tmp_path / "data"), "--output-dir", str(tmp_path / "output")]
    with pytest.raises(SystemExit) as caught:
        train.run.main("student", [*given.split(), *folders])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "python -m train.student: error: " in said and message in said
    assert list(tmp_path.iterdir()) == []


def test_config_gives_the_recipe_back_and_fills_in_fields_that_came_later():
    recipe = RECIPES["original"]["student"].changed(seed=3)
    config = as_config("original", recipe)
    assert from_config(config) == ("original", recipe)
    older = {key: value for key, value in config.items() if key not in ("optimizer", "schedule", "early_downsampling")}
    assert from_config(older) == ("original", recipe)


def test_config_with_a_field_that_recipes_do_not_have_is_refused():
    with pytest.raises(RecipeError, match="no longer known: glare, haze"):
        from_config(as_config("original", Recipe()) | {"haze": 1, "glare": 2})


def test_config_with_a_retired_field_is_read_where_the_field_was_not_made_use_of():
    config = as_config("original", Recipe())
    assert from_config(config | _RETIRED) == ("original", Recipe())
    with pytest.raises(RecipeError, match="no longer known: ema"):
        from_config(config | {"ema": 0.9, "alternating_flip": False})


def config_of(name, role, **changes):
    return as_config(name, RECIPES[name][role].changed(**changes))


@pytest.mark.parametrize(
    ("config", "role", "told"),
    [
        (config_of("strong", "student"), "student", {}),
        (config_of("strong", "student"), "teacher", {"muon_learning_rate": 0.12}),  # each role has its own preset
        (config_of("strong", "teacher", learning_rate=0.2, epochs=3, seed=5, stem="imagenet"), "teacher",
         {"learning_rate": 0.2}),
        (config_of("strong", "student", network="resnet18"), "student", {"network": "resnet18"}),
        ({"name": "a preset that is gone", "learning_rate": 0.2}, "student", {}),
    ],
)  # fmt: skip
def test_what_a_recipe_sets_beside_its_preset_is_told_but_for_epochs_seed_and_stem(config, role, told):
    assert beside_preset(config, role) == told


def test_a_field_that_an_older_config_lacks_counts_as_its_default_and_not_as_what_the_preset_has_now():
    older = {name: value for name, value in config_of("strong", "student").items() if name != "muon_learning_rate"}
    assert beside_preset(older, "student") == {"muon_learning_rate": 0.24}


def test_settings_are_told_in_the_order_of_their_names():
    assert settings_in_words({"warmup": 0.5, "batch_size": 64}.items()) == ", batch size 64, warmup 0.5"
