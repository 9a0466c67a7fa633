"""Muon for the hidden layers, AdamW or SGD for everything else, as one optimiser."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Muon, Optimizer


class _MuonAnd(Optimizer):
    """Optimise hidden weights by Muon (Jordan et al., 2024), all others by another optimiser.

    Muon makes the matrix of the momentum orthogonal, so that all directions learn equally fast. hidden: weights of
    layers, (O, I) or (O, I, h, w); a convolution is the matrix (O, I·h·w), and torch's Muon only knows matrices. It
    moves matrices of its own, from 0 and at a rate of 1, and what they become is added to the weights: it reads rates
    on the host, and a recorded step has them on the device. compiled: by torch.compile, which makes few kernels of
    Muon's many. settings: of torch's Muon.
    """

    def __init__(
        self,
        hidden: Sequence[Tensor],
        others: Optimizer,
        lr: float,
        weight_decay: float,
        *,
        compiled: bool = False,
        **settings: Any,
    ) -> None:
        # The axes of each weight in the order in which they lie in memory: only so a matrix can be a view of them.
        axes = [tuple(range(weight.ndim)) if weight.is_contiguous() else (0, 2, 3, 1) for weight in hidden]
        self.weights = list(zip(hidden, axes, strict=True))
        self.matrices = [weight.detach().permute(order).view(len(weight), -1) for weight, order in self.weights]
        self.updates = [nn.Parameter(torch.zeros_like(matrix)) for matrix in self.matrices]
        self.parts: tuple[Optimizer, Optimizer] = (Muon(self.updates, 1.0, weight_decay=0.0, **settings), others)
        options: dict[str, Any] = {"deterministic": torch.are_deterministic_algorithms_enabled()}
        self.learn = torch.compile(self._learn, options=options) if compiled else self._learn
        self.hidden: dict[str, Any] = {"params": list(hidden), "lr": lr, "weight_decay": weight_decay}
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        """Return a group of the hidden weights, and the others' groups themselves.

        A gradient scaler unscales the gradients that it finds here, and skips the step where one is not finite: they
        must be those of the weights, since Muon's own matrices have theirs only during a step.
        """
        return [self.hidden, *self.parts[1].param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for update, (weight, axes) in zip(self.updates, self.weights, strict=True):
            update.grad = None if weight.grad is None else weight.grad.permute(axes).flatten(1)
        # Always a tensor: for another number a compiled step would be compiled again.
        rate = self.param_groups[0]["lr"]
        if not isinstance(rate, Tensor):
            rate = torch.full((), rate, dtype=torch.float64, device=self.matrices[0].device)
        self.learn(rate)
        self.parts[1].step()
        for update in self.updates:
            update.grad = None  # else the gradient's memory would not be free for the next one
        return loss

    @torch.no_grad()
    def _learn(self, rate: Tensor) -> None:
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
        adamw = AdamW(others, lr, weight_decay=weight_decay, fused=True, capturable=hidden[0].is_cuda)
        settings: dict[str, Any] = {"momentum": momentum, "adjust_lr_fn": "match_rms_adamw"}
        super().__init__(hidden, adamw, lr, weight_decay, compiled=compiled, **settings)


class MuonAndSgd(_MuonAnd):
    """Optimise hidden weights by Muon, all others by SGD with rates of its own, as airbench does (K. Jordan, 2024).

    Before each step every hidden weight is brought to the norm of an orthogonal matrix, √O. others: groups of SGD, with
    rates as `src.training.optimizers.set_rates` gives them.
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
        sgd = SGD(others, lr, sgd_momentum, nesterov=True, fused=True)
        super().__init__(hidden, sgd, lr, 0.0, compiled=compiled, momentum=momentum, ns_steps=iterations)
        self.defaults["peak"] = lr

    @torch.no_grad()
    def _learn(self, rate: Tensor) -> None:
        for matrix in self.matrices:
            matrix.mul_(len(matrix) ** 0.5 / matrix.norm())
        super()._learn(rate)
