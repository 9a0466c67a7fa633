"""What differs between two revisions besides the answers: metrics, parameters, data, code, packages, environment."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from src.addresses import without_credentials
from src.data.prepared import SPLITS, SplitName, array_paths
from src.paths import DATASET, PIPELINE, RAW, REQUIREMENTS
from src.revision import Revision, git
from src.tracking.identity import flatten

Direction = Literal["better", "worse", "up", "down", ""]

# By how a metric's name ends: +1 where more is better, −1 where less is. Of the others (parameters, size) neither.
_GOOD = {"accuracy": 1, "f1": 1, "loss": -1, "ece": -1, "brier": -1}
_LONGEST = 100  # digits of a number: Python refuses thousands
_CODE = ("src", "stages", PIPELINE.as_posix())


@dataclass(frozen=True)
class Change:
    """A value that is another, is new (`base` is None), or is gone (`head` is None)."""

    name: str
    base: str | None
    head: str | None
    direction: Direction = ""
    difference: str = ""


@dataclass(frozen=True)
class CodeChange:
    file: str
    added: int | None  # lines; None: not a text
    removed: int | None
    stages: tuple[str, ...]  # those that use it


def metrics(base: Revision, head: Revision, otherwise: Collection[SplitName]) -> list[Change]:
    """Numbers of training and test that differ, without the ends of their intervals.

    otherwise: splits that have other images now; that a number of theirs went up is neither better nor worse.
    """
    before, after = (
        {key: value for key, value in each.numbers.items() if isinstance(value, (int, float)) and "_ci_" not in key}
        for each in (base, head)
    )
    return [
        _metric(key, before.get(key), after.get(key), judged=_split(key) not in otherwise)
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def _split(key: str) -> SplitName:
    return "test" if key.startswith("test_") else "validation"


def _metric(key: str, before: Any, after: Any, judged: bool) -> Change:
    name = key.removesuffix("_calibrated")
    good = next((sign for end, sign in _GOOD.items() if name.endswith(end)), 0) if judged else 0
    share = name.endswith(("accuracy", "f1", "ece"))

    def shown(value: Any) -> str | None:
        return None if value is None else f"{value:.2%}".replace("%", " %") if share else f"{value:,.6g}"

    if before is None or after is None:
        return Change(key, shown(before), shown(after))
    difference = after - before
    direction: Direction = "up" if difference > 0 else "down"
    if good:
        direction = "better" if difference * good > 0 else "worse"
    number = f"{difference:+,}" if isinstance(difference, int) else f"{difference:+,.4g}"
    return Change(key, shown(before), shown(after), direction, f"{100 * difference:+.2f} points" if share else number)


def parameters(base: Revision, head: Revision) -> list[Change]:
    before, after = (
        {key: without_credentials(value) for key, value in flatten(each.params).items()} for each in (base, head)
    )
    return _between(before, after)


def environment(base: Revision, head: Revision) -> list[Change]:
    """Device, precision, threads and versions that trained."""
    return _between(flatten(base.environment), flatten(head.environment))


def packages(base: Revision, head: Revision) -> list[Change]:
    """Versions in `requirements.lock`."""
    return _between(*(dict(re.findall(r"^([\w.\-]+)==([^\s;\\]+)", each.text(REQUIREMENTS), re.M))
                      for each in (base, head)))  # fmt: skip


def data(base: Revision, head: Revision) -> list[Change]:
    """Digests and sizes of what was fetched and prepared, as `dvc.lock` has them."""
    places = [RAW, DATASET, *(path for split in SPLITS for path in array_paths(split))]
    texts = [{path.as_posix(): _recorded(each.output(path)) for path in places if each.output(path)}
             for each in (base, head)]  # fmt: skip
    return _between(*texts)


def _recorded(output: Mapping[str, Any]) -> str:
    return f"{output.get('md5', 'unknown')[:9]}, {output.get('size', 0):,} bytes"


def _between(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    return [
        Change(key, before.get(key), after.get(key), _direction(before.get(key), after.get(key)))
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def _direction(before: str | None, after: str | None) -> Direction:
    """Of numbers, and of versions by their numbers."""
    if before is None or after is None:
        return ""
    old, new = _order(before), _order(after)
    return "" if not (old and new) or old == new else "up" if new > old else "down"


def _order(text: str) -> tuple[float, ...]:
    if len(text) > _LONGEST:
        return ()
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text):
        return (float(text),)
    if re.fullmatch(r"\d+(\.\d+)+.*", text):
        return tuple(int(part) for part in re.findall(r"\d+", text))
    size = re.search(r", ([\d,]+) bytes$", text)
    return (float(size[1].replace(",", "")),) if size else ()


def code(base: Revision, head: Revision) -> list[CodeChange]:
    """Files of the code and the pipeline that differ, those that a stage uses first."""
    ends = [revision.commit for revision in (base, head) if revision.commit]
    options = ("--numstat", "--no-renames", "--no-ext-diff", "--no-textconv", "--relative", "-z")
    output = git("diff", *options, *ends, "--", *_CODE)
    rows = [row.split("\t") for row in output.decode("utf-8", errors="surrogateescape").split("\0") if row]
    counts = {name: (_count(added), _count(removed)) for added, removed, name in rows}
    if head.commit is None:
        new = git("ls-files", "-z", "--others", "--exclude-standard", "--", *_CODE).decode("utf-8", "surrogateescape")
        for name in filter(None, new.split("\0")):
            counts[name] = (len(Path(name).read_bytes().splitlines()), 0)
    changes = [CodeChange(name, *lines, _stages(name, head.pipeline)) for name, lines in sorted(counts.items())]
    return sorted(changes, key=lambda change: not change.stages)


def _count(lines: str) -> int | None:
    return None if lines == "-" else int(lines)


def _stages(file: str, pipeline: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        name
        for name, stage in pipeline.items()
        if any(Path(file).is_relative_to(dependency) for dependency in stage.get("deps", []))
    )
