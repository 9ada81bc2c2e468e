"""The optimiser and the schedule of its learning rate, by their formulas."""

import math

import pytest
import torch

from kd.optimizer import learning_rate_at, make_optimizer
from kd.recipe import Recipe

CPU = torch.device("cpu")


def test_learning_rate_warms_up_linearly_and_falls_to_0_as_a_cosine():
    recipe = Recipe(epochs=40, warmup=0.125, learning_rate=0.4)
    assert learning_rate_at(0, recipe) == 0
    assert learning_rate_at(0.01, recipe) == pytest.approx(0.0008)
    assert learning_rate_at(2.5, recipe) == pytest.approx(0.2)
    assert learning_rate_at(5, recipe) == pytest.approx(0.4)
    for share in (0.25, 0.5, 0.75):
        assert learning_rate_at(5 + share * 35, recipe) == pytest.approx(0.2 * (1 + math.cos(math.pi * share)))
    assert learning_rate_at(40, recipe) == pytest.approx(0, abs=1e-12)
    assert learning_rate_at(0, recipe.changed(warmup=0.0)) == 0.4


def test_constant_schedule_stays_at_its_rate_after_the_warm_up():
    recipe = Recipe(epochs=10, warmup=0.1, learning_rate=0.4, schedule="constant")
    rates = [learning_rate_at(epochs, recipe) for epochs in (0.5, 1, 2, 9.99)]
    assert rates == [pytest.approx(0.2), 0.4, 0.4, 0.4]


def test_weight_decay_shrinks_weights_but_neither_norm_layers_nor_biases(make_network):
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = make_optimizer(network, Recipe(weight_decay=0.5, learning_rate=0.1, momentum=0), CPU)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            parameter.data, before[name] * (1 - 0.5 * 0.1) if parameter.ndim > 1 else before[name]
        )


def test_plain_sgd_has_plain_momentum_and_decays_everything(make_network):
    network = make_network()
    optimizer = make_optimizer(network, Recipe(optimizer="sgd", weight_decay=0.01), CPU)
    decayed = [group for group in optimizer.param_groups if group["weight_decay"] == 0.01 and group["params"]]
    assert sum(len(group["params"]) for group in decayed) == len(list(network.parameters()))
    assert not any(group["nesterov"] for group in optimizer.param_groups)


def test_momentum_is_nesterovs_unless_it_is_0(make_network):
    for momentum, nesterov in [(0.9, True), (0, False)]:
        optimizer = make_optimizer(make_network(), Recipe(momentum=momentum), CPU)
        assert {(group["momentum"], group["nesterov"]) for group in optimizer.param_groups} == {(momentum, nesterov)}
