"""Read what a run starts from, which is known before a network is trained, and log it: parameters, data set, code."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from src.core import paths
from src.core.addresses import without_credentials
from src.core.git import CodeState, read_code_state
from src.data.prepared import read_dataset
from src.params.writing import load_recipe, names, recipe_of
from src.tracking import history, identity
from src.tracking.store import Store

COMMIT = "mlflow.source.git.commit"  # the tag with the commit of the code, which MLflow shows
_LONGEST = 6_000  # characters of a parameter that MLflow takes
_NAME = 100  # characters of a run's name


class Start(NamedTuple):
    """Hold what a run starts from, which is known before a network is trained."""

    name: str
    params: Mapping[str, str]
    tags: dict[str, str]
    dataset: Mapping[str, str] | None  # the fields of MLflow's `Dataset`
    files: Mapping[str, bytes]  # contents of parameters and code, by path in the run


def read_start() -> Start:
    """Read what a training starts from that begins now."""
    text, code = paths.PARAMS.read_text(encoding="utf-8"), read_code_state()
    flat = identity.parameters(text)
    return Start(run_name(flat, text), short(flat), code_tags(code), dataset_record(flat), source_files(code))


def log_start(store: Store, run_id: str, start: Start) -> None:
    """Log what a run starts from, as far as it lacks it: parameters, data set and files."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    run = store.client.get_run(run_id)
    if absent := [Param(key, value) for key, value in start.params.items() if key not in run.data.params]:
        store.client.log_batch(run_id, params=absent)
    if start.dataset and not (run.inputs and run.inputs.dataset_inputs):
        tags = [InputTag("mlflow.data.context", "training")]
        store.client.log_inputs(run_id, [DatasetInput(Dataset(**start.dataset), tags)])
    repository = store.artifacts(run.info.artifact_uri)
    if paths.PARAMS.name in {file.path for file in repository.list_artifacts()}:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(start.files, key=paths.PARAMS.name.__eq__):  # the parameters last: where they are, all are
            Path(folder, name).write_bytes(start.files[name])
            repository.log_artifact(str(Path(folder, name)))


def run_name(flat: Mapping[str, str], text: str) -> str:
    """Name a run by DVC's experiment, if any, its network and what differs from the recipe of the text."""
    differing = []
    if (recipe := recipe_of(text)) in names():
        usual = identity.flatten(load_recipe(recipe).model_dump(include=identity.SECTIONS))
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


def source_files(state: CodeState) -> dict[str, bytes]:
    """Return the contents of params.yaml, dvc.yaml, requirements.lock and code.diff by their names."""
    found = {paths.PARAMS.name: without_credentials(paths.PARAMS.read_text(encoding="utf-8")).encode()}
    found |= {path.name: path.read_bytes() for path in (paths.PIPELINE, paths.REQUIREMENTS) if path.is_file()}
    if state.difference:
        found["code.diff"] = state.difference.encode(errors="surrogateescape")
    return found


def code_tags(state: CodeState) -> dict[str, str]:
    """Return tags with the user, the commit of the code, and whether the code differed from it."""
    known = state.commit != "none"
    code = "unknown" if not known else "changed: code.diff" if state.difference else "as committed"
    commit = {COMMIT: state.commit} if known else {}
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
