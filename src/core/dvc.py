"""Read `dvc.yaml`, `dvc.lock` and `….dvc`, those of older commits and other branches too: with bounds, and checked for
the form that DVC gives them.

What is wrong with one is a `ValueError` of one line.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from src.core.documents import keys, read_yaml
from src.core.files import digest

_Output = str | Annotated[dict[str, Any], Field(min_length=1)]  # a path, or a path with options


class _Stage(BaseModel):
    """One of `dvc.yaml`."""

    model_config = ConfigDict(strict=True)

    cmd: str | list[str] = ""  # DVC has none where a stage is a template of several
    deps: list[str] = []
    params: list[str | dict[str, Any]] = []
    outs: list[_Output] = []
    metrics: list[_Output] = []
    plots: list[_Output] = []


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True)

    path: str
    md5: str | None = None  # what comes from an address has another digest
    size: int | None = None


class _Locked(BaseModel):
    """One of `dvc.lock`."""

    model_config = ConfigDict(strict=True)

    cmd: str | list[str]
    deps: list[_Entry] = []
    outs: list[_Entry] = []
    params: dict[str, dict[str, Any]] = {}


class _Pointed(_Entry):
    md5: str


_PIPELINE, _LOCK = TypeAdapter(dict[str, _Stage]), TypeAdapter(dict[str, _Locked])
_POINTER = TypeAdapter(Annotated[list[_Pointed], Field(min_length=1)])


def read_pipeline(text: str | bytes) -> dict[str, Any]:
    """The stages of a `dvc.yaml` by name."""
    return _stages(text, _PIPELINE)


def read_lock(text: str | bytes) -> dict[str, Any]:
    """The stages of a `dvc.lock` by name."""
    return _stages(text, _LOCK)


def written(stage: Mapping[str, Any], *kinds: str) -> list[Path]:
    """What a stage of a `dvc.yaml` writes, of all kinds (`outs`, `metrics`, `plots`) or of some."""
    entries = [entry for kind in kinds or ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]


def read_pointer(text: str | bytes) -> str:
    """The MD5 of what a `….dvc` file stands for."""
    outputs: Any = keys(read_yaml(text)).get("outs")
    _check(outputs, _POINTER, "outs")
    return str(outputs[0]["md5"])


def output_digest(path: Path) -> str | None:
    """Return the MD5 that a `dvc.lock` has of a file or a folder; None where neither is there."""
    if not path.is_dir():
        return digest(path) if path.is_file() else None
    files = [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    listed = sorted((file.relative_to(path).as_posix(), digest(file)) for file in files)
    content = json.dumps([{"md5": md5, "relpath": name} for name, md5 in listed])
    return hashlib.md5(content.encode()).hexdigest() + ".dir"


def _stages(text: str | bytes, form: TypeAdapter[Any]) -> dict[str, Any]:
    found = keys(keys(read_yaml(text)).get("stages"))
    _check(found, form, "stages")
    return found


def _check(found: Any, form: TypeAdapter[Any], name: str) -> None:
    try:
        form.validate_python(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, (name, *first['loc'])))}: {first['msg']}") from None
