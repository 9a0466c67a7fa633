"""What of training a GPU records, and that it finds batches and rates where they lie. `test_cuda` records."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from augment_samples import NO_AUGMENT
from device_samples import OPTIMIZERS
from torch import Tensor
from training_samples import new_classifier, run, section, weights

from src.params import Optimizer
from src.training import loop
from src.training.optimizers import place_rates, recordable
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


@pytest.mark.parametrize(
    "optimizer", [each for each in OPTIMIZERS if each.name in RECORDED], ids=lambda each: each.name
)
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
    torch.testing.assert_close(weights(rehearsed), weights(ran), rtol=1e-2, atol=1e-3)


def test_what_reads_nothing_on_the_host_is_recorded() -> None:
    assert {optimizer.name for optimizer in OPTIMIZERS if recordable(optimizer)} == set(RECORDED)
