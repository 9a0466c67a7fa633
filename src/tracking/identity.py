"""Identify what made a model by its content, committed or not: digests of parameters, data and code."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from src.core.addresses import without_credentials
from src.core.documents import keys, read_yaml
from src.core.dvc import read_pipeline
from src.core.files import digest
from src.core.paths import DATASET, PIPELINE
from src.params import Params

# The sections that download, split and train read, as `dvc.lock` records them: what can change a model.
SECTIONS = {"seed", "data", "split", "model", "train"}


def parameters(text: str | bytes) -> dict[str, str]:
    """Return the parameters of download, split and train in a `params.yaml`, by dotted key: `train.optimizer.lr`.

    They are the same that `dvc.lock` records, read as DVC reads them, so that both spell 0 and 0.0 alike.
    """
    raw = keys(read_yaml(text))
    flat = flatten({section: value for section, value in raw.items() if section in SECTIONS})
    return {key: without_credentials(value) for key, value in flat.items()}


def flatten(section: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return nested values as text by dotted key."""
    flat: dict[str, str] = {}
    for key, value in section.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = text(value)
    return flat


def text(value: object) -> str:
    """Spell a parameter as `params.yaml` does: null, true, 0.001, [0.5, 0.5]; a text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)  # YAML has dates


def parameters_digest(flat: Mapping[str, str]) -> str:
    """Return the MD5 of flat parameters: independent of order, layout and comments in the file."""
    return hashlib.md5(json.dumps(flat, sort_keys=True).encode()).hexdigest()


def training_key(params: Params, environment: Mapping[str, object]) -> str:
    """Return the digest of all that determines a training's bits: parameters, data, code, versions and device."""
    parts = [flatten(params.model_dump(include={"seed", "model", "train"})), dict(environment)]
    content = json.dumps([*parts, data_digest(), code_digest()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def recipe_digest(params: Params, data_md5: str) -> str:
    """Return twelve hexadecimal digits that stand for everything but the seed: data, splits, network, training."""
    settings = flatten(params.model_dump(include={"split", "model", "train"}))
    return parameters_digest(settings | {"data": data_md5})[:12]


def data_digest() -> str:
    """Return the MD5 of `dataset.json`, which holds the arrays' checksums."""
    return digest(DATASET)


def code_digest() -> str:
    """Return the MD5 over names and contents of the Python files that `dvc.yaml` lists for the stage train."""
    contents: dict[str, str] = {}
    for entry in map(Path, read_pipeline(PIPELINE.read_bytes())["train"]["deps"]):
        files = entry.rglob("*.py") if entry.is_dir() else [entry]
        contents |= {file.as_posix(): digest(file) for file in files if file.suffix == ".py"}
    return hashlib.md5(json.dumps(contents, sort_keys=True).encode()).hexdigest()
