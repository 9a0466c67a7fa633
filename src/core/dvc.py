"""Read `dvc.yaml`, `dvc.lock` and `….dvc`, those of older commits and other branches too.

What is wrong with one is a `ValueError` of one line.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.core.documents import keys, read_yaml
from src.core.files import digest


def read_pipeline(text: str | bytes) -> dict[str, Any]:
    """Return the stages of a `dvc.yaml` by name."""
    return {name: keys(stage) for name, stage in keys(keys(read_yaml(text)).get("stages")).items()}


read_lock = read_pipeline  # a `dvc.lock` has its stages in the same place


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
