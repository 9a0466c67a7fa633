"""Read `dvc.yaml`, `dvc.lock` and `….dvc` files, also as older commits and other branches have them; run `split`.

A damaged file raises `ValueError` with a message of one line.
"""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from src.core.documents import keys, read_yaml
from src.core.errors import UserError
from src.core.files import digest

_Path = Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$")]
_Output = _Path | Annotated[dict[_Path, dict[str, Any]], Field(min_length=1)]  # a path, or a path with settings


class _Stage(BaseModel):
    """Hold the fields of a stage in `dvc.yaml` that are read here; it may have others."""

    params: list[Any] = []
    deps: list[_Path] = []
    outs: list[_Output] = []
    metrics: list[_Output] = []
    plots: list[_Output] = []


class _File(BaseModel):
    path: _Path
    md5: Annotated[str, Field(pattern=r"^([0-9a-f]{32}(\.dir)?)?$")] = ""
    size: int = 0


class _Locked(BaseModel):
    """Hold the fields of a stage in `dvc.lock` that are read here."""

    cmd: str | list[str]
    params: dict[str, dict[Any, Any]] = {}
    deps: list[_File] = []
    outs: list[_File] = []


def read_pipeline(text: str | bytes) -> dict[str, Any]:
    """Return the stages of a `dvc.yaml` by name."""
    return _stages(text, TypeAdapter(dict[str, _Stage]))


def read_lock(text: str | bytes) -> dict[str, Any]:
    """Return the stages of a `dvc.lock` by name."""
    return _stages(text, TypeAdapter(dict[str, _Locked]))


def _stages(text: str | bytes, shape: TypeAdapter[Any]) -> dict[str, Any]:
    stages = {name: keys(stage) for name, stage in keys(keys(read_yaml(text)).get("stages")).items()}
    try:
        shape.validate_python(stages, strict=True)
    except ValidationError as error:
        places = [" ".join(str(place).split()) for place in error.errors()[0]["loc"]]
        raise ValueError(f"{'.'.join(places)}: {error.errors()[0]['msg']}") from None
    return stages


def written(stage: Mapping[str, Any], cached: bool | None = None) -> list[Path]:
    """Return the paths that a stage of a `dvc.yaml` writes: all, or those that DVC's cache keeps, or that git keeps."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    detailed = [({entry: {}} if isinstance(entry, str) else entry) for entry in entries]
    settings = {path: of for entry in detailed for path, of in entry.items()}
    return [Path(path) for path, of in settings.items() if cached in (None, of.get("cache", True))]


def read_pointer(text: str | bytes) -> str:
    """Return the MD5 of the data that a `….dvc` file stands for."""
    match keys(read_yaml(text)):
        case {"outs": [{"md5": str(md5)}, *_]}:
            return md5
    raise ValueError("it has no outs with an md5")


def output_digest(path: Path) -> str | None:
    """Return the MD5 of a file or folder as a `dvc.lock` records it; None if nothing is there."""
    if not path.is_dir():
        return digest(path) if path.is_file() else None
    files = [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    listed = sorted((file.relative_to(path).as_posix(), digest(file)) for file in files)
    content = json.dumps([{"md5": md5, "relpath": name} for name, md5 in listed])
    return hashlib.md5(content.encode()).hexdigest() + ".dir"


def run_split() -> None:
    """Run `dvc repro split`, after which the prepared data are those of the parameters. Raises `UserError`."""
    if subprocess.run(["dvc", "repro", "split"], check=False).returncode:
        raise UserError("dvc repro split failed: repair what it says above")
