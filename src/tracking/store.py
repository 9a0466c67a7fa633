"""Where runs are kept: `mlflow.db` and `mlartifacts/` in the clone's root, or what MLFLOW_TRACKING_URI names."""

import errno
import importlib
import logging
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.paths import main_root

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "image-classification"

# MLflow's own defaults block for four minutes where a server is gone. A refused connection or an error of the server
# now fails after 1 s, a silent server after 20 s. A user's own settings win.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}

_LOCKED = 5  # seconds for another process to end its transaction

# What no repetition changes: the user must change a value.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")

# Columns in which MLflow stores absolute places of artifacts.
_PLACES = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


class Refused(UserError):
    """MLflow says no to a value, and would again."""


class Store(NamedTuple):
    client: "MlflowClient"
    experiment_id: str
    uri: str  # as `tracking_uri` gives it


def tracking_uri() -> str:
    """The store's address. A relative SQLite file is one in the clone's root, also in temporary experiment folders."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    file = uri.removeprefix("sqlite:///")
    return uri if file == uri else f"sqlite:///{main_root() / file}"


def database(uri: str) -> Path | None:
    """The file of a SQLite store; None for a server or another database."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def open_store() -> Store:
    """Opens the store, and makes it and the experiment where they are missing. Raises `UserError` where it cannot be
    used.

    Safe when several processes start at once on a new store: MLflow's own table creation is not, hence the lock.
    """
    uri = logged_in(tracking_uri())
    quieten()
    with _alone(uri), explained(uri):
        from mlflow import MlflowClient

        _check_database(uri)
        _make(uri)
        client = MlflowClient(tracking_uri=uri)
        _follow_move(uri)
        return Store(client, _experiment(client, uri), uri)


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turns what MLflow raises (store missing, locked, read-only or unreachable, value refused) into a `UserError`.

    Its one line has no credentials, and neither has a traceback: the exception it came from is dropped. Where a
    database refused, the reason is the database's own.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, RequestException, ModuleNotFoundError) as error:
        # What is wrapped around a database's error begins with the statement, or with advice about SQLAlchemy.
        cause = next((link.orig for link in _chain(error) if isinstance(link, DBAPIError) and link.orig), error)
        reason = without_credentials((str(cause).strip() or type(cause).__name__).splitlines()[0])
        if connection := re.search(r"\(Caused by .*(?:: |\(['\"])(.+?)['\")]*$", reason):
            reason = connection[1]  # the rest names pools, retries and the address once more
        refused = isinstance(error, MlflowException) and error.error_code in _REFUSALS and cause is error
        raise (Refused if refused else UserError)(f"MLflow at {without_credentials(uri)}: {reason[:400]}") from None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def placing(uri: str) -> Iterator[None]:
    """Around a copy into the store: where no space is left, the `OSError` names the place of the artifacts.

    As it comes, it names the file that was read, or none.
    """
    try:
        yield
    except OSError as error:
        place = _artifacts(uri)
        if place is None or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(error.errno, error.strerror, str(place)) from None


def _experiment(client: "MlflowClient", uri: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            place = _artifacts(uri)
            return client.create_experiment(EXPERIMENT, artifact_location=place.as_uri() if place else None)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(EXPERIMENT)  # another machine was faster
    if found is None or found.lifecycle_stage != "active":
        raise UserError(f"the MLflow experiment {EXPERIMENT} is deleted: restore it with mlflow experiments restore")
    return str(found.experiment_id)


def _artifacts(uri: str) -> Path | None:
    """An absolute place beside the store: MLflow's default is the folder it is started in. A server has its own."""
    if urlsplit(uri).scheme in ("http", "https"):
        return None
    file = database(uri)
    return (file.parent if file else main_root()) / "mlartifacts"


def _check_database(uri: str) -> None:
    """Raises `sqlite3.Error` where an existing file is locked or cannot be written: MLflow would try for a minute."""
    file = database(uri)
    if file is not None and file.is_file():
        with closing(sqlite3.connect(file, timeout=_LOCKED)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()


def _make(uri: str) -> None:
    """Makes a SQLite store that is missing, whole or not at all: one that was killed among its tables MLflow refuses
    ever after."""
    file = database(uri)
    if file is None or (file.is_file() and file.stat().st_size):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    prefix = f"{file.name}.new-"
    for left in file.parent.glob(f"{prefix}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=file.parent) as folder:
        new = Path(folder, file.name)
        SqlAlchemyStore(f"sqlite:///{new}", str(_artifacts(uri))).engine.dispose()  # type: ignore[no-untyped-call]
        with new.open("rb") as whole:
            os.fsync(whole.fileno())
        new.replace(file)


def _follow_move(uri: str) -> None:
    """After a clone was moved or copied, its store still points to the old place: MLflow keeps absolute ones.

    Only an experiment that we created (it ends in our folder's name) is changed; MLflow has no call for it.
    """
    file = database(uri)
    place = _artifacts(uri)
    if file is None or place is None or not file.is_file():
        return
    here = place.as_uri()
    with closing(sqlite3.connect(file, timeout=_LOCKED)) as connection:
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        try:
            row = connection.execute(query, (EXPERIMENT,)).fetchone()
        except sqlite3.Error:  # no tables yet, or no database: MLflow makes them, or says so
            return
        if row is None or row[0] == here or not row[0].startswith("file:") or not row[0].endswith("/mlartifacts"):
            return
        with connection:
            for table, column in _PLACES.items():
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR {column} LIKE ?",
                    (here, len(row[0]) + 1, row[0], f"{row[0]}/%"),
                )


def logged_in(uri: str) -> str:
    """A server's address without its credentials, which go where MLflow reads them and never prints them."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.username is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def import_client(*modules: str) -> None:
    """Imports MLflow and the named modules of it. Before a second thread does: MLflow's imports go round in circles, of
    which two threads see unfinished parts."""
    quieten()
    needed = ["mlflow", "mlflow.entities", "mlflow.models", "mlflow.store.artifact.artifact_repository_registry"]
    needed.append("mlflow.store.tracking." + ("rest_store" if database(tracking_uri()) is None else "sqlalchemy_store"))
    for name in [*needed, *modules]:
        importlib.import_module(name)


def quieten() -> None:
    """Before MLflow's import: no telemetry, no long waits, warnings only, and no value shortened behind our back."""
    os.environ.update(
        {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_TRUNCATE_LONG_VALUES": "false"}
    )
    quiet = {"MLFLOW_LOGGING_LEVEL": "WARNING", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    for name, value in {**_PATIENCE, **quiet}.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of every repetition
    logging.getLogger("mlflow.store.db.utils").addFilter(_not_raised)


def _not_raised(record: logging.LogRecord) -> bool:
    """Keeps that log's warnings (a connection is tried again). Its errors are 90 lines of statements and traceback for
    an exception that is raised all the same, and that `explained` tells in one."""
    return record.levelno < logging.ERROR


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    file = database(uri)
    if file is None:
        yield
        return
    from filelock import FileLock, Timeout

    if not file.parent.is_dir():
        raise UserError(f"MLflow at {uri}: the folder {file.parent} is missing")
    try:
        with FileLock(f"{file}.lock", timeout=20):
            yield
    except Timeout:
        raise UserError(f"another process has been opening {file} for 20 s: end it, or remove {file}.lock") from None
