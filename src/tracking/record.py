"""Read from files everything that MLflow shows of the model in `models/`."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from src.core import paths
from src.core.documents import read_object
from src.core.dvc import output_digest, read_pipeline, written
from src.core.errors import UserError
from src.core.files import digest
from src.core.git import CodeState, diagnosis, read_code_state
from src.evaluation import metric_files
from src.tracking import cost, history, identity
from src.tracking.start import Start, code_tags, dataset_record, run_name, short, source_files

_ROBUSTNESS = re.compile(r"robustness_(images)|([a-z_]+_[\d.e-]+_accuracy)")  # among the metrics


class Record(NamedTuple):
    """Hold a run as files have it."""

    model_md5: str
    start: Start
    note: str  # the run's description
    tags: Mapping[str, str]
    metrics: Mapping[str, float]  # of the kept weights
    curves: Mapping[int, Mapping[str, float]]  # by epoch
    files: Mapping[str, Path]  # results, by path in the run
    digests: Mapping[str, Any]  # of model, data, parameters, code and files; and the note
    missing: Sequence[Path]  # results that the run lacks, since they are not here or belong to another model


def read_record(fresh: str = "") -> Record:
    """Read the results that `dvc.lock` lists for the model in `models/`, as far as files have that content.

    fresh: a stage that has just written its results, which DVC has not recorded yet. Raises `UserError` where
    `dvc.lock` does not hold the model.
    """
    if not paths.MODEL.is_file():
        raise UserError(f"{paths.MODEL} is missing: run dvc pull, or dvc repro")
    md5 = digest(paths.MODEL)
    lock = paths.LOCK.read_bytes() if paths.LOCK.is_file() else b""
    state = history.state_in(lock)
    if state is None or state.model_md5 != md5:
        reason = diagnosis(lock, f"does not hold {paths.MODEL}", "run dvc checkout, or dvc repro")
        raise UserError(f"{paths.LOCK} {': '.join(reason)}")

    # The results in `reports/` that belong to this model.
    locked, flat = history.stages(lock), state.parameters
    expected = history.outputs(locked, [stage for stage in history.stages_of(locked, md5) if stage != fresh])
    reports = [path for path in map(Path, expected) if path.is_relative_to(paths.REPORTS)]
    present = [path for path in reports if output_digest(path) == expected[path.as_posix()]]
    missing = [path for path in reports if path not in present]
    if fresh:
        stage = read_pipeline(paths.PIPELINE.read_bytes())[fresh]
        present += [path for path in written(stage) if path.is_relative_to(paths.REPORTS)]
    within = [file for path in present for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    files = {file.as_posix(): file for file in within if file.is_file()}

    # What it started from, unless that was edited since.
    text = paths.PARAMS.read_text(encoding="utf-8")
    if history.differences(identity.parameters(text), flat):
        missing.append(paths.PARAMS)
    if output_digest(paths.DATASET) != state.data_md5:
        missing.append(paths.DATASET)
    dependencies = {Path(entry["path"]): entry["md5"] for entry in locked["train"]["deps"]}
    code = {path.as_posix(): found for path, found in dependencies.items() if path.parts[0] in ("src", "stages")}
    if all(output_digest(Path(path)) == found for path, found in code.items()):
        code_state = read_code_state()
    else:  # it is in the commit that holds the model, if there is one
        code_state = CodeState(next((state.commit for state in history.states(md5) if state.commit), "none"), "")

    training = read_object(paths.TRAINING) if paths.TRAINING in present else {}
    tested = metric_files.read() if paths.METRICS in present and paths.MEASURED not in missing else {}
    environment = read_object(paths.ENVIRONMENT) if paths.ENVIRONMENT in present else {}
    spent = cost.read(md5)
    machine = {"machine": spent["machine"]} if spent.get("machine") else {}
    note = _note(training, tested)
    return Record(
        model_md5=md5,
        start=Start(
            name=run_name(flat, text),
            params=short(flat),
            tags=code_tags(code_state),
            dataset=dataset_record(flat) if paths.DATASET not in missing else None,
            files=source_files(code_state) if paths.PARAMS not in missing else {},
        ),
        note=note,
        tags={"model_md5": md5, **machine, **{key: str(value) for key, value in environment.items()}},
        metrics=_metrics(training, tested, spent),
        curves=_curves() if paths.HISTORY in present else {},
        files=files,
        digests={
            "model": md5,
            "note": note,
            "data": state.data_md5,
            "parameters": identity.parameters_digest(flat),
            "code": code,
            "files": {name: digest(file) for name, file in files.items()},
        },
        missing=missing,
    )


def _note(training: Mapping[str, Any], tested: Mapping[str, Any]) -> str:
    """Say in one line how good the model is."""
    if tested.get("images"):
        return f"test accuracy {metric_files.accuracy_sentence(tested)}"
    if training.get("validation_accuracy") is not None:
        return f"validation accuracy {100 * training['validation_accuracy']:.2f} %"
    return "neither test nor validation images"


def _metrics(training: Mapping[str, Any], tested: Mapping[str, Any], spent: Mapping[str, Any]) -> dict[str, float]:
    """Name numbers: `validation_accuracy`, `test/accuracy`, `robustness/shift_1_accuracy`, `cost/training_seconds`."""
    named = {**training, **{f"cost/{key}": value for key, value in spent.items()}}
    for key, value in tested.items():
        robust = _ROBUSTNESS.fullmatch(key)
        named[f"robustness/{robust[1] or robust[2]}" if robust else f"test/{key}"] = value
    return {key: float(value) for key, value in named.items() if isinstance(value, int | float)}


def _curves() -> dict[int, dict[str, float]]:
    """Return the numbers of each epoch in `reports/history.csv`; those of validation are absent without images."""
    from src.evaluation import tables  # imports pandas, which takes a second

    curves = {}
    for row in tables.read(paths.HISTORY, "epoch").to_dict("records"):
        epoch = int(row.pop("epoch"))
        curves[epoch] = {f"epoch/{key}": float(value) for key, value in row.items() if not math.isnan(value)}
    return curves
