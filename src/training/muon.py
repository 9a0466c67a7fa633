"""Muon for the hidden layers, AdamW or SGD for everything else, as one optimiser."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Muon, Optimizer


class _MuonAnd(Optimizer):
    """Optimise hidden weights by Muon (Jordan et al., 2024), all others by another optimiser.

    Muon makes the matrix of the momentum orthogonal, so that all directions learn equally fast. hidden: weights of
    layers, (O, I) or (O, I, h, w); a convolution is the matrix (O, I·h·w), which torch's Muon, that only knows
    matrices, updates through a view. compiled: by torch.compile, which makes few kernels of Muon's many. settings: of
    torch's Muon.
    """

    def __init__(
        self, hidden: Sequence[Tensor], others: Optimizer, lr: float, *, compiled: bool = False, **settings: Any
    ) -> None:
        # The axes of each weight in the order in which they lie in memory: only so a matrix can be a view of them.
        self.weights = [
            (weight, tuple(range(weight.ndim)) if weight.is_contiguous() else (0, 2, 3, 1)) for weight in hidden
        ]
        views = (weight.detach().permute(axes).view(len(weight), -1) for weight, axes in self.weights)
        self.matrices = [nn.Parameter(view) for view in views]
        # A tensor that changes: for another number a compiled step would be compiled again.
        rate = torch.tensor(lr, dtype=torch.float64)
        muon = Muon(self.matrices, rate, **settings)  # type: ignore[arg-type]
        self.parts: tuple[Optimizer, Optimizer] = (muon, others)
        options: dict[str, Any] = {"deterministic": torch.are_deterministic_algorithms_enabled()}
        self.learn = torch.compile(self._learn, options=options) if compiled else self._learn
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        """Return Muon's group with the weights in place of the matrices, and the others' groups themselves.

        A gradient scaler unscales the gradients that it finds here, and skips the step where one is not finite: they
        must be those of the weights, since the matrices have theirs only during a step.
        """
        muon, others = self.parts
        (group,) = muon.param_groups
        weights = [weight for weight, _ in self.weights]
        return [group | {"params": weights, "lr": float(group["lr"])}, *others.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        muon, others = self.parts
        muon.param_groups[0]["lr"].fill_(self.param_groups[0]["lr"])  # its own group is another one: see _groups
        for matrix, (weight, axes) in zip(self.matrices, self.weights, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.permute(axes).flatten(1)
        self.learn()
        others.step()
        for matrix in self.matrices:
            matrix.grad = None  # else the gradient's memory would not be free for the next one
        return loss

    def _learn(self) -> None:
        self.parts[0].step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()


class MuonAndAdamW(_MuonAnd):
    """Optimise hidden weights by Muon, all others by AdamW: biases, norms, and the last layer, as its authors advise.

    One learning rate and weight decay serve both: Muon's steps are scaled to the size that AdamW's have (Liu et al.,
    2025, arXiv 2502.16982). others: groups of AdamW.
    """

    def __init__(
        self,
        hidden: Sequence[Tensor],
        others: Sequence[dict[str, Any]],
        lr: float,
        weight_decay: float,
        momentum: float,
        *,
        compiled: bool = False,
    ) -> None:
        adamw = AdamW(others, lr, weight_decay=weight_decay, fused=True)
        settings: dict[str, Any] = {"weight_decay": weight_decay, "momentum": momentum}
        super().__init__(hidden, adamw, lr, compiled=compiled, adjust_lr_fn="match_rms_adamw", **settings)


class MuonAndSgd(_MuonAnd):
    """Optimise hidden weights by Muon, all others by SGD with rates of its own, as airbench does (K. Jordan, 2024).

    Before each step every hidden weight is brought to the norm of an orthogonal matrix, √O. others: groups of SGD, each
    with its `peak`; its rate falls from there as Muon's does, and is 0 as soon as Muon's has fallen by the group's
    `share` of its peak.
    """

    def __init__(
        self,
        hidden: Sequence[Tensor],
        others: Sequence[dict[str, Any]],
        lr: float,
        momentum: float,
        iterations: int,
        sgd_momentum: float,
        *,
        compiled: bool = False,
    ) -> None:
        self.peak = lr
        sgd = SGD(others, lr, sgd_momentum, nesterov=True, fused=True)
        settings: dict[str, Any] = {"weight_decay": 0.0, "momentum": momentum, "ns_steps": iterations}
        super().__init__(hidden, sgd, lr, compiled=compiled, **settings)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        fallen = 1 - self.param_groups[0]["lr"] / self.peak
        for group in self.parts[1].param_groups:
            group["lr"] = group["peak"] * max(0.0, 1 - fallen / group["share"])
        return super().step(closure)

    @torch.no_grad()
    def _learn(self) -> None:
        for matrix in self.matrices:
            matrix.mul_(len(matrix) ** 0.5 / matrix.norm())
        super()._learn()
