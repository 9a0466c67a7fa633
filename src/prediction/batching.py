"""Photos of many requests in one forward pass: while a batch is computed, the next one gathers."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from src.prediction.photos import Pixels


class Busy(Exception):
    """Say, in one sentence, that the server already handles as much as it may."""


class Room:
    """Bound the requests in work at a time. For one thread: that of the event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Take a place for the length of the block. Raise `Busy` where none is free."""
        if self.taken >= self.most:
            raise Busy(f"the server handles {self.taken} requests already, its limit: try again in a moment")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Batcher:
    """Compute class probabilities in one thread, a batch at a time, until `close`.

    A batch is what waits when the one before it ends, at most `size` photos. While `requests` says that others are in
    work too, whose photos are still decoded, it waits `wait` seconds for them; a single request never waits.
    """

    def __init__(
        self,
        compute: Callable[[NDArray[np.uint8]], NDArray[np.float32]],  # (N, H, W, C) → (N, K)
        size: int,
        wait: float,
        requests: Room,
        observe: Callable[[float], None],  # told the number of photos of every batch
    ) -> None:
        self._compute = compute
        self._size = size
        self._wait = wait
        self._requests = requests
        self._observe = observe
        self._queue: queue.SimpleQueue[tuple[Pixels, Future[NDArray[np.float32]]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    def submit(self, pixels: Pixels) -> "Future[NDArray[np.float32]]":
        """Return the coming probabilities (K,) of one photo (H, W, C), or what its batch raised."""
        future: Future[NDArray[np.float32]] = Future()
        self._queue.put((pixels, future))
        return future

    def close(self) -> None:
        """End the thread, after the photos that wait."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            until = time.monotonic() + (self._wait if self._requests.taken > 1 else 0)
            while len(batch) < self._size:
                try:
                    following = self._queue.get(timeout=max(0, until - time.monotonic()))
                except queue.Empty:
                    break
                if following is None:
                    self._queue.put(None)  # the end comes after this batch
                    break
                batch.append(following)
            self._observe(len(batch))
            # Who has gone meanwhile is not computed for.
            waiting = [(pixels, future) for pixels, future in batch if future.set_running_or_notify_cancel()]
            try:
                rows = self._compute(np.stack([pixels for pixels, _ in waiting])) if waiting else ()
            except Exception as error:  # whoever waits is told, and the thread goes on
                for _, future in waiting:
                    future.set_exception(error)
            else:
                for (_, future), row in zip(waiting, rows, strict=True):
                    future.set_result(row)
