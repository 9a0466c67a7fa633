"""A run for the model at hand that has none: it was pulled, or came out of DVC's cache of earlier runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas

from src.core import paths
from src.core.documents import read_object
from src.core.errors import UserError
from src.core.files import digest
from src.data.prepared import open_split
from src.evaluation import tables
from src.models import file
from src.models.classifier import Probabilities
from src.tracking import history
from src.tracking.history import State
from src.tracking.identity import parameters_digest
from src.tracking.run import Run, attach
from src.tracking.runs import existing_store, runs_of

_TRAINING = (paths.HISTORY, paths.STEPS, paths.TRAINING, paths.ENVIRONMENT, paths.VALIDATION_PREDICTIONS)
_LATER: Mapping[str, Sequence[Path]] = {
    "evaluate": (
        paths.METRICS,
        paths.PREDICTIONS,
        paths.PER_CLASS,
        paths.CONFUSION,
        paths.GROUPS,
        paths.CALIBRATION,
        paths.ROBUSTNESS,
    ),
    "visualize": (paths.LAYERS, paths.PAGE, paths.FIGURES),
}


class Made(NamedTuple):
    run_id: str
    missing: Sequence[Path]  # results that are not there, or not those of this model: the run lacks them


def sync() -> Made | None:
    """Makes or completes the run of the model in `models/`; None where it has one. Raises `UserError`.

    Only what `dvc.lock` says of this model is logged: results that differ from it are left out, and named.
    """
    if not paths.MODEL.is_file():
        raise UserError(f"{paths.MODEL} is missing: run dvc pull, or dvc repro")
    md5 = digest(paths.MODEL)
    states = history.states(md5)
    if not states or states[0].commit:
        raise UserError(f"{paths.LOCK} does not hold {paths.MODEL}: run dvc checkout, or dvc repro")
    if not paths.DATASET.is_file() or digest(paths.DATASET) != states[0].data_md5:
        raise UserError(f"{paths.DATASET} is not what {paths.LOCK} says: run dvc pull, or dvc checkout")
    store = existing_store()
    if store is not None and any(map(_whole, runs_of(store, md5))):
        return None
    results = _Results(paths.LOCK.read_bytes(), md5)
    with attach(paths.MODEL, "train", {}) as run:
        _log_training(run, states, results)
    for stage, files in _LATER.items():
        if present := results.present(files):
            with attach(paths.MODEL, stage, results.section(stage)) as run:
                if paths.METRICS in present:
                    measured = read_object(paths.METRICS)
                    run.log_metrics({f"test_{name}": value for name, value in measured.items() if value is not None})
                for result in present:
                    run.log_artifact(result, "reports")
    return Made(run.id, results.missing)


def _whole(run: Any) -> bool:
    """Whether training logged it, or this module, to the end: a later stage's own run has neither curves nor model."""
    tags: Mapping[str, str] = run.data.tags
    return tags.get("training") != "elsewhere" or tags.get("train.status") == "finished"


def _log_training(run: Run, states: Sequence[State], results: "_Results") -> None:
    """Parameters, curves, files and the model. The code is that of the commit that has the model, if one has."""
    parameters = dict(states[0].parameters)
    run.log_parameters(parameters)
    tags = {"params_digest": parameters_digest(parameters)}
    if commit := states[-1].commit:
        code = history.code_digest(commit, "train") or "unknown"
        tags |= {"base_commit": commit, "code_modified": "false", "code_digest": code, "train.code_digest": code}
    run.set_tags(tags)
    present = results.present(_TRAINING)
    run.log_model(Probabilities(file.load(paths.MODEL)[0]), open_split("train").images[:2], paths.MODEL)
    if paths.HISTORY in present:
        for row in tables.read(paths.HISTORY).to_dict("records"):
            values = {str(name): float(value) for name, value in row.items() if pandas.notna(value)}
            run.log_epoch(int(values.pop("epoch")), values)
    for result in present:
        run.log_artifact(result, "reports")


class _Results:
    """The files that `dvc.lock` lists as results of the model, where they have the contents that it says."""

    def __init__(self, lock: bytes, model_md5: str) -> None:
        self.stages = history.stages(lock)
        self.locked = history.outputs(self.stages, history.stages_of(self.stages, model_md5))
        self.missing: list[Path] = []

    def present(self, files: Sequence[Path]) -> list[Path]:
        found = [path for path in files if self._same(path)]
        self.missing += [path for path in files if path not in found]
        return found

    def _same(self, path: Path) -> bool:
        # Of a folder the digest is DVC's own: that of the page, which shows its pictures, has to do.
        if path == paths.FIGURES:
            return path.is_dir() and self._same(paths.PAGE)
        return path.is_file() and digest(path) == self.locked.get(path.as_posix())

    def section(self, stage: str) -> Mapping[str, Any]:
        """The stage's own parameters, which have its name."""
        section: Mapping[str, Any] = self.stages[stage]["params"][paths.PARAMS.name][stage]
        return section
