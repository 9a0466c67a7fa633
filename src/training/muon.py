"""Muon for the hidden layers, AdamW for everything else, as one optimiser."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer


class MuonAndAdamW(Optimizer):
    """Optimise hidden weights by Muon (Jordan et al., 2024), all others by AdamW.

    Muon makes the matrix of the momentum orthogonal, so that all directions learn equally fast. hidden: weights of
    layers, (O, I) or (O, I, h, w); a convolution is the matrix (O, I·h·w), which torch's Muon, that only knows
    matrices, updates through a view. others: biases, norms, and the last layer, as its authors advise. One learning
    rate and weight decay serve both: Muon's steps are scaled to the size that AdamW's have (Liu et al., 2025, arXiv
    2502.16982).
    """

    def __init__(
        self,
        hidden: Sequence[Tensor],
        others: Sequence[dict[str, Any]],
        lr: float,
        weight_decay: float,
        momentum: float,
    ) -> None:
        # The axes of each weight in the order in which they lie in memory: only so a matrix can be a view of them.
        self.weights = [
            (weight, tuple(range(weight.ndim)) if weight.is_contiguous() else (0, 2, 3, 1)) for weight in hidden
        ]
        views = (weight.detach().permute(axes).view(len(weight), -1) for weight, axes in self.weights)
        self.matrices = [nn.Parameter(view) for view in views]
        muon = Muon(self.matrices, lr, weight_decay, momentum, adjust_lr_fn="match_rms_adamw")
        self.parts: tuple[Optimizer, ...] = (muon, AdamW(others, lr, weight_decay=weight_decay, fused=True))
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        """Return Muon's group with the weights in place of the matrices, and AdamW's groups themselves.

        A gradient scaler unscales the gradients that it finds here, and skips the step where one is not finite: they
        must be those of the weights, since the matrices have theirs only during a step.
        """
        muon, adamw = self.parts
        (group,) = muon.param_groups
        return [group | {"params": [weight for weight, _ in self.weights]}, *adamw.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.parts[0].param_groups[0]["lr"] = self.param_groups[0]["lr"]  # its own group is another one: see _groups
        for matrix, (weight, axes) in zip(self.matrices, self.weights, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.permute(axes).flatten(1)
        for part in self.parts:
            part.step()
        for matrix in self.matrices:
            matrix.grad = None  # else the gradient's memory would not be free for the next one
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()
