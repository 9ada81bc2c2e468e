"""What changes the weights: SGD, and the schedule of its learning rate."""

import math

import torch
from torch import nn

from kd.recipe import Recipe


def make_optimizer(network: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.SGD:
    """SGD as the recipe's `optimizer` says: with nesterov, norm layers and biases have no weight decay."""
    nesterov = recipe.optimizer == "nesterov"
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1 or not nesterov]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1 and nesterov]
    return torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=nesterov and recipe.momentum > 0,
        fused=device.type == "cuda",
    )


def learning_rate_at(epochs: float, recipe: Recipe) -> float:
    """Linear warm-up from 0, then a cosine to 0 (Loshchilov 2017, arXiv 1608.03983, without restarts), or no change.

    Args:
        epochs: passes over the data so far, a fraction within an epoch.
    """
    done = epochs / recipe.epochs
    if done < recipe.warmup:
        return recipe.learning_rate * done / recipe.warmup
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - recipe.warmup) / (1 - recipe.warmup)))
