"""Muon for the hidden layers and another optimiser for everything else, as one optimiser."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Muon, Optimizer


class MuonAnd(Optimizer):
    """Optimise hidden weights by Muon (Jordan et al., 2024), all other weights by `others`.

    Muon makes the matrix of the momentum orthogonal, so that all directions learn equally fast. hidden: weights of
    layers, (O, I) or (O, I, h, w). torch's Muon knows only matrices, so that of a convolution is given as (O, I·h·w).
    torch's Muon also reads the learning rate on the host, where a recorded step has it on the device: it therefore
    computes with a rate of 1, on matrices that are 0, and this class adds what they become to the weights.
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
        self.updates = [nn.Parameter(torch.zeros_like(matrix)) for matrix in self.matrices]
        self.parts: tuple[Optimizer, Optimizer] = (Muon(self.updates, 1.0, weight_decay=0.0, **settings), others)
        self.norm_first = norm_first
        options: dict[str, Any] = {"deterministic": torch.are_deterministic_algorithms_enabled()}
        # Not a method of this object: a cycle would keep the weights in memory until Python looks for such.
        self.learn = torch.compile(MuonAnd._learn, options=options) if compiled else MuonAnd._learn
        self.hidden: dict[str, Any] = {"params": list(hidden), "lr": lr, "weight_decay": weight_decay}
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        """Return a group of the hidden weights, and the others' groups themselves.

        A gradient scaler unscales the gradients of these weights, and skips the step where one is not finite. Muon's
        own matrices would not do: they have gradients only during a step.
        """
        return [self.hidden, *self.parts[1].param_groups]

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for update, (weight, axes) in zip(self.updates, self.weights, strict=True):
            update.grad = None if weight.grad is None else weight.grad.permute(axes).flatten(1)
        # Always a tensor: for each new number a compiled step would be compiled again.
        rate = self.param_groups[0]["lr"]
        if not isinstance(rate, Tensor):
            rate = torch.full((), rate, dtype=torch.float64, device=self.matrices[0].device)
        self.learn(self, rate)
        self.parts[1].step()
        for update in self.updates:
            update.grad = None  # else the gradient's memory would not be free for the next one

    @torch.no_grad()
    def _learn(self, rate: Tensor) -> None:
        if self.norm_first:
            for matrix in self.matrices:
                matrix.mul_(len(matrix) ** 0.5 / matrix.norm())
        for update in self.updates:
            update.zero_()
        self.parts[0].step()
        for matrix, update in zip(self.matrices, self.updates, strict=True):
            matrix.mul_(1 - rate * self.hidden["weight_decay"]).add_(update * rate)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()
