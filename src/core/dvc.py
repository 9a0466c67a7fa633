"""Read `dvc.yaml`, `dvc.lock` and `….dvc`, those of older commits and other branches too.

What is wrong with one is a `ValueError` of one line.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, create_model

from src.core.documents import keys, read_yaml
from src.core.files import digest

# The shapes of what is read here; a stage may have more.
_Path = Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$")]
_shape: Any = create_model
_written: Any = (list[_Path | Annotated[dict[_Path, Any], Field(min_length=1)]], [])
_entries: Any = (list[_shape("Entry", path=_Path, md5=(str, ""), size=(int, 0))], [])  # type: ignore[misc]
_STAGE = _shape("Stage", params=(list, []), deps=(list[_Path], []), outs=_written, metrics=_written, plots=_written)
_LOCKED = _shape("Locked", cmd=str | list[str], params=(dict[str, dict[Any, Any]], {}), deps=_entries, outs=_entries)


def read_pipeline(text: str | bytes, shape: Any = _STAGE) -> dict[str, Any]:
    """Return the stages of a `dvc.yaml` by name."""
    stages = {name: keys(stage) for name, stage in keys(keys(read_yaml(text)).get("stages")).items()}
    try:
        TypeAdapter(dict[str, shape]).validate_python(stages, strict=True)
    except ValidationError as error:
        places = [" ".join(str(place).split()) for place in error.errors()[0]["loc"]]
        raise ValueError(f"{'.'.join(places)}: {error.errors()[0]['msg']}") from None
    return stages


read_lock = partial(read_pipeline, shape=_LOCKED)  # a `dvc.lock` has its stages in the same place


def written(stage: Mapping[str, Any], *kinds: str) -> list[Path]:
    """Return what a stage of a `dvc.yaml` writes, of all kinds (`outs`, `metrics`, `plots`) or of some."""
    entries = [entry for kind in kinds or ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]


def read_pointer(text: str | bytes) -> str:
    """Return the MD5 of what a `….dvc` file stands for."""
    match keys(read_yaml(text)):
        case {"outs": [{"md5": str(md5)}, *_]}:
            return md5
    raise ValueError("it has no outs with an md5")


def output_digest(path: Path) -> str | None:
    """Return the MD5 that a `dvc.lock` has of a file or a folder; None where neither is there."""
    if not path.is_dir():
        return digest(path) if path.is_file() else None
    files = [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    listed = sorted((file.relative_to(path).as_posix(), digest(file)) for file in files)
    content = json.dumps([{"md5": md5, "relpath": name} for name, md5 in listed])
    return hashlib.md5(content.encode()).hexdigest() + ".dir"
