"""Where searches are kept: Optuna's journal in the clone, or any Optuna storage, such as PostgreSQL for many machines.

The journal is written by Optuna's own code but for two things. Its lock is one of the operating system's, which ends
with the process that holds it; Optuna's own is a file that a killed process leaves behind, for others to wait 30 s. And
half a line, which a full disk leaves, is removed before the next is written; Optuna would never read on past it.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import optuna
from filelock import FileLock
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, _CachedStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._storage import JournalOperation
from optuna.study import StudyDirection

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.files import naming
from src.core.paths import searches

# What must survive a power cut: that a trial began and how it ended. Its epochs are trained again.
_DURABLE = (JournalOperation.CREATE_STUDY, JournalOperation.CREATE_TRIAL, JournalOperation.SET_TRIAL_STATE_VALUES)
PATIENCE = 60.0  # seconds for a database that is locked or away
_AGAIN = 2.0  # seconds between two tries

Answer = TypeVar("Answer")


class Journal(JournalFileBackend):
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._guard = FileLock(f"{path}.lock")
        super().__init__(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with naming(self._path, self._path), self._guard, self._path.open("rb+") as file:
            _remove_half_a_line(file.fileno())
            file.seek(0, os.SEEK_END)
            file.write(text.encode())
            file.flush()
            if any(log["op_code"] in _DURABLE for log in logs):
                os.fsync(file.fileno())


def _remove_half_a_line(file: int) -> None:
    end = os.fstat(file).st_size
    if end == 0 or os.pread(file, 1, end - 1) == b"\n":
        return
    start = end
    while start and (block := os.pread(file, min(start, 4096), max(0, start - 4096))):
        found = block.rfind(b"\n")
        start -= len(block)
        if found >= 0:
            start += found + 1
            break
    os.ftruncate(file, start)


def journal() -> Path:
    return searches() / "journal.log"


def open_storage(url: str | None) -> BaseStorage:
    """The journal without a URL, else what the URL names. Raises `UserError` where it cannot be used."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is None:
        with explained(str(journal())):
            return JournalStorage(Journal(journal()))
    if "://" not in url:
        raise UserError(
            f"--storage is {url}: must be a URL such as postgresql://user@host/database or sqlite:///file.db"
        )
    # The driver that the environment has; SQLAlchemy's own choice is another.
    address = url.replace("postgresql://", "postgresql+psycopg2://", 1)
    engine: dict[str, Any] = {"pool_pre_ping": True}  # a server may have closed an idle connection
    if url.startswith("sqlite"):
        engine["connect_args"] = {"timeout": PATIENCE}
    elif url.startswith("postgresql"):
        engine["connect_args"] = {"connect_timeout": 15}
    with explained(url):
        return _database(address, engine)


def _database(url: str, engine: dict[str, Any], tries: int = 3) -> BaseStorage:
    from sqlalchemy.exc import DBAPIError

    while True:
        tries -= 1
        try:
            return _CachedStorage(RDBStorage(url, engine_kwargs=engine))
        except (DBAPIError, StorageInternalError):
            # Who opens a new database at the same time as others finds half of its tables.
            if not tries:
                raise
            time.sleep(1)
        except RuntimeError as error:  # the tables are another Optuna's
            raise UserError(f"the search's storage {without_credentials(url)}: {str(error).splitlines()[0]}") from None


def create_study(storage: BaseStorage, name: str, question: str, *, maximize: bool) -> None:
    """Makes the study where it does not exist. Before workers start: they would race for it."""
    direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
    with suppress(KeyError):
        storage.get_study_id_from_name(name)
        return
    try:
        study = storage.create_new_study([direction], name)
    except DuplicatedStudyError:
        return
    storage.set_study_user_attr(study, "question", question)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turns what a storage raises into a `UserError` of one line, without the password that its URL may hold."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, ImportError) as error:
        cause: BaseException = error
        while (inner := getattr(cause, "orig", None) or cause.__cause__) is not None:
            cause = inner
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        reason = without_credentials(lines[0])[:300]
        raise UserError(
            f"the search's storage {without_credentials(url)}: {reason}; finished trials are kept"
        ) from None


def patiently(url: str, ask: Callable[[], Answer]) -> Answer:
    """What the storage answers. One that is locked or away is asked again for `PATIENCE` seconds: a server is started
    again, and on the answer may hang hours of training. `ask` may have been done although the answer was lost."""
    started = time.monotonic()
    told = False
    while True:
        try:
            with explained(url):
                return ask()
        except UserError as fault:
            if time.monotonic() - started > PATIENCE:
                raise
            if not told:
                told = True
                print(f"warning: {fault}; trying again for {PATIENCE:.0f} s", file=sys.stderr, flush=True)
            time.sleep(_AGAIN)
