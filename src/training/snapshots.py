"""Snapshots of the kernels of the first two convolutions, from epoch to epoch, kept to be drawn."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from src.core.files import write_arrays

# A picture shows no more. Of long trainings the epochs kept are evenly spaced, the first and the last among them.
EPOCHS = 12
FILTERS = 64


class Snapshots:
    """Keep the kernels as they are before training, and as they are at every call of `take`."""

    def __init__(self, network: nn.Module) -> None:
        convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
        self._layers = dict(zip(("first", "second"), convolutions, strict=False))
        self.taken: list[tuple[int, dict[str, Tensor]]] = []  # epoch, and kernels (O, I, h, w) on the CPU
        self.take(0)

    def take(self, epoch: int) -> None:
        """Copy the kernels after this epoch; 0 is before training."""
        kernels = {
            name: layer.weight.detach()[:FILTERS].to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, layer in self._layers.items()
        }
        self.taken.append((epoch, kernels))

    def save(self, path: Path) -> None:
        """Write int64 `epochs` (S,), and float32 `first` and `second` (S, O, I, h, w), as far as there are two."""
        count = min(EPOCHS, len(self.taken))
        chosen = [self.taken[number] for number in np.linspace(0, len(self.taken) - 1, count).round().astype(int)]
        arrays = {name: torch.stack([kernels[name] for _, kernels in chosen]).numpy() for name in self._layers}
        write_arrays(path, epochs=np.array([epoch for epoch, _ in chosen]), **arrays)
