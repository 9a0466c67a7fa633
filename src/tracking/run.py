"""The run object that the stages log to, and the two ways to get one: as the training, or as a later stage."""

import os
import platform
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.files import digest
from src.core.git import Source, read_source
from src.core.paths import PARAMS, PIPELINE
from src.params import Params
from src.tracking import identity
from src.tracking.dataset import dataset_record
from src.tracking.delivery import SESSION
from src.tracking.outbox import letter_of
from src.tracking.sender import Sender
from src.tracking.store import tracking_uri

if TYPE_CHECKING:
    from torch import nn

_HURRY = 5.0  # seconds for the store where a user or a scheduler ends us: it gets the rest later


class Run:
    """One MLflow run. What it is told is written down at once, and sent while the caller goes on; where the store is in
    trouble, later. Every method raises `OSError` where a disk is full."""

    def __init__(self, session: str, *modules: str) -> None:
        self._letter = letter_of(session)
        self._sender = Sender(self._letter, *modules)

    @property
    def id(self) -> str:
        """Empty as long as the store has not answered."""
        return self._letter.sent.run_id

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """All curves of an epoch; told again, it counts once."""
        self._add("epoch", step=epoch, metrics=dict(metrics))

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Numbers of the whole run; logged again, the latest counts."""
        self._add("metrics", metrics=dict(metrics))

    def log_parameters(self, flat: Mapping[str, str]) -> None:
        """What the model was trained with, where no training says it; MLflow refuses other values later."""
        self._add("parameters", params=dict(flat))

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Values as `params.yaml` would spell them. Replaces what earlier calls said."""
        self._add("tags", tags={key: identity.text(value) for key, value in tags.items()})

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copies a file, or a folder under its name, into the run, below `folder`."""
        self._add("artifact", copy=self._letter.copy(path), folder=folder)

    def log_model(self, probabilities: "nn.Module", example: NDArray[np.uint8], model_path: Path) -> None:
        """Logs the model in the form in which it leaves the pipeline, and `model_md5`, by which later stages find us.

        `probabilities`: uint8 (N, H, W, C) → float32 (N, K), on any device; `example`: at least two images.
        """
        from src.tracking.model import export_model

        name = self._letter.copy()
        export_model(self._letter.folder / name / "model", probabilities, example, model_path)
        self._add("model", copy=name)
        self.set_tags({"model_md5": digest(model_path)})

    def _add(self, what: str, **entry: object) -> None:
        self._letter.add(what, **entry)
        self._sender.notify()


@contextmanager
def training_run(params: Params, session: str | None = None) -> Iterator[Run]:
    """A run that holds what is about to be trained: parameters, data set, code, versions.

    session: the same name gives the same run, for a training that goes on; by default a new run. It ends FINISHED;
    FAILED where the block raises; KILLED on Ctrl-C and SIGTERM. Where an earlier run has results of the very model that
    came out, they are carried over (`src.tracking.earlier`): DVC does not run the later stages again then. Raises
    `UserError` where MLflow refuses a value; all other trouble of the store is told, and the run sent later.
    """
    session = session or uuid.uuid4().hex
    source = read_source()
    flat = {key: without_credentials(value) for key, value in identity.parameters(params).items()}
    tags = {**_origin("train", source), "params_digest": identity.parameters_digest(flat), SESSION: session}
    run = Run(session, "mlflow.pytorch")  # for log_model
    with tempfile.TemporaryDirectory() as folder:
        record = _files_of_record(Path(folder), source)
        run._add(
            "begin",
            **_name(f"{params.data.name} {params.model.name}"),
            tags=tags,
            params=flat,
            dataset=dataset_record(params.data),
            copy=run._letter.copy(*record),
        )
    run._sender.settle()
    if run._sender.refused is not None:
        run._letter.discard()
        raise run._sender.refused
    with _ending(run, lambda status: run._add("end", status=status)):
        yield run
        run._add("carry_over")


@contextmanager
def attach(model_path: Path, stage: str, parameters: Mapping[str, object]) -> Iterator[Run]:
    """The newest run that trained this model, for a later stage to add to; else a new one tagged `training=elsewhere`.

    The stage's own parameters (`{"samples": 40}`) become tags (`visualize.samples`), since they may change while the
    run's stay. How the stage ended is the tag `<stage>.status`: running, finished, failed or killed; in which run is
    `<stage>.run`, another than this one where results were carried over. The status of the run itself tells how
    *training* ended and is left alone, so a failing figure never turns a good training into a failed one.
    """
    if not model_path.is_file():
        raise UserError(f"{model_path} is missing: run dvc repro, or dvc pull where a remote has it")
    from src.training.resume import discard_recorded  # which imports torch, as the stages that come here have

    md5 = digest(model_path)
    discard_recorded()
    session = uuid.uuid4().hex
    elsewhere = {**_origin(stage, read_source()), "model_md5": md5, "training": "elsewhere", SESSION: session}
    tags = {f"{stage}.{key}": value for key, value in identity.flatten(parameters).items()}
    tags[f"{stage}.code_digest"] = identity.code_digest(stage)
    run = Run(session)
    run._add("attach", **_name(f"{stage} of {md5[:8]}"), model_md5=md5, tags=elsewhere)
    run._add("attached", stage=stage, tags={**tags, f"{stage}.status": "running"})

    def end(status: str) -> None:
        run.set_tags({f"{stage}.status": status.lower()})
        run._add("end", status=status)

    with _ending(run, end):
        yield run


@contextmanager
def _ending(run: Run, end: Callable[[str], None]) -> Iterator[None]:
    """Calls `end` with FINISHED, FAILED or KILLED, then waits a while for the store."""
    try:
        yield
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt)
        end("KILLED" if killed else "FAILED")
        run._sender.conclude(_HURRY if killed else None)
        raise
    end("FINISHED")
    run._sender.conclude()


def _name(name: str) -> dict[str, str]:
    """What the first entry of a letter says of it."""
    return {"name": os.environ.get("DVC_EXP_NAME") or name, "store": without_credentials(tracking_uri())}


def _origin(stage: str, source: Source) -> dict[str, str]:
    """Tags that say which data and code a run belongs to, and which process writes it."""
    import psutil

    tags = {
        "base_commit": source.commit,
        "code_modified": source.modified,
        "code_digest": identity.code_digest(stage),
        "data_md5": identity.data_digest(),
        **{f"version.{name}": version for name, version in identity.versions().items()},
        # A process that is gone cannot close its run: these three tell whether it is.
        "process.host": platform.node(),
        "process.pid": str(os.getpid()),
        "process.started": f"{psutil.Process().create_time():.2f}",
        "mlflow.source.name": f"stages/{stage}.py",
        "mlflow.source.type": "LOCAL",
    }
    for tag, variable in {"dvc.stage": "DVC_STAGE", "dvc.experiment": "DVC_EXP_NAME"}.items():
        if os.environ.get(variable):
            tags[tag] = os.environ[variable]
    return tags


def _files_of_record(folder: Path, source: Source) -> list[Path]:
    """Parameters, pipeline, versions, and how the code differs from its commit."""
    text = without_credentials(PARAMS.read_text(encoding="utf-8"))
    (folder / PARAMS.name).write_text(text, encoding="utf-8", newline="\n")
    if source.difference:
        (folder / "code.diff").write_text(source.difference, encoding="utf-8", errors="surrogateescape")
    for path in (PIPELINE, Path("requirements.lock")):
        if path.is_file():
            shutil.copy(path, folder)
    return list(folder.iterdir())
