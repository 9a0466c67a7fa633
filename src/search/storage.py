"""Open the storage of a search: a journal in the clone, or a database that several machines share."""

import json
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.files import replacing
from src.core.paths import searches
from src.tracking.store import database_error

BEAT = 15  # seconds between two heartbeats of a trial in a database
GRACE = 60  # seconds without a heartbeat after which others run the trial again

_ENDED = [state for state in TrialState if state.is_finished()]


def journal(name: str) -> Path:
    """Return the file of a search; `optuna-dashboard FILE` shows it."""
    return searches() / f"{name}.log"


@contextmanager
def open_storage(name: str, url: str | None) -> Iterator[BaseStorage]:
    """Open the database at `url`, or without one the journal of the search `name`, which one process can use at a time.

    Raises `UserError`, also during the block, if the storage is damaged, in use or cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is not None:
        with _explained(url):
            yield _database(url)
        return
    file = journal(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file.with_suffix(".lock"))
    try:
        with lock.acquire(timeout=0):
            yield _journal(file)
    except Timeout:
        raise UserError(
            f"another process runs this search ({file}): end it; several share one only with --storage URL"
        ) from None


def _journal(file: Path) -> BaseStorage:
    # Instead of Optuna's own lock, a file that a killed process leaves behind: `open_storage` has locked the journal.
    backend = JournalFileBackend(str(file), threading.Lock())  # type: ignore[arg-type]
    try:
        with replacing(file) as temporary:
            temporary.write_bytes(_without_unfinished(file.read_bytes()))
        storage = JournalStorage(backend)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):  # Optuna's, of records that are damaged
        raise UserError(f"{file} is damaged: move it away, and the search begins anew") from None
    for study in storage.get_all_studies():
        for trial in storage.get_all_trials(study._study_id, states=[TrialState.RUNNING]):
            storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    return storage


def _without_unfinished(journal: bytes) -> bytes:
    """Return a journal without what a kill left: half a record, and the values and epochs of trials that were running.

    Optuna would never read past half a record. Of a running trial the first record stays; all else is drawn and trained
    again. Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError` if records are damaged.
    """
    lines = [line for line in journal.splitlines(keepends=True) if line.endswith(b"\n")]
    records = [json.loads(line) for line in lines]
    ended = {record["trial_id"] for record in records if "trial_id" in record and record.get("state") in _ENDED}
    return b"".join(
        line for line, record in zip(lines, records, strict=True) if record.get("trial_id") in {None, *ended}
    )


def _database(url: str) -> BaseStorage:
    if "://" not in url:
        raise UserError(
            f"--storage is {url}: must be a URL such as postgresql://user@host/database or sqlite:///file.db"
        )
    from sqlalchemy.exc import DBAPIError

    # Name the driver that the environment has: SQLAlchemy would take another.
    address = url.replace("postgresql://", "postgresql+psycopg2://", 1)
    engine: dict[str, Any] = {"pool_pre_ping": True}  # a server may have closed an idle connection
    if url.startswith("sqlite"):
        engine["connect_args"] = {"timeout": 60}
    elif url.startswith("postgresql"):
        if find_spec("psycopg2") is None:
            raise UserError("searches on PostgreSQL need psycopg2: make env EXTRA=postgres")
        engine["connect_args"] = {"connect_timeout": 15}

    def opened() -> BaseStorage:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            retry = RetryHeartbeatStaleTrialCallback(max_retry=4)
            storage = RDBStorage(
                address, engine, heartbeat_interval=BEAT, grace_period=GRACE, heartbeat_stale_trial_callback=retry
            )
            return get_storage(storage)

    try:
        try:
            return opened()
        except (DBAPIError, StorageInternalError):  # another process is just making the tables of a new database
            time.sleep(2)
            return opened()
    except RuntimeError as error:  # the tables are another Optuna's
        raise UserError(f"the search's storage {without_credentials(url)}: {str(error).splitlines()[0]}") from None


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn an error of a database into a `UserError` of one line, without the password of its URL."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, ImportError) as error:
        found = database_error(error)
        reason = (str(found).strip() or type(found).__name__).splitlines()[0][:300]
        line = without_credentials(f"the search's storage {url}: {reason}; finished trials are kept")
        raise UserError(line) from None
