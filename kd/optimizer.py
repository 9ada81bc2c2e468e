"""What changes the weights: SGD, Muon, and the schedule of their learning rates."""

import math

import torch
from torch import Tensor, nn

from kd.recipe import Recipe

# Of the quintic Newton-Schulz iteration (Jordan 2024, https://kellerjordan.github.io/posts/muon): steep at 0, so that
# few steps bring every singular value near 1.
_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal (Jordan 2024, https://kellerjordan.github.io/posts/muon).

    A convolution counts as a matrix with a row an output channel. As in cifar10-airbench, each weight is first scaled
    to the norm sqrt(output channels): the batch norm behind it makes its size meaningless, and a fixed one gives the
    learning rate a fixed meaning. PyTorch's own Muon takes matrices alone, and does not rescale.

    Args:
        params: weights of two or more dimensions, each followed by a norm layer.
        lr: learning rate, per step.
        momentum: of the gradients, Nesterov's, 0 to 1.
        steps: of the Newton-Schulz iteration.
    """

    def __init__(self, params, lr: float = 0.24, momentum: float = 0.6, steps: int = 3) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "steps": steps})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Take one step along the gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
                update = weight.grad.add(buffer, alpha=group["momentum"])
                direction = orthogonalised(update.flatten(1), group["steps"]).view(weight.shape)
                weight.mul_(len(weight) ** 0.5 / weight.norm().clamp(min=1e-12))
                weight.add_(direction, alpha=-group["lr"])


def orthogonalised(matrix: Tensor, steps: int) -> Tensor:
    """About U V' of a matrix's singular value decomposition U S V', float32, shaped like the matrix.

    Args:
        matrix: (M, N).
        steps: of the iteration; after three, singular values that were not tiny lie between .5 and 1.3 or so.
    """
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    found = matrix.float().T if tall else matrix.float()  # the square below is that of the shorter side
    found = found / (found.norm() + 1e-7)  # no singular value above 1
    for _ in range(steps):
        square = found @ found.T
        found = a * found + (b * square + c * square @ square) @ found
    return found.T if tall else found


def make_optimizers(network: nn.Module, recipe: Recipe, device: torch.device) -> list[torch.optim.Optimizer]:
    """The optimisers of a recipe: SGD, and with "muon" Muon for the convolutions before it.

    Muon takes the convolutions with more than three input channels a group: not the one that sees the pixels, and not
    depthwise ones. SGD's norm layers and biases have no weight decay. Each group keeps its peak rate in `initial_lr`.
    """
    by_muon = [
        module.weight
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.weight.shape[1] > 3 and recipe.optimizer == "muon"
    ]
    taken = {id(weight) for weight in by_muon}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in taken]
    decayed = [parameter for parameter in rest if parameter.ndim > 1]
    others = [parameter for parameter in rest if parameter.ndim <= 1]
    sgd = torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        fused=device.type == "cuda",
    )
    optimizers = [sgd]
    if by_muon:
        optimizers.append(Muon(by_muon, recipe.muon_learning_rate, recipe.muon_momentum))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def schedule_at(epochs: float, recipe: Recipe) -> float:
    """The share of the peak learning rate, 0 to 1.

    Linear warm-up from 0, then a line to 0 or a cosine (Loshchilov 2017, arXiv 1608.03983, without restarts).

    Args:
        epochs: passes over the data so far, a fraction within an epoch.
    """
    done = epochs / recipe.epochs
    if done < recipe.warmup:
        return done / recipe.warmup
    left = (1 - done) / (1 - recipe.warmup)
    return left if recipe.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left))
