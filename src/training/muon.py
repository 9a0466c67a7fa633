"""Muon for the hidden layers and another optimiser for everything else, as one optimiser."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Muon, Optimizer
from torch.optim._muon import muon

from src.compute import compiler


class MuonAnd(Optimizer):
    """Optimise hidden weights by Muon (Jordan et al., 2024), all other weights by `others`.

    Muon makes the matrix of the momentum orthogonal, so that all directions learn equally fast. hidden: weights of
    layers, (O, I) or (O, I, h, w). torch's Muon knows only matrices, so that of a convolution is given as (O, I·h·w).
    norm_first: before each step, bring every hidden weight to the norm of an orthogonal matrix, √O, as airbench does.
    compiled: by torch.compile, which makes few kernels of Muon's many. settings: of torch's Muon.
    """

    def __init__(
        self,
        hidden: Sequence[Tensor],
        others: Optimizer,
        lr: float,
        weight_decay: float,
        *,
        norm_first: bool = False,
        compiled: bool = False,
        **settings: Any,
    ) -> None:
        # The axes of each weight in the order in which they lie in memory: only so can a matrix be a view of them.
        axes = [tuple(range(weight.ndim)) if weight.is_contiguous() else (0, 2, 3, 1) for weight in hidden]
        self.weights = list(zip(hidden, axes, strict=True))
        self.matrices = [weight.detach().permute(order).view(len(weight), -1) for weight, order in self.weights]
        self.momenta = [torch.zeros_like(matrix) for matrix in self.matrices]
        self.others = others
        # Its learning rate is 1, since it reads it on the host, where a recorded step has its own on the device.
        self.settings = Muon([torch.zeros(1, 1)], 1.0, weight_decay=0.0, **settings).defaults | {"has_complex": False}
        self.norm_first = norm_first
        self.learn = compiler.compiled(_learn) if compiled else _learn
        self.hidden: dict[str, Any] = {"params": list(hidden), "lr": lr, "weight_decay": weight_decay}
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        """Return a group of the hidden weights, and the others' groups themselves.

        A gradient scaler unscales the gradients of these weights, and skips the step where one is not finite.
        """
        return [self.hidden, *self.others.param_groups]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        learned = [
            (matrix, weight.grad.permute(axes).flatten(1), momentum)
            for (weight, axes), matrix, momentum in zip(self.weights, self.matrices, self.momenta, strict=True)
            if weight.grad is not None
        ]
        # Always a tensor: for each new number a compiled step would be compiled again.
        rate = self.hidden["lr"]
        if not isinstance(rate, Tensor):
            rate = torch.full((), rate, dtype=torch.float64, device=self.momenta[0].device)
        kept = 1 - rate * self.hidden["weight_decay"]
        self.learn(learned, rate, kept, self.norm_first, self.settings)
        self.others.step()

    def state_dict(self) -> dict[str, Any]:
        return {"momenta": self.momenta, "others": self.others.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch._foreach_copy_(self.momenta, state_dict["momenta"])
        self.others.load_state_dict(state_dict["others"])
        self.param_groups = self._groups()


def _learn(
    learned: list[tuple[Tensor, Tensor, Tensor]], rate: Tensor, kept: Tensor, norm_first: bool, settings: dict[str, Any]
) -> None:
    """Take a step of Muon in place. learned: matrices, gradients, momenta. kept: what weight decay leaves of a weight.

    A function of its arguments alone, so that what is compiled for one training serves the next ones of the process.
    """
    for matrix, gradient, momentum in learned:
        if norm_first:
            matrix.mul_(len(matrix) ** 0.5 / matrix.norm())
        update = torch.zeros_like(matrix)
        muon([update], [gradient], [momentum], **settings)
        matrix.mul_(kept).add_(update * rate)
