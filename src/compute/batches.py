"""Batches of stored images on the device, in any order."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.data.prepared import LabelledImages

# Of the device's free memory; the rest is for the network's activations and optimiser.
RESIDENT_SHARE = 0.5


class Batches:
    """Images (N, H, W, C) uint8 and labels (N,) int64 that are handed out in batches on `device`.

    They move to the device once where they fit into `RESIDENT_SHARE` of its free memory. On a CPU, and where they do
    not fit, every batch is gathered from the memory map, so that memory does not grow with the data set.
    """

    def __init__(self, data: LabelledImages, device: torch.device) -> None:
        self.images: NDArray[np.uint8] | Tensor = data.images
        self.labels = torch.from_numpy(np.array(data.labels))
        self.device = device
        if device.type == "cuda" and data.images.nbytes < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            self.images = torch.from_numpy(np.array(data.images)).to(device)
            self.labels = self.labels.to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels in the given order, an int64 tensor (M,) of indices on the CPU; the last batch may be
        smaller."""
        if isinstance(self.images, Tensor):
            for indices in torch.split(order.to(self.device), batch_size):
                yield self.images[indices], self.labels[indices]
        else:
            for indices in torch.split(order, batch_size):
                images = torch.from_numpy(self.images[indices.numpy()])
                yield images.to(self.device), self.labels[indices].to(self.device)
