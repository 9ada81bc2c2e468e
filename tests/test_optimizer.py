"""The optimiser and the schedule of its learning rate, by their formulas."""

import math

import pytest
import torch
from torch import nn

from kd import models
from kd.recipe import Recipe
from kd.training import Muon, make_optimizers, orthogonalised, schedule_at

CPU = torch.device("cpu")


def test_learning_rate_warms_up_linearly_and_falls_to_0_as_a_cosine():
    recipe = Recipe(epochs=40, warmup=0.125)
    assert schedule_at(0, recipe) == 0
    assert schedule_at(0.01, recipe) == pytest.approx(0.002)
    assert schedule_at(2.5, recipe) == pytest.approx(0.5)
    assert schedule_at(5, recipe) == pytest.approx(1)
    for share in (0.25, 0.5, 0.75):
        assert schedule_at(5 + share * 35, recipe) == pytest.approx(0.5 * (1 + math.cos(math.pi * share)))
    assert schedule_at(40, recipe) == pytest.approx(0, abs=1e-12)
    assert schedule_at(0, recipe.changed(warmup=0.0)) == 1


def test_linear_schedule_falls_to_0_along_a_line():
    recipe = Recipe(epochs=10, warmup=0.1, schedule="linear")
    shares = [schedule_at(epochs, recipe) for epochs in (0.5, 1, 5.5, 10)]
    assert shares == [pytest.approx(0.5), 1, pytest.approx(0.5), 0]


def test_weight_decay_shrinks_weights_but_neither_norm_layers_nor_biases(make_network):
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    (optimizer,) = make_optimizers(network, Recipe(weight_decay=0.5, learning_rate=0.1, momentum=0), CPU)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            parameter.data, before[name] * (1 - 0.5 * 0.1) if parameter.ndim > 1 else before[name]
        )


@pytest.mark.parametrize("shape", [(8, 8), (4, 36), (36, 4)])
def test_newton_schulz_brings_every_singular_value_near_1_and_keeps_the_directions(shape):
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = u @ torch.diag(torch.linspace(0.3, 1, min(shape))) @ v
    found = orthogonalised(5 * matrix, steps=3)  # the size of a gradient does not matter
    assert found.shape == shape
    values = torch.diagonal(u.T @ found @ v.T)
    assert values.min() > 0.5 and values.max() < 1.4
    torch.testing.assert_close(u @ torch.diag(values) @ v, found, atol=1e-4, rtol=0)


def test_muon_rescales_a_weight_and_steps_by_its_rate_along_nesterovs_direction():
    torch.manual_seed(0)
    weight, gradients = nn.Parameter(torch.randn(6, 4, 3, 3)), torch.randn(2, 6, 4, 3, 3)
    expected, buffer = weight.detach().clone(), torch.zeros_like(weight)
    optimizer = Muon([weight], lr=0.1, momentum=0.6, steps=3)
    for gradient in gradients:
        buffer = 0.6 * buffer + gradient
        direction = orthogonalised((gradient + 0.6 * buffer).flatten(1), 3).view_as(weight)
        expected = expected * 6**0.5 / expected.norm() - 0.1 * direction
        weight.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(weight.data, expected)


def test_muon_takes_the_convolutions_that_mix_channels_and_sgd_all_else():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.Linear(16, 10)
    )
    recipe = Recipe(optimizer="muon", muon_learning_rate=0.05, muon_momentum=0.3)
    sgd, muon = make_optimizers(network, recipe, CPU)
    (group,) = muon.param_groups
    assert [weight.shape for weight in group["params"]] == [(16, 8, 1, 1)]
    others = [weight for group in sgd.param_groups for weight in group["params"]]
    assert len(others) == len(list(network.parameters())) - 1
    assert (group["initial_lr"], group["momentum"], sgd.param_groups[0]["initial_lr"]) == (0.05, 0.3, 0.4)


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
@pytest.mark.parametrize("stem", models.STEMS)
def test_of_the_projects_networks_muon_takes_every_convolution_that_mixes_channels(architecture, stem):
    with torch.device("meta"):
        network = models.build(architecture, stem)
    convolutions = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d)]
    _, muon = make_optimizers(network, Recipe(optimizer="muon"), CPU)
    expected = [id(weight) for weight in convolutions if weight.shape[1] > 3]
    assert [id(weight) for weight in muon.param_groups[0]["params"]] == expected  # a state on the disk has that order


def test_a_network_without_norms_keeps_its_weights_where_the_learning_rate_is_0():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 10, 1))
    before = [parameter.clone() for parameter in network.parameters()]
    for optimizer in make_optimizers(network, Recipe(optimizer="muon"), CPU):
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))


def test_momentum_is_nesterovs_unless_it_is_0(make_network):
    for momentum, nesterov in [(0.9, True), (0, False)]:
        (optimizer,) = make_optimizers(make_network(), Recipe(momentum=momentum), CPU)
        assert {(group["momentum"], group["nesterov"]) for group in optimizer.param_groups} == {(momentum, nesterov)}
