"""Muon beside SGD with rates of their own, by known values."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_samples import section

from src.models.airbench import WHITENING, whitening
from src.training.muon import MuonAnd
from src.training.optimizers import optimizer, set_rates

VALUES: dict[str, Any] = {
    "name": "muon_sgd", "lr": 0.24, "momentum": 0.6, "newton_schulz": 3, "bias_lr": 2.0, "head_lr": 8.0,
    "sgd_momentum": 0.85, "weight_decay": 0.004, "whitening_share": 0.375,
}  # fmt: skip


class Network(nn.Sequential):
    """A whitening layer, a convolution, a hidden layer and a head."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.add_module(WHITENING, whitening(1))
        self.convolution = nn.Conv2d(8, 16, 3)
        self.hidden = nn.Linear(16, 4, bias=False)
        self.head = nn.Linear(4, 3)


def muon_of(network: nn.Module, *, decay_biases: bool = True, compiled: bool = False, **changes: Any) -> MuonAnd:
    chosen = section(optimizer=VALUES | changes).optimizer
    found = optimizer(chosen, network, decay_biases, compiled=compiled)
    assert isinstance(found, MuonAnd)
    return found


def with_gradients(network: nn.Module, scale: float = 1.0) -> None:
    random = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        if weight.requires_grad:
            weight.grad = scale * torch.randn(weight.shape, generator=random)


def quintic(values: Tensor, iterations: int) -> Tensor:
    """What Newton-Schulz makes of singular values; the coefficients are those that Jordan et al. published."""
    for _ in range(iterations):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


def test_a_step_is_the_gradient_with_other_singular_values() -> None:
    network = Network()
    optimiser = muon_of(network, momentum=0.0)
    with_gradients(network)
    weights = [network.convolution.weight, network.hidden.weight]
    expected = []
    for weight in weights:
        assert weight.grad is not None
        left, values, right = torch.linalg.svd(weight.grad.flatten(1), full_matrices=False)
        normed = weight.detach() * (len(weight) ** 0.5 / weight.detach().norm())
        expected.append((normed, left @ torch.diag(quintic(values / values.norm(), 3)) @ right))
    optimiser.step()
    for weight, (normed, direction) in zip(weights, expected, strict=True):
        step = (normed - weight.detach()).flatten(1) / 0.24
        assert (step - direction).norm() / direction.norm() < 0.04  # computed in bfloat16


@pytest.mark.parametrize(("factor", "early"), [(1.0, 1.0), (0.85, 0.6), (0.625, 0.0), (0.1, 0.0)])
def test_rates_fall_with_muons_and_that_of_the_whitening_bias_before(factor: float, early: float) -> None:
    network = Network()
    optimiser = muon_of(network)
    rates = {id(weight): group for group in optimiser.param_groups for weight in group["params"]}
    set_rates(optimiser, 0.24 * factor)
    optimiser.step()
    expected = {
        network.get_parameter(f"{WHITENING}.bias"): 2.0 * early,
        network.convolution.bias: 2.0 * factor,
        network.head.bias: 2.0 * factor,
        network.head.weight: 8.0 * factor,
    }
    for weight, rate in expected.items():
        assert rates[id(weight)]["lr"] == pytest.approx(rate)
    assert id(network.get_parameter(f"{WHITENING}.weight")) not in rates
    assert rates[id(network.hidden.weight)] is optimiser.param_groups[0]


@pytest.mark.parametrize("decay_biases", [True, False])
def test_weight_decay_is_that_of_a_step_at_the_full_rate(decay_biases: bool) -> None:
    network = Network()
    groups = muon_of(network, decay_biases=decay_biases).param_groups[1:]
    shares = {id(weight): group["peak"] * group["weight_decay"] for group in groups for weight in group["params"]}
    assert shares[id(network.head.weight)] == pytest.approx(0.004)
    assert shares[id(network.head.bias)] == pytest.approx(0.004 if decay_biases else 0)


def test_compiled_it_takes_the_same_steps_and_is_not_compiled_again_for_another_rate() -> None:
    """The first step makes its state, the second one has it."""
    eager, compiled = Network(), Network()
    for network, optimiser in ((eager, muon_of(eager)), (compiled, muon_of(compiled, compiled=True))):
        for number in range(4):
            set_rates(optimiser, 0.24 - 0.06 * number)
            with_gradients(network)
            with torch.compiler.set_stance("default" if number < 2 else "fail_on_recompile"):
                optimiser.step()
    for ours, theirs in zip(compiled.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)  # bfloat16 inside Muon
