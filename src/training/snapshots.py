"""Snapshots of the kernels of the first two convolutions, from epoch to epoch, kept to be drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from src.core.files import write_arrays

# What a picture can show; of long trainings the epochs kept are evenly spaced, the first and the last among them.
EPOCHS = 12
FILTERS = 64


class Snapshots:
    """Keep the kernels as they are before training, and as they are at every call of `take`."""

    def __init__(self, network: nn.Module) -> None:
        convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
        self._layers = dict(zip(("first", "second"), convolutions, strict=False))
        self._taken: list[tuple[int, dict[str, NDArray[np.float32]]]] = []
        self.take(0)

    def take(self, epoch: int) -> None:
        """Copy the kernels after this epoch; 0 is before training."""
        kernels = {
            name: layer.weight.detach()[:FILTERS].cpu().contiguous().numpy().copy()
            for name, layer in self._layers.items()
        }
        self._taken.append((epoch, kernels))

    def state(self) -> list[Any]:
        """Return what was taken so far, as tensors."""
        return [
            [epoch, {name: torch.from_numpy(kernel) for name, kernel in kernels.items()}]
            for epoch, kernels in self._taken
        ]

    def restore(self, state: list[Any]) -> None:
        """Take over what `state` returned in another process."""
        self._taken = [(epoch, {name: kernel.numpy() for name, kernel in kernels.items()}) for epoch, kernels in state]

    def save(self, path: Path) -> None:
        """Write int64 `epochs` (S,), and float32 `first` and `second` (S, O, I, h, w), as far as there are two."""
        count = min(EPOCHS, len(self._taken))
        chosen = [self._taken[number] for number in np.linspace(0, len(self._taken) - 1, count).round().astype(int)]
        arrays: dict[str, NDArray[Any]] = {"epochs": np.array([epoch for epoch, _ in chosen])}
        for name in self._layers:
            arrays[name] = np.stack([kernels[name] for _, kernels in chosen])
        write_arrays(path, **arrays)
