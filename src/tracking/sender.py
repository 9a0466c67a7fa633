"""Sends letters while the program goes on: no trouble of the store stops it, and none makes it wait for long."""

import errno
import sys
import threading
import time

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.paths import outbox, shown
from src.tracking.delivery import Delivery
from src.tracking.outbox import Letter, waiting
from src.tracking.store import Refused, Store, import_client, open_store, tracking_uri

PATIENCE = 30.0  # seconds that a beginning or an end may wait for the store,
_PER_MIB = 1.0  # and for each MiB of files that are to be copied
AGAIN = 15.0  # seconds between two attempts while the program goes on
_KEPT = "kept in {}, sent at the next start or by python -m src.track sync"


class Sender:
    """Sends one letter in a thread of its own, and before it those that earlier processes had to leave.

    Only here anything waits for the store: what the program says goes into the letter, at once.
    """

    def __init__(self, letter: Letter, *modules: str) -> None:
        """modules: of MLflow, which the caller will use beside the thread."""
        import_client(*modules)
        self.letter = letter
        self._change = threading.Condition()
        self._failures = 0
        self._reason: str | None = None  # why the last attempt failed
        self._next = 0.0  # when the next attempt may begin
        self.refused: Refused | None = None  # a value of the beginning: the user must change it
        self._store: Store | None = None
        threading.Thread(target=self._run, name="tracking", daemon=True).start()

    def notify(self) -> None:
        """There are new entries."""
        with self._change:
            self._change.notify_all()

    def settle(self, patience: float | None = None) -> bool:
        """Whether the store has all so far: waits until it does, an attempt fails, or `patience` seconds are over."""
        size = sum(file.stat().st_size for file in self.letter.folder.glob("*/**/*") if file.is_file())
        limit = PATIENCE + _PER_MIB * size / 2**20 if patience is None else patience
        with self._change:
            failures, self._next = self._failures, 0.0
            self._change.notify_all()
            self._change.wait_for(lambda: not self.letter.unsent or self._failures > failures or self.refused, limit)
            if self.letter.unsent and not self.refused and self._failures == failures:
                self._fail(f"MLflow at {self.letter.store} gave no answer in {limit:.0f} s")
            return not self.letter.unsent

    def conclude(self, patience: float | None = None) -> None:
        """Sends what is left, and says what could not be sent."""
        if not self.settle(patience):
            print(
                f"not in MLflow yet: {told(self.letter)} ({self._reason}): {_KEPT.format(shown(outbox()))}",
                file=sys.stderr,
            )
        with self._change:
            self.letter.close()
            self._change.notify_all()

    def _run(self) -> None:
        while True:
            with self._change:
                while not self.letter.closed and not (self.letter.unsent and time.monotonic() >= self._next):
                    self._change.wait(max(self._next - time.monotonic(), 0) if self.letter.unsent else None)
                if self.letter.closed:
                    return
            try:
                if self._store is None:
                    store = open_store()
                    deliver_waiting(store)
                    self._store = store
                Delivery(self._store, self.letter, _warn).deliver()
                reason = None
            except Refused as refused:
                self._stop(refused)
                return
            except Exception as error:  # a dying server answers in ways that nobody foresaw
                reason = _told(error)
            self._note(reason)

    def _stop(self, refused: Refused) -> None:
        with self._change:
            self.refused, self._reason = refused, str(refused)
            self._change.notify_all()

    def _note(self, reason: str | None) -> None:
        """The outcome of an attempt; where it is another than before, the user is told."""
        with self._change:
            if reason is not None:
                self._failures += 1
                self._next = time.monotonic() + AGAIN
                self._fail(reason)
            elif self._reason is not None:
                print("MLflow has the run again", file=sys.stderr, flush=True)
                self._reason = None
            self._change.notify_all()

    def _fail(self, reason: str) -> None:
        if self._reason is None:
            _warn(f"{reason}: going on without it, the run is {_KEPT.format(shown(outbox()))}")
        self._reason = reason


def deliver_waiting(store: Store) -> list[str]:
    """Sends the letters for this store that no living process holds; returns the names of the runs.

    Raises `UserError` where the store is in trouble; a letter that it refuses stays where it is, and is told.
    """
    sent = []
    for letter in waiting():
        if letter.unsent and letter.store == without_credentials(store.uri):
            try:
                Delivery(store, letter, _warn).deliver()
                sent.append(letter.name)
            except Refused as refused:
                _warn(f"{refused}: {letter.name} stays in {letter.folder}, until you remove it")
    return sent


def send() -> list[str]:
    """Sends what is in the outbox to the store of now; returns the names of the runs. Raises `UserError` in trouble."""
    return deliver_waiting(open_store())


def unsent() -> list[str]:
    """What the outbox holds that no living process is sending: a line for each run."""
    here = without_credentials(tracking_uri())
    return [told(letter) + (f", for {letter.store}" * (letter.store != here)) for letter in waiting() if letter.unsent]


def told(letter: Letter) -> str:
    return f"{letter.name}: {letter.missing()}"


def _told(error: Exception) -> str:
    """One line with the store's address, without credentials."""
    if isinstance(error, UserError):
        return str(error)
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        place = f"{error.filename}: " if error.filename else ""
        reason = place + ("the disk is full" if full else error.strerror or str(error))
    return f"MLflow at {without_credentials(tracking_uri())}: {without_credentials(' '.join(reason.split()))[:400]}"


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)
