"""What processes have to tell the tracking store: letters in `.cache/outbox`, each there until the store has all of it.

A letter is a folder: `entries.jsonl`, in the order in which things happened, copies of the files that entries name, and
`sent.json`, how many entries the store has. `src.tracking.delivery` sends them.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from src.core.files import write_text
from src.core.paths import outbox

Entry = Mapping[str, Any]


@dataclass
class Sent:
    """How far a letter got, and what later entries refer to."""

    entries: int = 0
    run_id: str = ""
    model_id: str = ""  # of the logged model, at which metrics are shown too
    created: bool = False  # the run is ours, not one that was attached to


class Letter:
    """Held by one process at a time: the lock on its entries is the kernel's, and ends with the process."""

    def __init__(self, folder: Path, wait: bool) -> None:
        """With `wait`, opens or begins a letter; else opens an existing one, and raises `BlockingIOError` where another
        process holds it, `FileNotFoundError` where it was sent meanwhile."""
        self.folder = folder
        self.closed = False
        self._file = self._held(wait)
        self.entries = self._read()
        self.sent = self._how_far()

    def _held(self, wait: bool) -> BinaryIO:
        path = self.folder / "entries.jsonl"
        while True:
            if wait:
                self.folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b" if wait else "r+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Whoever held it before us may have sent and removed it.
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
            except FileNotFoundError:
                if not wait:
                    raise
            except BlockingIOError:
                file.close()
                raise
            file.close()

    def _read(self) -> list[Entry]:
        """The entries; what a power failure left of the last one is cut off."""
        self._file.seek(0)
        entries: list[Entry] = []
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            entries.append(json.loads(line))
            whole += len(line)
        self._file.truncate(whole)
        return entries

    def _how_far(self) -> Sent:
        """After a power failure perhaps less than was sent, never more: what the store has already it is asked for."""
        try:
            sent = Sent(**json.loads((self.folder / "sent.json").read_bytes()))
        except (FileNotFoundError, ValueError):  # nothing is sent yet, or the file was cut off
            return Sent()
        sent.entries = min(sent.entries, len(self.entries))
        return sent

    def add(self, what: str, **entry: Any) -> None:
        """Writes an entry down, whatever becomes of this process. Raises `OSError`."""
        entry = {"what": what, "time": time.time_ns() // 1_000_000} | entry
        self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.entries.append(entry)

    def copy(self, *paths: Path) -> str:
        """Copies files and folders to where entries may name them: the name of a new folder that holds them.

        Permissions are not copied: DVC makes results read-only, MLflow keeps that, and could not replace them later.
        """
        name = str(sum(1 for entry in self.folder.iterdir() if entry.is_dir()))
        (self.folder / name).mkdir()
        for path in paths:
            target = self.folder / name / path.name
            if path.is_dir():
                shutil.copytree(path, target, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(path, target)
        return name

    def advance(self) -> None:
        """The store has the next entry."""
        self.sent.entries += 1
        self.note()

    def note(self) -> None:
        write_text(self.folder / "sent.json", json.dumps(asdict(self.sent)))

    @property
    def unsent(self) -> list[Entry]:
        return list(self.entries[self.sent.entries :])

    @property
    def name(self) -> str:
        return str(self.entries[0]["name"]) if self.entries else self.folder.name

    @property
    def store(self) -> str:
        """The address, without credentials, of the store that it is for."""
        return str(self.entries[0]["store"]) if self.entries else ""

    def missing(self) -> str:
        """What of the run the store does not have, in a few words; "" where it has all."""
        unsent = self.unsent
        epochs = [entry["step"] for entry in unsent if entry["what"] == "epoch"]
        files = sum(1 for entry in unsent if entry["what"] == "artifact")
        parts = ["its beginning"] if self.entries and not self.sent.entries else []
        if epochs:
            parts.append(f"epochs {epochs[0]} to {epochs[-1]}" if len(set(epochs)) > 1 else f"epoch {epochs[0]}")
        parts += ["metrics"] if any(entry["what"] == "metrics" for entry in unsent) else []
        parts += ["the model"] if any(entry["what"] == "model" for entry in unsent) else []
        parts += [f"{files} file{'s' * (files > 1)}"] if files else []
        if unsent and not parts:
            parts = ["how it ended"]
        return ", ".join(parts)

    def close(self) -> None:
        """Lets go of the letter; where all of it is sent, nothing is left of it."""
        self.closed = True
        if not self.unsent:
            shutil.rmtree(self.folder)
        self._file.close()

    def discard(self) -> None:
        self.closed = True
        shutil.rmtree(self.folder)
        self._file.close()


def letter_of(session: str) -> Letter:
    """The letter of a training that goes on, if its end was not sent, else a new one."""
    known = sorted(outbox().glob(f"*-{session}"))
    return Letter(known[-1] if known else outbox() / f"{time.time_ns():020d}-{session}", wait=True)


def waiting() -> Iterator[Letter]:
    """The letters that no living process is writing or sending, oldest first; each is let go of by the next step."""
    for folder in sorted(path for path in outbox().glob("*-*") if path.is_dir()):
        try:
            letter = Letter(folder, wait=False)
        except (BlockingIOError, FileNotFoundError):
            continue
        try:
            yield letter
        finally:
            letter.close()
