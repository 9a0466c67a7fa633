"""The run object that the stages log to, and the two ways to get one: as the training, or as a later stage."""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from src.atomic import digest
from src.faults import Fault
from src.params import Params
from src.paths import PARAMS, PIPELINE
from src.tracking import identity
from src.tracking.dataset import dataset_input
from src.tracking.earlier import copy_reports, earlier_results
from src.tracking.source import Source, read_source
from src.tracking.store import Store, explained, open_store, placing, without_credentials

if TYPE_CHECKING:
    from torch import nn


class Run:
    """One MLflow run. Every method raises `Fault` where the store cannot be written, `OSError` where a disk is full."""

    def __init__(self, store: Store, run_id: str, model_id: str | None = None) -> None:
        self.id = run_id
        self._store = store
        self._model_id = model_id  # metrics are shown at the logged model, too

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """One call for all curves of an epoch."""
        self._log(metrics, epoch, {})

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Numbers of the whole run; logged again, the latest counts."""
        self._log(metrics, 0, {})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Values as `params.yaml` would spell them. Replaces what earlier calls said."""
        self._log({}, 0, tags)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copies a file, or a folder under its name, into the run, below `folder`."""
        with explained(self._store.uri), placing(self._store.uri):
            self._store.client.log_artifact(self.id, str(path), folder)

    def log_model(self, probabilities: "nn.Module", example: NDArray[np.uint8], model_path: Path) -> None:
        """Logs the model in the form in which it leaves the pipeline, and `model_md5`, by which later stages find us.

        `probabilities`: uint8 (N, H, W, C) → float32 (N, K), on any device; `example`: at least two images.
        """
        from src.tracking.model import log_model

        with explained(self._store.uri):
            self._model_id = log_model(self._store, self.id, probabilities, example, model_path)
        self.set_tags({"model_md5": digest(model_path)})

    def carry_over(self) -> None:
        """Takes over what an earlier run has of the same model; without one it does nothing.

        Tags come first: if a copy fails, they already name the run that has the files.
        """
        if found := earlier_results(self._store, self.id):
            self._log(found.metrics, 0, found.tags)
            copy_reports(self._store, found.run_id, self.id)

    def _log(self, metrics: Mapping[str, float], step: int, tags: Mapping[str, object]) -> None:
        with explained(self._store.uri):
            from mlflow.entities import Metric, RunTag

            now = time.time_ns() // 1_000_000
            self._store.client.log_batch(
                self.id,
                metrics=[Metric(k, float(v), now, step, model_id=self._model_id) for k, v in metrics.items()],
                tags=[RunTag(key, identity.text(value)) for key, value in tags.items()],
            )


@contextmanager
def training_run(params: Params) -> Iterator[Run]:
    """A new run that holds what is about to be trained: parameters, data set, code, versions.

    It ends FINISHED; FAILED where the block raises; KILLED on Ctrl-C. Where an earlier run has results of the very
    model that came out, they are carried over (`src.tracking.earlier`): DVC does not run the later stages again then.
    """
    source = read_source()
    flat = {key: without_credentials(value) for key, value in identity.parameters(params).items()}
    tags = {**_origin("train", source), "params_digest": identity.parameters_digest(flat)}
    store = open_store()
    with _created(store, f"{params.data.name} {params.model.name}", tags) as run:
        with explained(store.uri):
            _log_start(run, store, params, flat, source)
        yield run
        try:
            run.carry_over()
        except (Fault, OSError) as error:  # the model is trained and logged: no reason to fail
            print(f"warning: the run lacks what an earlier one has of its model: {error}", file=sys.stderr, flush=True)


@contextmanager
def attach(model_path: Path, stage: str, parameters: Mapping[str, object]) -> Iterator[Run]:
    """The newest run that trained this model, for a later stage to add to; else a new one tagged `training=elsewhere`.

    The stage's own parameters (`{"samples": 40}`) become tags (`visualize.samples`), since they may change while the
    run's stay. How the stage ended is the tag `<stage>.status`: running, finished, failed or killed; in which run is
    `<stage>.run`, another than this one where results were carried over. The status of the run itself tells how
    *training* ended and is left alone, so a failing figure never turns a good training into a failed one.
    """
    if not model_path.is_file():
        raise Fault(f"{model_path} is missing: run dvc repro, or dvc pull where a remote has it")
    md5 = digest(model_path)
    tags = {f"{stage}.{key}": value for key, value in identity.flatten(parameters).items()}
    tags[f"{stage}.code_digest"] = identity.code_digest(stage)
    store = open_store()
    with explained(store.uri):
        found = store.client.search_runs(
            [store.experiment_id], f"tags.model_md5 = '{md5}'", order_by=["attributes.start_time DESC"], max_results=1
        )
    if found:
        models = found[0].outputs.model_outputs if found[0].outputs else []
        run = Run(store, found[0].info.run_id, models[-1].model_id if models else None)
        with _stage(run, stage, tags):
            yield run
        return
    elsewhere = {**_origin(stage, read_source()), "model_md5": md5, "training": "elsewhere"}
    with _created(store, f"{stage} of {md5[:8]}", elsewhere) as run, _stage(run, stage, tags):
        yield run


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


@contextmanager
def _stage(run: Run, stage: str, tags: Mapping[str, object]) -> Iterator[None]:
    run.set_tags({**tags, f"{stage}.status": "running", f"{stage}.run": run.id})
    with _ending(lambda status: run.set_tags({f"{stage}.status": status.lower()})):
        yield


@contextmanager
def _created(store: Store, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """A new run, closed with the status that fits how the block ended."""
    name = os.environ.get("DVC_EXP_NAME") or name
    with explained(store.uri):
        run_id = store.client.create_run(store.experiment_id, tags=dict(tags), run_name=name).info.run_id

    def close(status: str) -> None:
        with explained(store.uri):
            store.client.set_terminated(run_id, status)

    with _ending(close):
        yield Run(store, run_id)


@contextmanager
def _ending(end: Callable[[str], None]) -> Iterator[None]:
    """Calls `end` with FINISHED, FAILED or KILLED. If the store fails too, what the block raised is what is told."""
    try:
        yield
    except BaseException as error:
        try:
            end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        except Fault as fault:
            if str(fault) != str(error):  # else the store's fault is told by what is raised
                print(f"warning: the run stays open: {fault}", file=sys.stderr, flush=True)
        raise
    end("FINISHED")


def _log_start(run: Run, store: Store, params: Params, flat: Mapping[str, str], source: Source) -> None:
    """Parameters, data set and the files of record."""
    from mlflow.entities import Param

    store.client.log_batch(run.id, params=[Param(key, value) for key, value in flat.items()])
    store.client.log_inputs(run.id, [dataset_input(params.data)])
    with tempfile.TemporaryDirectory() as folder:
        for path in (PIPELINE, Path("requirements.lock")):
            if path.is_file():
                shutil.copy(path, folder)
        text = without_credentials(PARAMS.read_text(encoding="utf-8"))
        Path(folder, PARAMS.name).write_text(text, encoding="utf-8", newline="\n")
        if source.difference:
            Path(folder, "code.diff").write_text(source.difference, encoding="utf-8", errors="surrogateescape")
        with placing(store.uri):
            store.client.log_artifacts(run.id, folder)
