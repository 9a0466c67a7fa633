"""Batches of stored images on the device, in any order."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import psutil
import torch
from torch import Tensor

from src.data.prepared import LabelledImages

# Of the device's free memory; the rest is for the network's activations and optimiser.
RESIDENT_SHARE = 0.5
READERS, AHEAD = 2, 4  # threads that read, and batches that are being read or wait


class Batches:
    """Images (N, H, W, C) uint8 and labels (N,) int64 that are handed out in batches on `device`.

    Resident, where they fit into `RESIDENT_SHARE` of its free memory: on a GPU they are copied there once; to a CPU the
    memory map is as near as a copy, and the operating system keeps it in memory. Where they do not fit, threads read
    ahead from the memory map, into pinned memory for a GPU, so that the network does not wait for a disk. Both give the
    same batches. Memory of our own grows in neither case with the data set, but on a GPU that has room for it.
    """

    def __init__(self, data: LabelledImages, device: torch.device, resident: bool | None = None) -> None:
        self.device = device
        self.labels = torch.from_numpy(np.array(data.labels))
        self.images = data.images
        self.resident = data.images.nbytes <= RESIDENT_SHARE * _free(device) if resident is None else resident
        self.on_device: Tensor | None = None
        if device.type != "cpu":
            self.labels = self.labels.to(device)
            if self.resident:
                self.on_device = torch.from_numpy(np.array(data.images)).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def take(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels in the given order, an int64 tensor (M,) of indices on the CPU; the last batch may be
        smaller."""
        labels = self.labels[order.to(self.device)]
        return zip(self._images(order, batch_size), torch.split(labels, batch_size), strict=True)

    def _images(self, order: Tensor, batch_size: int) -> Iterator[Tensor]:
        if self.on_device is not None:
            for indices in torch.split(order.to(self.device), batch_size):
                yield self.on_device[indices]
        elif self.resident:
            for indices in torch.split(order, batch_size):
                yield self._read(indices)
        else:
            for batch in self._read_ahead(torch.split(order, batch_size)):
                yield batch.to(self.device, non_blocking=True)

    def _read(self, indices: Tensor) -> Tensor:
        return torch.from_numpy(self.images[indices.numpy()])

    def _read_ahead(self, batches: tuple[Tensor, ...]) -> Iterator[Tensor]:
        def read(indices: Tensor) -> Tensor:
            images = self._read(indices)
            return images.pin_memory() if self.device.type == "cuda" else images

        waiting: deque[Future[Tensor]] = deque()
        with ThreadPoolExecutor(READERS) as readers:
            for indices in batches:
                waiting.append(readers.submit(read, indices))
                if len(waiting) == AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def _free(device: torch.device) -> int:
    """Bytes of the device's memory that nothing uses."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
