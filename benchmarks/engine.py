"""The part of `benchmarks/README.md` that is about the training engine; `benchmarks.report` puts the page together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import kept, where

FOLDER = Path("benchmarks")


def sections() -> list[str]:
    return [
        *_section("Our loop, the tutorials', a plain loader, Lightning and the floor", "loops", _LOOPS, _loops),
        *_section("Resident and streamed images, and growth", "growth", _GROWTH, _growth),
    ]


_LOOPS = [
    "Images per second of training, in alternated turns, each loop in a process of its own: the same network, batch",
    "size, optimiser, augmentation and images. The tutorials' loops are told again in `benchmarks/tutorials.py`; the",
    "floor is forward, backward and optimiser on one resident batch. Ratios are medians over the rounds. A whole epoch",
    "is computed from the rates of training and evaluation, with as many evaluations as the tutorial does. The row of",
    "2 workers has two more processes that load.",
]
_GROWTH = [
    "One epoch on synthetic 32×32 colour images in one memory-mapped file, with the network of `mnist`, in a process",
    "for each case. Memory is the most RssAnon above that of a bare interpreter, imports included.",
]


def _section(title: str, name: str, text: list[str], render: Callable[[dict[str, Any]], list[str]]) -> list[str]:
    """The section of one JSON file; what is not measured is named."""
    entries = kept(FOLDER / f"{name}.json")
    lines = [f"## {title}", "", f"`python -m benchmarks.{name}`", "", *text, ""]
    for entry in entries:
        head, *rows = render(entry)
        lines += [f"{head}; {where(entry)}.", "", *rows, ""]
    if not entries:
        lines += ["Not yet measured.", ""]
    elif all(entry.get("device") == "cpu" for entry in entries):
        lines += ["On CUDA: not yet measured.", ""]
    return lines


def _loops(entry: dict[str, Any]) -> list[str]:
    threads = "threads as a user has them" if entry["threads"] == "auto" else _count(entry["threads"], "thread")
    workers = f", {entry['workers']} workers for the last two loaders" if entry["workers"] else ""
    lines = [
        f"**`{entry['system']}`**, {entry['device']}, {threads}{workers}, `auto` is "
        f"{entry['auto']}: {_count(entry['rounds'], 'round')}",
        *_head(
            "loop", "images/s (quartiles)", "of the tutorial", "of the floor", "epoch, s", "of the tutorial's epochs"
        ),
    ]
    for name, row in entry["rows"].items():
        ratios = [_ratio(row.get(key)) for key in ("of_tutorial", "of_floor")]
        epochs = [_number(row.get("epoch_seconds")), _ratio(row.get("epochs_of_tutorial"))]
        lines.append(_row(name, _spread(row["images_per_second"]), *ratios, *epochs))
    lines += [_row(name, reason, "", "", "", "") for name, reason in entry["not_measured"].items()]
    return lines


def _growth(entry: dict[str, Any]) -> list[str]:
    lines = [
        f"**{entry['device']}**, {_count(entry['threads'], 'thread')}; a bare interpreter has "
        f"{entry['interpreter_mib']} MiB",
        *_head(
            "images", "images are", "runs", "images/s (quartiles)", "µs per image", "of resident", "MiB", "imports, MiB"
        ),
    ]
    for row in entry["rows"]:
        rates = _spread(row["images_per_second"]), _number(row["microseconds_per_image"]), _ratio(row["of_resident"])
        memory = f"{row['rss_anon_mib']:,}", f"{row['imports_mib']:,}"
        lines.append(_row(f"{row['images']:,}", row["way"], str(row["runs"]), *rates, *memory))
    return lines


def _head(*names: str) -> list[str]:
    return [_row(*names), "|" + "---|" * len(names)]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _spread(found: dict[str, float]) -> str:
    return "{median:,} ({quartile_1:,} to {quartile_3:,})".format(**found)


def _number(found: dict[str, float] | None) -> str:
    return f"{found['median']:,}" if found else ""


def _ratio(found: dict[str, float] | None) -> str:
    return f"{found['median']:.2f} ×" if found else ""
