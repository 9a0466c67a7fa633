"""A training that can be killed at any moment: started again, it goes on after its last finished epoch."""

import io
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from src.compute import distributed
from src.core.errors import UserError
from src.core.paths import shown
from src.training.checkpoints import Checkpoints
from src.training.progress import Progress
from src.training.results import Epoch
from src.training.snapshots import Snapshots


class Resumable:
    """Restores `progress` and `snapshots` as a killed training with the same key left them, then keeps them on disk.

    key: digest of everything on which the result depends; session: a name for the training, by which its run is found.
    """

    def __init__(self, key: str, progress: Progress, snapshots: Snapshots) -> None:
        self.session = uuid.uuid4().hex
        self._checkpoints = Checkpoints(key)
        self._progress, self._snapshots = progress, snapshots
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._written: Future[None] | None = None
        self._kept = 0  # the epoch of the newest state on disk
        self._warned = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process trains with this key in the block. A `UserError` says what is kept."""
        with self._checkpoints.alone(), self._writer:
            self._restore(distributed.broadcast(self._checkpoints.newest()))
            if self._progress.epochs:
                print(
                    f"going on after epoch {len(self._progress.epochs)}, the last that an interrupted training finished"
                )
            try:
                yield
            except UserError as fault:
                if self._kept:
                    kept = f"{shown(self._checkpoints.folder)} keeps the state after epoch {self._kept}"
                    raise UserError(f"{fault}; {kept}") from None
                raise

    def beside(self) -> None:
        """Of several processes that train together, in all but the first: restores what that one, in `alone`, does."""
        self._restore(distributed.broadcast(None))

    def follow(self, epochs: Iterator[Epoch], log: Callable[[Epoch], None]) -> None:
        """Trains to the end. Of every epoch first the state is written, then `log` called, while the next one runs.

        `log` is called again for the epochs before a kill, which may have come between the two.
        """
        for epoch in self._progress.epochs:
            log(epoch)
        try:
            for epoch in epochs:
                self._snapshots.take(epoch.number)
                self._wait()  # the disk may be slower than the epochs
                self._written = self._writer.submit(self._write, self._state(), epoch, log)
        finally:
            self._wait()

    def finish(self, model_md5: str) -> None:
        self._checkpoints.finish(model_md5, self.session)

    def _state(self) -> dict[str, Any]:
        snapshots = self._snapshots.state()
        return {"session": self.session, "progress": self._progress.state(), "snapshots": snapshots}

    def _restore(self, content: bytes | None) -> None:
        if content is None:
            return
        state = torch.load(io.BytesIO(content), weights_only=True)
        self.session = state["session"]
        self._progress.restore(state["progress"])
        self._snapshots.restore(state["snapshots"])
        self._kept = len(self._progress.epochs)

    def _write(self, state: dict[str, Any], epoch: Epoch, log: Callable[[Epoch], None]) -> None:
        content = io.BytesIO()
        torch.save(state, content)
        try:
            self._checkpoints.write(epoch.number, content.getbuffer())
            self._kept = epoch.number
        except OSError as error:  # training itself needs no disk before its end
            if not self._warned:
                why = error.strerror or error
                folder = shown(self._checkpoints.folder)
                print(f"warning: {folder}: {why}: a killed training starts again", file=sys.stderr, flush=True)
            self._warned = True
        log(epoch)
        tqdm.write(str(epoch))

    def _wait(self) -> None:
        if self._written is not None:
            self._written.result()
