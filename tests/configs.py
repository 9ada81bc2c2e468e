"""What config.json says of networks that are made by hand."""

from kd.cifar10 import CLASSES, NORMALISATIONS
from kd.models import ARCHITECTURE_OF_ROLE
from kd.recipe import RECIPES, Recipe, as_config


def made_config(role: str = "student", recipe_name: str = "original", recipe: Recipe | None = None, **changes) -> dict:
    """A config.json of CIFAR-10 with all that a checkpoint has to say, and `changes`; the recipe is the preset's."""
    recipe = recipe or RECIPES[recipe_name][role]
    normalisation = NORMALISATIONS[recipe.normalisation]
    return {
        "role": role,
        "architecture": ARCHITECTURE_OF_ROLE[role],
        "stem": recipe.stem,
        "classes": list(CLASSES),
        "normalisation": {
            "name": recipe.normalisation,
            **{key: list(of) for key, of in normalisation._asdict().items()},
        },
        "recipe": as_config(recipe_name, recipe),
        "seed": 7,
        "epochs_done": 3,
        "machine": "an abacus",
        "data": {"name": "CIFAR-10", "trained_on": 450},
    } | changes
