"""Read from files everything that MLflow shows of the model in `models/`."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from src.core import paths
from src.core.addresses import without_credentials
from src.core.documents import read_object
from src.core.dvc import output_digest, read_pipeline, written
from src.core.errors import UserError
from src.core.files import digest
from src.core.git import CodeState, diagnosis, read_code_state
from src.data.prepared import read_dataset
from src.evaluation import metric_files
from src.params.writing import load_recipe, names
from src.tracking import cost, history, identity

COMMIT = "mlflow.source.git.commit"  # the tag with the commit of the code, which MLflow shows
NOTE = "mlflow.note.content"  # the tag that MLflow shows as the description of a run
_LONGEST = 6_000  # characters of a parameter that MLflow takes
_NAME = 100  # characters of a run's name
_ROBUSTNESS = re.compile(r"robustness_(images)|([a-z_]+_[\d.e-]+_accuracy)")  # among the metrics


class Start(NamedTuple):
    """Hold what a run starts from, which is known before a network is trained."""

    name: str
    params: Mapping[str, str]
    tags: dict[str, str]
    dataset: Mapping[str, str] | None  # the fields of MLflow's `Dataset`
    files: Mapping[str, bytes]  # contents of parameters and code, by path in the run


class Record(NamedTuple):
    """Hold a run as files have it."""

    model_md5: str
    start: Start
    tags: Mapping[str, str]
    metrics: Mapping[str, float]  # of the kept weights
    curves: Mapping[int, Mapping[str, float]]  # by epoch
    files: Mapping[str, Path]  # results, by path in the run
    digests: Mapping[str, Any]  # of model, data, parameters, code and files; and the run's description
    missing: Sequence[Path]  # results that the run lacks, since they are not here or belong to another model


def read_start() -> Start:
    """Read what a training starts from that begins now."""
    text, code = paths.PARAMS.read_text(encoding="utf-8"), read_code_state()
    flat = identity.parameters(text)
    return Start(run_name(flat, text), short(flat), code_tags(code), dataset_record(flat), origin(code))


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
    locked, flat = history.stages(lock), state.parameters
    own = [stage for stage in history.stages_of(locked, md5) if stage != fresh]
    expected = history.outputs(locked, own)
    reports = [path for path in map(Path, expected) if path.is_relative_to(paths.REPORTS)]
    present = [path for path in reports if output_digest(path) == expected[path.as_posix()]]
    missing = [path for path in reports if path not in present]
    if fresh:
        stage = read_pipeline(paths.PIPELINE.read_bytes())[fresh]
        present += [path for path in written(stage) if path.is_relative_to(paths.REPORTS)]
    within = [file for path in present for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    files = {file.as_posix(): file for file in within if file.is_file()}

    text = paths.PARAMS.read_text(encoding="utf-8")
    if history.differences(identity.parameters(text), flat):
        missing.append(paths.PARAMS)
    if output_digest(paths.DATASET) != state.data_md5:
        missing.append(paths.DATASET)
    dependencies = {Path(entry["path"]): entry["md5"] for entry in locked["train"]["deps"]}
    code = {path.as_posix(): found for path, found in dependencies.items() if path.parts[0] in ("src", "stages")}
    if all(output_digest(Path(path)) == found for path, found in code.items()):
        code_state = read_code_state()
    else:  # the code was edited since; it is in the commit that holds the model, if there is one
        code_state = CodeState(next((state.commit for state in history.states(md5) if state.commit), "none"), "")
    training = read_object(paths.TRAINING) if paths.TRAINING in present else {}
    tested = metric_files.read() if paths.METRICS in present and paths.MEASURED not in missing else {}
    environment = read_object(paths.ENVIRONMENT) if paths.ENVIRONMENT in present else {}
    spent = cost.read(md5)
    machine = {"machine": spent["machine"]} if spent.get("machine") else {}
    # Names as `validation_accuracy`, `test/accuracy`, `robustness/shift_1_accuracy`, `cost/training_seconds`.
    metrics = training | {f"cost/{key}": value for key, value in spent.items()}
    for key, value in tested.items():
        robust = _ROBUSTNESS.fullmatch(key)
        metrics[f"robustness/{robust[1] or robust[2]}" if robust else f"test/{key}"] = value
    if tested.get("images"):
        note = f"test accuracy {metric_files.accuracy_sentence(tested)}"
    elif training.get("validation_accuracy") is not None:
        note = f"validation accuracy {100 * training['validation_accuracy']:.2f} %"
    else:
        note = "neither test nor validation images"
    from src.evaluation import tables  # imports pandas, which `src.tracking.sender` does not need

    rows = tables.read(paths.HISTORY, "epoch").to_dict("records") if paths.HISTORY in present else []
    return Record(
        model_md5=md5,
        start=Start(
            name=run_name(flat, text),
            params=short(flat),
            tags=code_tags(code_state),
            dataset=dataset_record(flat) if paths.DATASET not in missing else None,
            files=origin(code_state) if paths.PARAMS not in missing else {},
        ),
        tags={"model_md5": md5, **machine, **{key: str(value) for key, value in environment.items()}},
        metrics={key: float(value) for key, value in metrics.items() if isinstance(value, int | float)},
        curves={  # validation is absent where there were no images
            int(row["epoch"]): {
                f"epoch/{key}": float(value) for key, value in row.items() if key != "epoch" and not math.isnan(value)
            }
            for row in rows
        },
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


def run_name(flat: Mapping[str, str], text: str) -> str:
    """Name a run by DVC's experiment, if any, its network and what differs from the recipe in line 1 of `text`."""
    recipe = re.match(r"# ([\w-]+):", text)
    differing = []
    if recipe and recipe[1] in names():
        usual = identity.flatten(load_recipe(recipe[1]).model_dump(include=identity.SECTIONS))
        for key in history.differences(flat, usual):
            if key in flat and key not in ("data.title", "data.sha256", "model.name"):
                differing.append(f"{key.removeprefix('train.').removeprefix('model.')}={flat[key]}")
    parts = (os.environ.get("DVC_EXP_NAME"), flat["model.name"], ", ".join(differing))
    name = " · ".join(part for part in parts if part)
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def short(flat: Mapping[str, str]) -> dict[str, str]:
    """Replace values that are too long for MLflow; the run's `params.yaml` has them in full."""
    long = {key: f"{len(value):,} characters: see params.yaml" for key, value in flat.items() if len(value) > _LONGEST}
    return {**flat, **long}


