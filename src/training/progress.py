"""Where a training stands between two epochs: all that another process needs to go on to the same bits."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from src.training.results import Epoch, Errors
from src.training.step import TrainStep


class Progress:
    """What is known of the finished epochs, and the train_step as the last of them left it.

    There is no random state: the randomness of an epoch is a function of (seed, epoch).
    """

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.best_weights: Mapping[str, Any] | None = None  # on the CPU; only where a worse epoch can follow
        self._learner: TrainStep | None = None
        self._copy: dict[str, Any] | None = None  # of the train_step's state after `_copied` epochs, on the CPU
        self._copied = 0

    @property
    def losses(self) -> list[float]:
        """The validation losses, to which a plateau looks."""
        return [epoch.validation_loss for epoch in self.epochs if epoch.validation_loss is not None]

    @property
    def best_epoch(self) -> int:
        """0 before the first."""
        return max((epoch.number for epoch in self.epochs if epoch.best), default=0)

    def start(self, train_step: TrainStep) -> None:
        """Gives the train_step the restored state, if there is one."""
        self._learner = train_step
        if self._copy is not None:
            train_step.restore(self._copy)
        else:
            self._copy = _copied(train_step.state())

    def is_best(self, number: int, loss: float | None, accuracy: float | None) -> bool:
        """Whether epoch `number` with this validation is better than all before; without validation every one is."""
        if accuracy is None or loss is None or not self.best_epoch:
            return True
        best = self.epochs[self.best_epoch - 1]
        return (accuracy, -loss) > (best.validation_accuracy or 0.0, -(best.validation_loss or 0.0))

    def add(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)
        if epoch.best and epoch.validation_accuracy is not None and self._learner is not None:
            # A copy, since training goes on in place.
            self.best_weights = _copied(self._learner.kept.state_dict())

    def state(self) -> dict[str, Any]:
        """In plain containers and tensors on the CPU, which nothing changes any more."""
        if self._learner is not None:
            self._copy, self._copied = _copied(self._learner.state()), len(self.epochs)
        epochs = [asdict(epoch) for epoch in self.epochs]
        return {"epochs": epochs, "best_weights": self.best_weights, "train_step": self._copy}

    def restore(self, state: dict[str, Any]) -> None:
        """Before training starts."""
        for epoch in state["epochs"]:
            values = {field.name: epoch[field.name] for field in fields(Epoch)}
            self.epochs.append(Epoch(**values | {"steps": [Errors(**record) for record in epoch["steps"]]}))
        self.best_weights, self._copy, self._copied = state["best_weights"], state["train_step"], len(self.epochs)

    def cause(self, rerun: Callable[["Watch"], object], lr: float) -> str:
        """At which batch the present epoch's loss was lost, and what to do.

        Watching every batch would take a transfer from the device for each. The epoch is run again instead, to the same
        bits, where the state before it is known. `rerun`: trains it with the watch given.
        """
        advice = "reduce train.optimizer.lr or set train.clip_gradient"
        if self._learner is not None and self._copy is not None and self._copied == len(self.epochs):
            self._learner.restore(self._copy)
            try:
                rerun(Watch(self._learner))
            except Lost as lost:
                return f", {lost}: {advice}"
        return f": {advice} (the rate is {lr:g} now)"


class Lost(Exception):
    """The loss of a batch is not finite. Its text says which, at what learning rate and gradient norm."""


class Watch:
    """Looks at every batch after it was learned. Raises `Lost`."""

    def __init__(self, train_step: TrainStep) -> None:
        self.train_step = train_step
        self.norm: float | None = None  # of the batch before

    def __call__(self, step: int, loss: Tensor, lr: float) -> None:
        gradients = [weight.grad for weight in self.train_step.classifier.parameters() if weight.grad is not None]
        norm = get_total_norm(gradients).item()
        if not torch.isfinite(loss):
            before = "" if self.norm is None else f", {self.norm:.3g} in the batch before"
            raise Lost(f"batch {step}, at a learning rate of {lr:g} and a gradient norm of {norm:.3g}{before}")
        self.norm = norm


def _copied(value: Any) -> Any:
    """Nested containers with their tensors copied to the CPU, in the same layout."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(entry) for entry in value)
    return value
