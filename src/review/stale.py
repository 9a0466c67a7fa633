"""Are the committed numbers those of the committed parameters and code? Read from what git tracks, data never needed.

`dvc status` asks the same of a working tree, but calls everything that is not on this machine changed too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.dvc_files import read_pointer, written
from src.paths import PARAMS
from src.revision import Revision

_ABSENT = object()


def stale(revision: Revision) -> dict[str, list[str]]:
    """By stage, what `dvc.lock` was not made with (parameters, code, commands), and files in git that it did not make.

    Photos below data/images count where DVC tracks them (`data/images.dvc` holds their digest); else git does not know
    them. Data count by their digests: a stage that read another output than the one that `dvc.lock` has now.
    """
    found = {}
    made = {entry["path"]: entry.get("md5") for stage in revision.lock.values() for entry in stage.get("outs", [])}
    for name, stage in revision.pipeline.items():
        locked = revision.lock.get(name)
        reasons = ["it never ran"] if locked is None else list(_reasons(revision, stage, locked, made))
        if reasons:
            found[name] = reasons
    return found


def leads_to(stage: str, output: Path, pipeline: Mapping[str, Any]) -> bool:
    """Whether the output comes from the stage, or from one that follows it."""
    outputs = {path.as_posix() for path in written(pipeline[stage])}
    if output.as_posix() in outputs:
        return True
    followers = (name for name, other in pipeline.items() if outputs & set(other.get("deps", [])))
    return any(leads_to(follower, output, pipeline) for follower in followers)


def _reasons(
    revision: Revision, stage: Mapping[str, Any], locked: Mapping[str, Any], made: Mapping[str, str | None]
) -> Iterator[str]:
    if stage.get("cmd") != locked["cmd"]:
        yield "its command"
    before = locked.get("params", {}).get(PARAMS.as_posix(), {})
    for key in stage.get("params", []):
        if not isinstance(key, str):
            continue  # those of another file
        if before.get(key, _ABSENT) != _value(revision.params, key):
            yield f"{PARAMS}: {key}"
    dependencies = {entry["path"]: entry.get("md5") for entry in locked.get("deps", [])}
    present = _digests(revision, [Path(path) for path in stage.get("deps", []) if path not in made])
    for path in stage.get("deps", []):
        now = made.get(path) or present.get(path)
        if path not in dependencies or (now is not None and now != dependencies[path]):
            yield path
    outputs = {entry["path"]: entry.get("md5") for entry in locked.get("outs", [])}
    kept = [path for path in written(stage, "metrics", "plots") if path.as_posix() in outputs]
    for path, content in revision.read(kept).items():
        if hashlib.md5(content).hexdigest() != outputs[path.as_posix()]:
            yield f"{path} is not the one that it wrote"


def _value(params: Mapping[str, Any], key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _digests(revision: Revision, paths: Sequence[Path]) -> dict[str, str]:
    """DVC's md5 of each path that git tracks as a whole; none of those that it does not.

    Of a folder that is the md5 of its files' names and md5s as JSON, with `.dir` after it.
    """
    pointers = revision.read([path.with_name(f"{path.name}.dvc") for path in paths])
    found = {}
    listed = revision.listed(paths)
    contents = revision.read(listed)
    for path in paths:
        pointer = path.with_name(f"{path.name}.dvc")
        if pointer in pointers:
            try:
                found[path.as_posix()] = read_pointer(pointers[pointer])
            except ValueError as error:
                revision.refuse(pointer, f"cannot be read ({error})", f"run dvc add {path}")
        elif path in contents:
            found[path.as_posix()] = hashlib.md5(contents[path]).hexdigest()
        elif files := {file.relative_to(path): contents[file] for file in listed if file.is_relative_to(path)}:
            if any(file.name == ".gitkeep" for file in files):
                continue  # git keeps the folder, not what is in it
            entries = [
                {"md5": hashlib.md5(content).hexdigest(), "relpath": file.as_posix()}
                for file, content in sorted(files.items(), key=lambda item: item[0].as_posix())
            ]
            found[path.as_posix()] = f"{hashlib.md5(json.dumps(entries).encode()).hexdigest()}.dir"
    return found
