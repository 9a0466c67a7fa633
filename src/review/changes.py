"""Find what differs between two revisions besides the answers: metrics, parameters, data, code, packages, environment.

A change has the `name` of a value, and the value as text in `base` and in `head`, None where it is missing.
"""

import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from src.core.addresses import without_credentials
from src.core.documents import yaml_lines
from src.core.git import checked_git
from src.core.paths import DATASET, ENVIRONMENT, PARAMS, PIPELINE, RAW, REQUIREMENTS
from src.data.prepared import SPLITS, split_folder
from src.review.revision import Revision, texts
from src.tracking.identity import flatten

_CODE = ("src", "stages", PIPELINE.as_posix())

Changes = list[dict[str, Any]]


def metrics(base: Revision, head: Revision) -> Changes:
    """Return the numbers of training and test that differ, without the ends of intervals.

    An arrow shows in which direction a number went. It does not say which is better: nothing was tested.
    """
    before, after = (
        {key: value for key, value in each.numbers.items() if isinstance(value, int | float) and "_ci_" not in key}
        for each in (base, head)
    )
    changes = _differing(*({key: _number(key, value) for key, value in side.items()} for side in (before, after)))
    for change in changes:
        name = change["name"]
        if name in before and name in after:
            difference = after[name] - before[name]
            text = f"{_number(name, difference, '+')} {'↑' if difference > 0 else '↓'}"
            change["difference"] = text.replace("-", "−")
    return changes


def _number(name: str, value: float, sign: str = "") -> str:
    """Write a metric; with the sign "+", a difference of two."""
    if name.removesuffix("_calibrated").endswith(("accuracy", "f1", "ece")):
        return f"{100 * value:{sign}.2f} {'points' if sign else '%'}"
    return f"{value:{sign},}" if isinstance(value, int) else f"{value:{sign},.{4 if sign else 6}g}"


def parameters(base: Revision, head: Revision) -> Changes:
    """Return the parameters that differ, each with its `line` in the head's file."""
    sides = (flatten(each.params) for each in (base, head))
    found = _differing(*({key: without_credentials(value) for key, value in side.items()} for side in sides))
    lines = yaml_lines(head.text(PARAMS)) if head.params else {}
    return [{**change, "line": lines.get(change["name"])} for change in found]


def cost(base: Revision, head: Revision) -> Changes:
    """Return how many parameters both models have and their sizes, as numbers, whether they differ or not."""
    names = ("parameters", "size_mib")
    sides = [
        {name: value for name, value in each.numbers.items() if isinstance(value, int | float) and isfinite(value)}
        for each in (base, head)
    ]
    return [{"name": name, "base": sides[0].get(name), "head": sides[1].get(name)} for name in names]


def environment(base: Revision, head: Revision) -> Changes:
    """Return what differs of the device, precision, threads and versions with which both were trained."""
    return _differing(*(flatten(each.json(ENVIRONMENT)) for each in (base, head)))


def packages(base: Revision, head: Revision) -> Changes:
    """Return the versions in `requirements.lock` that differ."""
    pinned = (dict(re.findall(r"^([\w.\-]+)==([^\s;\\]+)", each.text(REQUIREMENTS), re.M)) for each in (base, head))
    return _differing(*pinned)


def data(base: Revision, head: Revision) -> Changes:
    """Return which fetched and prepared data differ, by their digests and sizes in `dvc.lock`."""
    places = [RAW, DATASET, *map(split_folder, SPLITS)]
    outputs = ({path.as_posix(): each.output(path) for path in places if each.output(path)} for each in (base, head))
    return _differing(*(
        {path: f"{out.get('md5', 'unknown')[:9]}, {out.get('size', 0):,} bytes" for path, out in side.items()}
        for side in outputs
    ))  # fmt: skip


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    """Return the values that differ, by name."""
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    return [{"name": name, "base": before.get(name), "head": after.get(name)} for name in names]


def code(base: Revision, head: Revision) -> Changes:
    """Return the files of code that differ and that a stage uses, and the pipeline if a stage differs in it.

    Each has the numbers of lines `added` and `removed`, None if it is binary, and these `stages`.
    """
    ends = [revision.commit for revision in (base, head) if revision.commit]
    options = ("--numstat", "--no-renames", "--no-ext-diff", "--no-textconv", "--relative", "-z")
    lines = {}
    for row in texts(checked_git("diff", *options, *ends, "--", *_CODE)):
        *counts, name = row.split("\t", 2)
        lines[name] = [None if count == "-" else int(count) for count in counts]
    if head.commit is None:
        untracked = texts(checked_git("ls-files", "-z", "--others", "--exclude-standard", "--", *_CODE))
        for path in filter(Path.is_file, map(Path, untracked)):  # an editor's lock is a link to nowhere
            lines[str(path)] = [len(path.read_bytes().splitlines()), 0]
    changes: Changes = []
    for file, (added, removed) in sorted(lines.items()):
        stages = [
            name
            for name, stage in head.pipeline.items()
            if any(Path(file).is_relative_to(path) for path in stage.get("deps", []))
            or (file == PIPELINE.as_posix() and stage != base.pipeline.get(name))
        ]
        if stages:
            changes.append({"file": file, "added": added, "removed": removed, "stages": stages})
    return changes
