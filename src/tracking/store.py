"""Open the place where runs are kept: `mlflow.db` and `mlartifacts/` in the clone, or what MLFLOW_TRACKING_URI names.

    store = open_store()                           # and its experiment; `UserError` where it cannot be used
    with explained(store.uri):                     # an error of MLflow becomes a `UserError` of one line
        run_id = store.client.create_run(store.experiment_id, run_name="trial 3", tags={}).info.run_id
        store.client.log_batch(run_id, metrics=[…], params=[…], tags=[…])
        artifacts(store, location).log_artifacts("reports/tuning", "tuning")     # the run's files

`src.tracking.runs` finds runs.
"""

import logging
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.paths import main_root
from src.params import load

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own defaults block for four minutes where a server is gone. A refused connection or an error of the server
# now fails after 1 s, a silent server after 20 s. A user's own settings win.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
_LOCKED = 5  # seconds for another process to end its transaction
_ARTIFACTS = "mlartifacts"


class Store(NamedTuple):
    client: "MlflowClient"
    experiment_id: str
    uri: str  # as `tracking_uri` gives it


def tracking_uri() -> str:
    """Return the store's address. A relative SQLite file lies in the clone's root, also for temporary experiments."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if (file := database(uri)) is None:
        return uri
    path = str(main_root() / file)
    # The characters have a meaning in an address; a relative path leaves out the folders above that may have them.
    return f"sqlite:///{os.path.relpath(path) if {*'?#%'} & {*path} else path}"


def database(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for a server or another database."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def open_store(experiment: str | None = None) -> Store:
    """Open the store, and make it and the experiment where they are missing. Raises `UserError`.

    experiment: by default the data set's title in `params.yaml`; MLFLOW_EXPERIMENT_NAME goes before both. Safe when
    several processes start at once on a new store: MLflow's own making of tables is not, hence the lock.
    """
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or experiment or load().data.display_name
    uri = tracking_uri()
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https") and parts.username is not None:
        # Credentials go where MLflow reads them and never prints them.
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
        uri = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    quieten()
    file = database(uri)
    if file is None:
        with explained(uri):
            return _opened(uri, name, None)
    from filelock import FileLock

    with explained(uri), FileLock(f"{file}.lock"):
        _prepare_database(file)
        return _opened(uri, name, file)


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what MLflow raises (store missing, locked, full, read-only, unreachable) into a `UserError` of one line.

    It has no credentials, and neither has a traceback: the exception it came from is dropped.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ModuleNotFoundError) as error:
        # What is wrapped around a database's own error begins with the statement, or with advice about SQLAlchemy.
        cause: BaseException | None = error
        while cause is not None and not (isinstance(cause, DBAPIError) and cause.orig):
            cause = cause.__cause__ or cause.__context__
        found = cause.orig if isinstance(cause, DBAPIError) and cause.orig else error
        reason = (str(found).strip() or type(found).__name__).splitlines()[0]
        if isinstance(found, OSError) and found.strerror:
            reason = f"{found.filename2 or found.filename or ''}: {found.strerror}".removeprefix(": ")
        if connection := re.search(r"\(Caused by .*(?:: |\(['\"])(.+?)['\")]*$", reason):
            reason = connection[1]  # the rest names pools, retries and the address once more
        line = without_credentials(f"MLflow at {uri}: {reason[:400]}")
        raise UserError(line) from None


def artifacts(store: Store, location: str) -> Any:
    """Return MLflow's `ArtifactRepository`, the files of a run or a model, which MLflow keeps at this location.

    A location without a scheme is relative to the clone's root, where `mlflow ui` is started: so a clone that was moved
    or copied has its artifacts. Temporary experiments run in other folders.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if not urlsplit(location).scheme:
        location = (main_root() / location).as_uri()
    return get_artifact_repository(location, tracking_uri=store.uri)


def quieten() -> None:
    """Set, before MLflow's import: no telemetry, no long waits, warnings only, no value shortened behind our back."""
    os.environ.update(
        {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_TRUNCATE_LONG_VALUES": "false"}
    )
    quiet = {"MLFLOW_LOGGING_LEVEL": "WARNING", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    for name, value in {**_PATIENCE, **quiet}.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of every repetition
    # 90 lines of statements and traceback for an exception that is raised all the same
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _opened(uri: str, name: str, file: Path | None) -> Store:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(name)
    if found is None:
        server = urlsplit(uri).scheme in ("http", "https")  # which has a place of its own for artifacts
        place = (file.parent.resolve() if file else main_root()) / _ARTIFACTS
        made = client.create_experiment(name, artifact_location=None if server else place.as_uri())
        if file is not None and file.parent.resolve() == main_root():
            # MLflow makes every location absolute, although it reads relative ones: see `artifacts`.
            with closing(sqlite3.connect(file, timeout=_LOCKED)) as connection, connection:
                change = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?"
                connection.execute(change, (_ARTIFACTS, made))
        return Store(client, made, uri)
    if found.lifecycle_stage != "active":
        restore = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        raise UserError(f"the MLflow experiment {name} is deleted: {restore}")
    return Store(client, str(found.experiment_id), uri)


def _prepare_database(file: Path) -> None:
    """Make a SQLite store that is missing, complete or not at all: one that was killed among its tables MLflow refuses
    ever after. Raises `sqlite3.Error` where an existing one is locked or read-only: MLflow would try for a minute."""
    if file.is_file() and file.stat().st_size:
        with closing(sqlite3.connect(file, timeout=_LOCKED)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    prefix = f"{file.name}.new-"
    for left in file.parent.glob(f"{prefix}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=file.parent) as folder:
        new = Path(os.path.relpath(folder), file.name)  # the path above may hold what an address must not
        SqlAlchemyStore(f"sqlite:///{new}", _ARTIFACTS).engine.dispose()  # type: ignore[no-untyped-call]
        new.replace(file)