def origin(state: CodeState) -> dict[str, bytes]:
    """Return the contents of params.yaml, dvc.yaml, requirements.lock and code.diff by their names."""
    found = {paths.PARAMS.name: without_credentials(paths.PARAMS.read_text(encoding="utf-8")).encode()}
    found |= {path.name: path.read_bytes() for path in (paths.PIPELINE, paths.REQUIREMENTS) if path.is_file()}
    if state.difference:
        found["code.diff"] = state.difference.encode(errors="surrogateescape")
    return found


def code_tags(state: CodeState) -> dict[str, str]:
    """Return tags with the user, the commit of the code, and whether the code differed from it."""
    code = {"true": "changed: code.diff", "false": "as committed", "unknown": "unknown"}[state.modified]
    commit = {} if state.commit == "none" else {COMMIT: state.commit}
    source = {"mlflow.source.name": "stages/train.py", "mlflow.source.type": "LOCAL"}
    return {"code": code, **commit, **source, "mlflow.user": psutil.Process().username()}


def dataset_record(flat: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of MLflow's `Dataset`, which its own functions would make by reading all images."""
    prepared = read_dataset()
    image = prepared.image
    pixels = {
        "type": "tensor",
        "tensor-spec": {"dtype": "uint8", "shape": [-1, image.height, image.width, image.channels]},
    }
    labels = {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}
    counts = {f"{name}_images": split.count for name, split in prepared.splits.items()}
    source = flat["data.source"]
    return {
        "name": prepared.name,
        "digest": identity.data_digest()[:8],  # as short as MLflow's own digests
        "source_type": "http" if "://" in source else "local",
        "source": json.dumps({"uri": prepared.name if source == "null" else source}),
        "schema": json.dumps(
            {"mlflow_tensorspec": {"features": json.dumps([pixels]), "targets": json.dumps([labels])}}
        ),
        "profile": json.dumps({"classes": len(prepared.classes), **counts}),
    }
