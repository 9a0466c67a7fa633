"""Numbered checkpoints of a training, in a folder of its own for each key: each is whole, or is not there.

DVC deletes a stage's outputs before it runs the stage, so they lie in `.cache/state`, which is none.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from src.core.files import replacing, write_text
from src.core.paths import LOCK, states

_KEPT = 2  # the newest, and the one before in case a power failure damages it
_CHECKSUM = 32  # bytes, SHA-256, at the start of a file
_FINISHED = "finished"  # holds the md5 of the model that came out, and the session of the training
_FORGOTTEN = 30 * 24 * 3600  # seconds after which nobody goes on with what was left


class Checkpoints:
    """Those of one key. Reading and writing is for the one process that is inside `alone`."""

    def __init__(self, key: str) -> None:
        self.folder = states() / key

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Waits, and says so, while another process trains with the same key; then what that one left is found.

        Where DVC has recorded the model already, nothing is found: being trained again is wanted.
        """
        from filelock import FileLock, Timeout

        holder = self.folder.with_suffix(".lock")
        holder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(holder)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            process = holder.read_text(encoding="utf-8")
            print(f"the same training runs in process {process}: waiting for its end", file=sys.stderr, flush=True)
            lock.acquire()
        try:
            holder.write_text(str(os.getpid()), encoding="utf-8")  # to be told; the lock itself is the kernel's
            _forget()
            discard_recorded()
            yield
        finally:
            lock.release()

    def write(self, number: int, content: bytes | memoryview) -> None:
        """Keeps a checkpoint; all but the newest one before it are then removed. Raises `OSError`."""
        before = sorted(self.folder.glob("epoch-*"))
        with replacing(self.folder / f"epoch-{number:06d}") as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        kept = sorted(self.folder.glob("epoch-*"))[-_KEPT:]
        for path in before:
            if path not in kept:
                path.unlink()

    def newest(self) -> bytes | None:
        """The newest whole one. Damaged ones, of which a power failure leaves at most one, are removed."""
        for path in sorted(self.folder.glob("epoch-*"), reverse=True):
            content = path.read_bytes()
            if content[:_CHECKSUM] == hashlib.sha256(memoryview(content)[_CHECKSUM:]).digest():
                return content[_CHECKSUM:]
            path.unlink()
        return None

    def finish(self, model_md5: str, session: str) -> None:
        """Note that the training is done. Its last checkpoint stays until DVC has recorded the model
        (`discard_recorded`): if it is killed before, nothing has to be trained again."""
        write_text(self.folder / _FINISHED, f"{model_md5} {session}")


def finished_session(model_md5: str) -> str | None:
    """Return the session of the training that gave this model, until that is discarded."""
    for file in states().glob(f"*/{_FINISHED}"):
        md5, session = file.read_text(encoding="utf-8").split()
        if md5 == model_md5:
            return session
    return None


def discard_recorded() -> None:
    """Remove what finished trainings left whose model is in `dvc.lock`, as it is when a later stage runs."""
    recorded = LOCK.read_text(encoding="utf-8") if LOCK.is_file() else ""
    for file in states().glob(f"*/{_FINISHED}"):
        with suppress(FileNotFoundError):  # another process does the same
            if file.read_text(encoding="utf-8").split()[0] in recorded:
                shutil.rmtree(file.parent)


def _forget() -> None:
    """Removes the checkpoints, of whatever key, that nobody went on with in a month."""
    for folder in states().glob("*/"):
        if time.time() - folder.stat().st_mtime > _FORGOTTEN:
            shutil.rmtree(folder)
