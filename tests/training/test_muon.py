"""Muon and the optimiser beside it: its steps, their learning rates and weight decay."""

from typing import Any

import pytest
import torch
from torch import nn
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


def with_gradients(network: nn.Module) -> None:
    random = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        if weight.requires_grad:
            weight.grad = torch.randn(weight.shape, generator=random)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("normed", [True, False])
def test_convolutions_are_updated_as_matrices(normed: bool, layout: torch.memory_format) -> None:
    """One step is that of torch's own Muon on plain matrices; muon_sgd brings them to the norm √O before."""
    network = Network().to(memory_format=layout)
    values = VALUES if normed else {"name": "muon", "lr": 0.24, "weight_decay": 0.1, "momentum": 0.6}
    optimiser = optimizer(section(optimizer=values).optimizer, network, True)
    assert isinstance(optimiser, MuonAnd)
    weights = [network.convolution.weight, network.hidden.weight]  # no bias, nor the whitening layer or the head
    assert [id(weight) for weight, _ in optimiser.weights] == [id(weight) for weight in weights]
    with_gradients(network)
    expected = []
    for weight in weights:
        assert weight.grad is not None
        scale = len(weight) ** 0.5 / weight.detach().norm() if normed else 1.0
        matrix = nn.Parameter(weight.detach().flatten(1) * scale)
        matrix.grad = weight.grad.flatten(1)
        settings: dict[str, Any] = {"ns_steps": 3} if normed else {"adjust_lr_fn": "match_rms_adamw"}
        torch.optim.Muon([matrix], 0.24, 0.0 if normed else 0.1, 0.6, **settings).step()  # type: ignore[no-untyped-call]
        expected.append(matrix.detach())
    optimiser.step()
    for weight, reference in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.detach().flatten(1), reference, atol=5e-3, rtol=1e-2)  # bfloat16 inside Muon


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


def test_compiled_it_takes_the_same_steps_and_is_not_compiled_again_for_another_rate_or_training() -> None:
    eager, *others = (Network() for _ in range(3))
    for network, compiled in ((eager, False), *((network, True) for network in others)):
        optimiser = muon_of(network, compiled=compiled)
        for number in range(4):
            set_rates(optimiser, 0.24 - 0.06 * number)
            with_gradients(network)
            first = network is others[0] and not number
            with torch.compiler.set_stance("default" if first else "fail_on_recompile"):
                optimiser.step()
    for network in others:
        for ours, theirs in zip(network.parameters(), eager.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)  # bfloat16 inside Muon
