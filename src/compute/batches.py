"""Batches of stored images on the device, in any order."""

from collections.abc import Iterator

import numpy as np
import psutil
import torch
from torch import Tensor

from src.core.pool import map_ahead
from src.data.prepared import LabelledImages, Shards

RESIDENT_SHARE = 0.5  # of the device's free memory; the rest is for the network's activations and optimiser
READERS, AHEAD = 2, 4  # threads that read, and batches that are read ahead


class Batches:
    """Hand out images (N, H, W, C) uint8 and labels (N,) int64 in batches on `device`.

    Images are resident if they fit into `RESIDENT_SHARE` of the device's free memory: a GPU gets a copy of them once; a
    CPU reads the memory-mapped files, which the operating system keeps in memory. Otherwise threads read batches ahead
    from the files, for a GPU into pinned memory, so that the network does not wait for the disk. Both give the same
    batches.
    """

    def __init__(self, data: LabelledImages, device: torch.device, resident: bool | None = None) -> None:
        self.device = device
        self.labels = torch.from_numpy(np.array(data.labels))
        self.images = data.images
        self.shards = [len(shard) for shard in data.images.arrays] if isinstance(data.images, Shards) else [len(self)]
        if resident is None:
            free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
            resident = data.images.nbytes <= RESIDENT_SHARE * free
        self.resident = resident
        self.on_device: Tensor | None = None
        if device.type != "cpu":
            self.labels = self.labels.to(device)
            if self.resident:
                self.on_device = torch.from_numpy(np.array(data.images[:])).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return height, width and channels."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def take(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels in the given order, int64 indices (M,) on the CPU; the last batch may be smaller."""
        there = order.to(self.device)
        labels = torch.split(self.labels[there], batch_size)
        if self.on_device is not None:
            yield from zip((self.on_device[part] for part in torch.split(there, batch_size)), labels, strict=True)
            return

        def read(indices: Tensor) -> Tensor:
            images = torch.from_numpy(self.images[indices.numpy()])
            return images.pin_memory() if self.device.type == "cuda" else images

        batches = torch.split(order, batch_size)
        if self.resident:
            yield from zip(map(read, batches), labels, strict=True)
            return
        for images, part in zip(map_ahead(read, batches, READERS, AHEAD), labels, strict=True):
            yield images.to(self.device, non_blocking=True), part
