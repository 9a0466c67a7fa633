"""What of training a GPU records, and that it finds batches and rates where they lie. `test_cuda` records."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from augment_samples import NO_AUGMENT
from device_samples import OPTIMIZERS, recipe
from fake_cuda import CUDA, fake_cuda
from torch import Tensor
from training_samples import new_classifier, run, section, weights

from src.compute.device import Compute
from src.params import Optimizer
from src.training import loop
from src.training.optimizers import place_rates
from src.training.step import TrainStep

RECORDED = ("sgd", "adam", "adamw", "muon", "muon_sgd")
TAKEN = [config for config in OPTIMIZERS if config.name in RECORDED]


class Rehearsed:
    """As `Recorded`, on a CPU: inputs and outputs stay where they are, and what is read is what lies there."""

    def __init__(self, work: Callable[..., tuple[Tensor, ...]]) -> None:
        self.work, self.inputs, self.outputs = work, list[Tensor](), list[Tensor]()

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        if not self.inputs:
            self.inputs = [tensor.clone() for tensor in inputs]
            self.outputs = [tensor.clone() for tensor in self.work(*inputs)]
            return self.outputs
        for kept, given in zip(self.inputs, inputs, strict=True):
            kept.copy_(given)
        for kept, found in zip(self.outputs, self.work(*self.inputs), strict=True):
            kept.copy_(found)
        return self.outputs


def rehearsing(*arguments: Any) -> TrainStep:
    train_step = TrainStep(*arguments)
    train_step.recorded = Rehearsed(train_step._learn)  # type: ignore[assignment]
    place_rates(train_step.optimiser, torch.device("cpu"))
    return train_step


@pytest.mark.parametrize("optimizer", TAKEN, ids=lambda each: each.name)
def test_a_recorded_step_finds_batches_and_rates_where_they_lie(
    optimizer: Optimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rates are in single precision there, as the kernels read them."""
    schedule = {"name": "cosine", "warmup_epochs": 1}
    chosen = section(optimizer=optimizer.model_dump(), schedule=schedule, augment=NO_AUGMENT | {"cutmix": 1.0})
    ran, rehearsed = new_classifier(), new_classifier()
    run(ran, chosen)
    monkeypatch.setattr(loop, "TrainStep", rehearsing)
    run(rehearsed, chosen)
    torch.testing.assert_close(weights(rehearsed), weights(ran), rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: each.name)
def test_what_reads_nothing_on_the_host_is_recorded(optimizer: Optimizer) -> None:
    with fake_cuda():
        assert is_recorded(optimizer, torch.bfloat16) is (optimizer.name in RECORDED)
        assert not is_recorded(optimizer, torch.float16)
        assert not is_recorded(optimizer, torch.bfloat16, cuda_graph=False)


def is_recorded(optimizer: Optimizer, precision: torch.dtype, **changes: Any) -> bool:
    classifier, chosen, data = recipe("mnist", optimizer=optimizer, device="cuda", **changes)
    train_step = TrainStep(classifier, chosen, torch.from_numpy(data.labels), Compute(CUDA, precision))
    return train_step.recorded is not None
