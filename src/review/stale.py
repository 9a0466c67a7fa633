"""Find numbers that are not those of the parameters and code beside them, in what git tracks: no data are needed.

`dvc status` asks the same of a working tree, but calls everything that is not on this machine changed too, and
`dvc repro --dry --allow-missing` stops at the first file that is missing.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.core.dvc import read_pointer, written
from src.core.paths import METRICS, PARAMS, PIPELINE
from src.review.revision import Revision


def stale(revision: Revision, since: Revision | None = None) -> dict[str, list[str]]:
    """List, by stage, inputs that changed since `dvc.lock` was written, and committed results that differ from it.

    Photos below data/images count where DVC tracks them (`data/images.dvc` holds their digest); else git does not know
    them. Data count by their digests: a stage that read another output than the one that `dvc.lock` has now.
    since: stages that made the numbers there, and that the revision has no more, are listed too.
    """
    made = {entry["path"]: entry.get("md5") for stage in revision.lock.values() for entry in stage.get("outs", [])}
    found = {
        name: list(reasons(revision, stage, revision.lock[name], made)) if name in revision.lock else ["it never ran"]
        for name, stage in revision.pipeline.items()
    }
    if since is not None and not revision.pipeline:
        return {PIPELINE.as_posix(): ["it has no stages"]}
    before = {} if since is None else since.pipeline
    for name in before:
        if name not in revision.pipeline and leads_to([name], METRICS, before):
            found[name] = [f"{PIPELINE} has it no more"]
    return {name: why for name, why in found.items() if why}


def leads_to(stages: Iterable[str], output: Path, pipeline: Mapping[str, Any]) -> bool:
    """Tell if the output comes from one of the stages, or from one that follows them.

    Of a stage that the pipeline does not have nothing is known, so that it may come from there.
    """
    outputs: set[str] = set()
    reached = list(stages)
    if not set(reached) <= set(pipeline):
        return True
    for each in reached:  # which grows
        outputs |= {path.as_posix() for path in written(pipeline[each])}
        followers = (name for name, other in pipeline.items() if outputs & set(other.get("deps", [])))
        reached += [name for name in followers if name not in reached]
    return output.as_posix() in outputs


def reasons(
    revision: Revision, stage: Mapping[str, Any], locked: Mapping[str, Any], made: Mapping[str, str | None]
) -> Iterator[str]:
    """Yield what a stage was not run with, or did not write; `made`: the md5 of every output by its path."""
    if stage.get("cmd") != locked["cmd"]:
        yield "its command"
    before = locked.get("params", {}).get(PARAMS.as_posix(), {})
    for key in stage.get("params", []):
        # A key that is no text stands for those of another file.
        if isinstance(key, str):
            value: Any = revision.params
            for part in key.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            if key not in before or before[key] != value:
                yield f"{PARAMS}: {key}"
    read = {entry["path"]: entry.get("md5") for entry in locked.get("deps", [])}
    present = tracked_md5s(revision, [Path(path) for path in stage.get("deps", []) if path not in made])
    for path in stage.get("deps", []):
        now = made.get(path) or present.get(path)
        if path not in read or (now is not None and now != read[path]):
            yield path
    results = [path for path in written(stage, "metrics", "plots") if path.as_posix() in made]
    contents = revision.read(results)
    for path in results:
        if path not in contents:
            yield f"{path} is missing"
        elif hashlib.md5(contents[path]).hexdigest() != made[path.as_posix()]:
            yield f"{path} is not the one that it wrote"


def tracked_md5s(revision: Revision, paths: Sequence[Path]) -> dict[str, str]:
    """Return DVC's md5 of each path that git tracks completely.

    Of a folder that is the md5 of its files' names and md5s as JSON, with `.dir` after it.
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
                revision.refuse(pointer, f"cannot be read ({error})", f"run dvc add {path}")
        elif path in md5s:
            found[path.as_posix()] = md5s[path]
        # With a .gitkeep git keeps the folder, not what is in it.
        elif inside and not any(Path(name).name == ".gitkeep" for name, _ in inside):
            entries = [{"md5": md5, "relpath": name} for name, md5 in inside]
            found[path.as_posix()] = f"{hashlib.md5(json.dumps(entries).encode()).hexdigest()}.dir"
    return found
