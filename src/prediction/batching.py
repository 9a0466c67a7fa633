"""Compute photos of many requests in one forward pass: while it runs, the next batch gathers."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from src.prediction.photos import Pixels


class Batcher:
    """Compute class probabilities in one thread. A batch has all photos that wait when the last one ends.

    compute: turns images (N, H, W, C) into probabilities (N, K). size: most photos of a batch. batches: counts them by
    their number of photos. All methods must be called in the same event loop.
    """

    def __init__(
        self, compute: Callable[[NDArray[np.uint8]], NDArray[np.float32]], size: int, batches: Counter[int]
    ) -> None:
        self._compute, self._size, self._batches = compute, size, batches
        self._waiting: list[tuple[Pixels, asyncio.Future[NDArray[np.float32]]]] = []
        self._thread = ThreadPoolExecutor(1, "compute")
        self._work: asyncio.Task[None] | None = None

    async def probabilities(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return the probabilities (K,) of one photo (H, W, C). Raises what `compute` raised for its batch."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[NDArray[np.float32]] = loop.create_future()
        self._waiting.append((pixels, future))
        if self._work is None or self._work.done():
            self._work = loop.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._waiting[: self._size]
            del self._waiting[: self._size]
            batch = [(pixels, future) for pixels, future in batch if not future.done()]  # some clients have gone
            if not batch:
                continue
            self._batches[len(batch)] += 1
            images = np.stack([pixels for pixels, _ in batch])
            try:
                rows = await loop.run_in_executor(self._thread, self._compute, images)
            except Exception as error:  # it goes to the requests of this batch alone
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), row in zip(batch, rows, strict=True):
                    if not future.done():
                        future.set_result(row)
