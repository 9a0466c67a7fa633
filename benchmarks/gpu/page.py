"""The section of `benchmarks/README.md` about GPUs: how to measure there in one call, and what was measured."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import kept, where
from benchmarks.gpu.pack import LIMIT, MIB
from benchmarks.gpu.parts import AIRBENCH, DEVICE, LOOPS, REACHING, SIZES, SPEED

RESULTS = Path("benchmarks/gpu.json")
_TEXT = f"""## On a GPU

One call proves and measures what needs a GPU, in about ten minutes, on a machine that has torch and no network: equal
bits, no waiting within a step, compiled gradients, evaluation, export, neighbours on one device; images per second of
every loop in every precision, whole trainings, sizes of batches. What it lacks is carried along, at most
{LIMIT // MIB} MiB with the working tree.

```bash
python -m benchmarks.gpu pack --airbench ../cifar10-airbench   # here: fills .gpu/; --airbench where there is a clone
python3 -m benchmarks.gpu run --minutes 9 --out "$OUT"         # there, in a copy of this folder with .gpu/ in it
python -m benchmarks.gpu keep gpu.json                         # here, with the file that came back: this page
python -m benchmarks.gpu choices gpu.json                      # and what `train.precision: auto` picks there
```

`run` rewrites `$OUT/gpu.json` whenever a part finds more, so that a machine that is taken away loses no more than what
runs; `--parts` runs some parts again. `--device cpu --minutes 2` runs all of them small, on a processor."""


def section() -> list[str]:
    entries = kept(RESULTS)
    lines = [*_TEXT.splitlines(), ""]
    for entry in entries:
        lines += [f"**{entry['device']}**: {where(entry)}.", "", *_told(entry["parts"])]
    return lines if entries else [*lines, "Not yet measured: no GPU was at hand.", ""]


def _told(parts: dict[str, Any]) -> Iterator[str]:
    found = {name: part.get("found", {}) for name, part in parts.items()}
    yield from _table(("part", "state", "seconds", "what does not hold"), map(_state, parts, parts.values()))
    yield from _table(("of the device", ""), found.get(DEVICE, {}).items())
    loops = [(system, loop, row) for system, name in LOOPS.items() for loop, row in found.get(name, {}).items()]
    yield from _table(
        ("system", "loop", "images/s (quartiles)", "of the tutorial", "of the floor"),
        (
            (system, loop, _spread(row["images_per_second"]), _ratio(row, "of_tutorial"), _ratio(row, "of_floor"))
            for system, loop, row in loops
            if isinstance(row, dict) and "images_per_second" in row
        ),
    )
    speed, published = found.get(SPEED, {}), found.get(REACHING, {})
    runs = [(f"`{SPEED}`, {mode}", speed[mode]["runs"]) for mode in ("eager", "compiled") if mode in speed]
    runs += [(f"`{recipe}`", rows) for recipe, rows in published.items() if isinstance(rows, list)]
    yield from _table(
        ("recipe", "seed", "precision", "s to the target", "s in all", "epochs", "accuracy", "loss", "GiB"),
        ((name, *_run(run)) for name, rows in runs for run in rows),
    )
    peer = found.get(AIRBENCH, {})
    yield from _table(
        ("airbench's own script", "seconds", "accuracy"),
        zip(range(1, 100), peer.get("seconds", []), peer.get("accuracy", []), strict=False),
    )
    yield from _table(
        ("what", "size", "images/s (quartiles)", "GiB"),
        (
            (what, size, _spread(row["images_per_second"]), row["peak_gib"])
            for what, rows in found.get(SIZES, {}).items()
            for size, row in rows.items()
            if isinstance(row, dict)
        ),
    )


def _table(head: tuple[str, ...], rows: Any) -> Iterator[str]:
    """Yield a table, and an empty line; nothing where there are no rows."""
    lines = [f"| {' | '.join('' if cell is None else str(cell) for cell in row)} |" for row in rows]
    if lines:
        yield from (f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines, "")


def _state(name: str, part: dict[str, Any]) -> tuple[Any, ...]:
    entries = part.get("found", {}).items()
    faults = [f"{case}: {fault}" for case, row in entries if isinstance(row, dict) for fault in row.get("faults", [])]
    return name, part["state"], part.get("seconds"), "; ".join(faults).replace("|", "/")


def _run(run: dict[str, Any]) -> tuple[Any, ...]:
    reached = run["seconds_to_target"] or ("not reached" if run["target"] else "none was published")
    accuracy = f"{100 * run['accuracy']:.2f} %"
    return (
        *(run[key] for key in ("seed", "precision")),
        *(reached, run["seconds"], run["epochs"], accuracy, run["loss"], run["peak_gib"]),
    )


def _spread(found: dict[str, float]) -> str:
    return "{median:,} ({quartile_1:,} to {quartile_3:,})".format(**found)


def _ratio(row: dict[str, Any], key: str) -> str | None:
    return f"{row[key]['median']:.2f} ×" if key in row else None
