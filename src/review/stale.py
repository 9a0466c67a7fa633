"""Find results that were not made with the parameters, code and data beside them, from what git tracks alone.

DVC's own commands need the data: `dvc status` calls changed what is not on this machine, and
`dvc repro --dry --allow-missing` stops at the first missing file.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.core.dvc import read_pointer, written
from src.core.paths import DATASET, LOCK, METRICS, PARAMS, PIPELINE, VALIDATION_PREDICTIONS
from src.review.revision import Revision


def stale(revision: Revision) -> dict[str, list[str]]:
    """Return, by stage, the inputs that changed since `dvc.lock` was written, and the results that differ from it.

    Data that git does not track are compared by their digests: those of `data/images.dvc`, and in `dvc.lock` the one
    that a stage read with the one that another stage wrote. What no stage of `dvc.yaml` writes any more was not made by
    it, whatever `dvc.lock` says, from which DVC never removes the stages that were cut out of `dvc.yaml`. Stages of
    `matrix` and `foreach`, which DVC makes of one entry, are not looked at.
    """
    pipeline = {name: stage for name, stage in revision.pipeline.items() if not stage.keys() & {"matrix", "foreach"}}
    outputs = {path for stage in pipeline.values() for path in written(stage)}
    needed = [DATASET, *revision.read([VALIDATION_PREDICTIONS, METRICS])]
    unmade = [path for path in needed if not outputs & {path, *path.parents}]
    found = {PIPELINE.as_posix(): [f"no stage writes {path}: put back the one that did" for path in unmade]}
    locks = [lock for name, lock in revision.lock.items() if name in pipeline]
    made = {entry["path"]: entry.get("md5") for lock in locks for entry in lock.get("outs", [])}
    for name, stage in pipeline.items():
        if name not in revision.lock:
            found[name] = ["it never ran"]
            continue
        locked = revision.lock[name]
        reasons = found[name] = [] if stage.get("cmd") == locked["cmd"] else ["its command"]
        recorded = locked.get("params", {}).get(PARAMS.as_posix(), {})
        for key in stage.get("params", []):
            if isinstance(key, str):  # else it names the keys of another file
                value: Any = revision.params
                for part in key.split("."):
                    value = value.get(part) if isinstance(value, Mapping) else None
                if key not in recorded or recorded[key] != value:
                    reasons.append(f"{PARAMS}: {key}")
        read = {entry["path"]: entry.get("md5") for entry in locked.get("deps", [])}
        results = [path.as_posix() for path in written(stage, cached=False)]
        sources = [path for path in stage.get("deps", []) if path not in made]
        present = tracked_md5s(revision, [Path(path) for path in [*sources, *results]])
        for path in stage.get("deps", []):
            now = made.get(path) or present.get(path)
            if path not in read or (now is not None and now != read[path]):
                reasons.append(path)
        for path in map(Path.as_posix, written(stage)):
            if path not in made:
                reasons.append(f"{path} is not in {LOCK}")
            elif path in results and path not in present:
                reasons.append(f"{path} is missing")
            elif path in results and present[path] != made[path]:
                reasons.append(f"{path} is not the one that it wrote")
    return {name: why for name, why in found.items() if why}


def leads_to(stages: Iterable[str], output: Path, pipeline: Mapping[str, Any]) -> bool:
    """Tell if an output comes from one of the stages, or from one that follows them.

    A stage that is not in the pipeline may have made anything.
    """
    outputs: set[str] = set()
    reached = list(stages)
    if not set(reached) <= set(pipeline):
        return True
    for each in reached:  # the list grows in the loop
        outputs |= {path.as_posix() for path in written(pipeline[each])}
        followers = (name for name, other in pipeline.items() if outputs & set(other.get("deps", [])))
        reached += [name for name in followers if name not in reached]
    return output.as_posix() in outputs


def tracked_md5s(revision: Revision, paths: Sequence[Path]) -> dict[str, str]:
    """Return the MD5 that DVC would record of each path that git tracks completely, or tracks by a `….dvc` file.

    That of a folder is over a list of its files as JSON, followed by `.dir`.
    """
    pointers = revision.read([path.with_name(f"{path.name}.dvc") for path in paths])
    listed = revision.listed(paths)
    md5s = {path: hashlib.md5(content).hexdigest() for path, content in revision.read(listed).items()}
    found = {}
    for path in paths:
        pointer = path.with_name(f"{path.name}.dvc")
        inside = sorted((file.relative_to(path).as_posix(), md5) for file, md5 in md5s.items() if path in file.parents)
        if pointer in pointers:
            try:
                found[path.as_posix()] = read_pointer(pointers[pointer])
            except ValueError as error:
                raise revision.damaged(pointer, f"cannot be read ({error})", f"run dvc add {path}") from None
        elif path in md5s:
            found[path.as_posix()] = md5s[path]
        # A .gitkeep shows that git tracks the folder, but not what is in it.
        elif inside and not any(Path(name).name == ".gitkeep" for name, _ in inside):
            entries = [{"md5": md5, "relpath": name} for name, md5 in inside]
            found[path.as_posix()] = f"{hashlib.md5(json.dumps(entries).encode()).hexdigest()}.dir"
    return found
