"""Open the place where runs are kept: `mlflow.db` and `mlartifacts/` in the clone, or what MLFLOW_TRACKING_URI names.

    store = open_store()
    run = store.client.create_run(store.experiment_id, run_name="trial 3")
    store.client.log_batch(run.info.run_id, metrics=[…], params=[…], tags=[…])
    store.artifacts(run.info.artifact_uri).log_artifacts("reports/tuning", "tuning")

Whatever these raise is a `UserError` of one line. `src.tracking.runs` finds runs, `src.tracking.start` begins them.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.paths import main_root
from src.params import load

# By MLflow's defaults a program hangs for four minutes if its server is gone. With these, a refused connection or an
# error of the server fails after 1 s, a silent server after 20 s. A user's own settings come first.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_SERVER = "start or correct it, with MLFLOW_TRACKING_USERNAME and _PASSWORD if it asks, or unset MLFLOW_TRACKING_URI"
_DATABASE = "end other programs that hold it, make it writable, or move it away and run python -m src.track sync"
_ARTIFACTS = "mlartifacts"


class _Explained:
    """Stand for the methods of an object of MLflow; what they raise becomes a `UserError` (see `explained`)."""

    def __init__(self, original: object, uri: str) -> None:
        self._original, self._uri = original, uri

    def __getattr__(self, name: str) -> Any:
        return explained(self._uri)(getattr(self._original, name))


class Store:
    """Hold MLflow's client of a store, and give access to the files of runs and models in it."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.uri = uri  # as `tracking_uri` gives it, for a server without the login
        self.client = cast(MlflowClient, _Explained(MlflowClient(tracking_uri=uri), uri))

    def artifacts(self, location: str) -> Any:
        """Return MLflow's `ArtifactRepository` for the files of a run or a model at this location.

        A location without a scheme is relative to the clone's root, where `mlflow ui` is started, so that a clone that
        was moved or copied finds its artifacts. Temporary experiments, in other folders, use the same.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if not urlsplit(location).scheme:
            location = (main_root() / location).as_uri()
        return _Explained(get_artifact_repository(location, tracking_uri=self.uri), self.uri)

    @cached_property
    def experiment_id(self) -> str:
        """Return the experiment in which runs are written, and make it where it is missing. Raises `UserError`.

        Its name is MLFLOW_EXPERIMENT_NAME, or the data set's title in `params.yaml`. What only reads must not ask for
        it: on a server with passwords, who makes an experiment owns it.
        """
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or load().data.display_name
        found = self.client.get_experiment_by_name(name)
        if found and found.lifecycle_stage != "active":
            restore = f"mlflow experiments restore --experiment-id {found.experiment_id}"
            raise UserError(f"the MLflow experiment {name} is deleted: {restore}")
        return str(found.experiment_id) if found else self._make_experiment(name)

    def _make_experiment(self, name: str) -> str:
        file = database(self.uri)
        server = urlsplit(self.uri).scheme in ("http", "https")  # which keeps artifacts itself
        place = (file.parent.resolve() if file else main_root()) / _ARTIFACTS
        made = self.client.create_experiment(name, artifact_location=None if server else place.as_uri())
        if file is not None and file.parent.resolve() == main_root():
            # MLflow writes only absolute locations, but reads relative ones: see `artifacts`.
            with explained(self.uri), closing(sqlite3.connect(file)) as connection, connection:
                change = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?"
                connection.execute(change, (_ARTIFACTS, made))
        return made


def tracking_uri() -> str:
    """Return the store's address. A relative SQLite path means the clone's root, in temporary experiments, too."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if (file := database(uri)) is None:
        return uri
    return _address(main_root() / file)


def _address(file: Path) -> str:
    # These characters have a meaning in an address; a relative path leaves out folders above that contain them.
    return f"sqlite:///{os.path.relpath(file) if {*'?#%'} & {*str(file)} else file}"


def database(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for a server or another database."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def open_store() -> Store:
    """Open the store, and make its database where that is missing. Raises `UserError`."""
    uri = tracking_uri()
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise UserError(f"MLFLOW_TRACKING_URI is no address: {error}: correct or unset it") from None
    if parts.scheme in ("http", "https") and parts.username is not None:
        # MLflow reads credentials from here, and does not print them.
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
        uri = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    quieten()
    with explained(uri):
        if (file := database(uri)) is not None:
            from filelock import FileLock

            with FileLock(f"{file}.lock"):  # MLflow's creation of tables does not stand several processes
                if not file.is_file():
                    _make_database(file)
        return Store(uri)


def existing_store() -> Store | None:
    """Return the store to read from; None if its database does not exist yet."""
    file = database(tracking_uri())
    return None if file is not None and not file.is_file() else open_store()


def required_store() -> Store:
    """Return the store to read from. Raises `UserError` if its database does not exist yet."""
    store = existing_store()
    if store is None:
        uri = without_credentials(tracking_uri())
        raise UserError(f"MLflow at {uri} has no runs yet: run dvc repro, or set MLFLOW_TRACKING_URI")
    return store


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn MLflow's errors (store missing, locked, full, read-only, unreachable) into a `UserError` of one line.

    It has no credentials, and the original exception, whose traceback may have them, is dropped.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ModuleNotFoundError) as error:
        found = database_error(error)
        reason = " ".join(str(found).split()) or type(found).__name__
        remedy = f": {_DATABASE}" if isinstance(found, sqlite3.Error | SQLAlchemyError) else ""
        if reason.startswith("API request"):  # the cause comes last, after the address once more
            reason, remedy = reason.rpartition("(Caused by ")[2], f": {_SERVER}"
        raise UserError(without_credentials(f"MLflow at {uri}: {reason[:400]}{remedy}")) from None


def database_error(error: BaseException) -> BaseException:
    """Return a database's own error, if any: it says more than what SQLAlchemy, MLflow and Optuna wrap around it."""
    from sqlalchemy.exc import DBAPIError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DBAPIError) and cause.orig:
            return cause.orig
        cause = cause.__cause__ or cause.__context__
    return error


def quieten() -> None:
    """Switch off MLflow's telemetry, long waits, messages below warnings and shortened values; call before import."""
    os.environ.update(
        {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_TRUNCATE_LONG_VALUES": "false"}
    )
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of every repetition
    # It logs 90 lines of statements and traceback of an exception that it raises, too.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _make_database(file: Path) -> None:
    """Make a SQLite store, completely or not at all: MLflow cannot open one that lacks some of its tables."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)  # of a process that was killed
    SqlAlchemyStore(_address(new), _ARTIFACTS).engine.dispose()  # type: ignore[no-untyped-call]
    new.replace(file)
