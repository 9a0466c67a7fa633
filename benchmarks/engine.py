"""The part of `benchmarks/README.md` that is about the training engine; `benchmarks.report` puts the page together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import kept, where

FOLDER = Path("benchmarks")
AIRBENCH = [
    "As published: KellerJordan/cifar10-airbench reaches 94 % on CIFAR-10 in 2.59 s on one A100, torch 2.4.1, loading",
    "and compilation not counted.",
]


def sections() -> list[str]:
    return [
        *_section("Our loop, the tutorials', a plain loader, Lightning and the floor", "loops", _LOOPS, _loops),
        *_section("Time to the published results", "reaching", _REACHING, _reaching),
        *_section("Resident and streamed images, and growth", "growth", _GROWTH, _growth),
        *_section("Precision, layout, compilation, threads, evaluation batches", "switches", _SWITCHES, _switches),
        *_section("Memory that a step frees", "memory", _MEMORY, _memory),
        *_section("Several processes", "scaling", _SCALING, _scaling),
        *_section("Around the training", "overhead", _OVERHEAD, _overhead),
    ]


_LOOPS = [
    "Images per second of training, in alternated turns, each loop in a process of its own: the same network, batch",
    "size, optimiser, augmentation and images. The tutorials' loops are told again in `benchmarks/tutorials.py`; the",
    "floor is forward, backward and optimiser on one resident batch. Ratios are medians over the rounds. A whole epoch",
    "is computed from the rates of training and evaluation, with as many evaluations as the tutorial does. The row of",
    "2 workers has two more processes that load.",
]
_REACHING = [
    "Seconds of training until held-out images first show the published result, evaluations not counted.",
    *AIRBENCH,
]
_GROWTH = [
    "One epoch on synthetic 32×32 colour images in one memory-mapped file, with the network of `mnist`, in a process",
    "for each case. Memory is the most RssAnon above that of a bare interpreter, imports included.",
]
_SWITCHES = [
    "Images per second of the floor (training, the recipe's batch size) and of the forward pass alone (evaluation), on",
    "synthetic images. The fastest of each network in bold.",
]
_MEMORY = [
    "The floor in two processes that take turns: one keeps the memory that a step frees, as our stages do on a CPU,",
    "one gives it back, as glibc does by itself, and the kernel fills its pages anew. One thread; synthetic images.",
]
_SCALING = [
    "Images per second of an epoch of one model, the batch divided among the processes; one thread each, on noise.",
]
_OVERHEAD = [
    "Seconds from the start of the process, or of the call; all warm. Logging is the tracker's calls between the first",
    "batch and the last; tracked of untracked compares those whole trainings, the noise of the machine included.",
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


def _scaling(entry: dict[str, Any]) -> list[str]:
    lines = [
        f"**`{entry['system']}`**, {entry['device']}: {_count(entry['runs'], 'epoch')}",
        *_head("processes", "images/s (quartiles)"),
    ]
    return [*lines, *(_row(number, _spread(row)) for number, row in entry["images_per_second"].items())]


def _loops(entry: dict[str, Any]) -> list[str]:
    workers = f", {entry['workers']} workers for the last two loaders" if entry["workers"] else ""
    lines = [
        f"**`{entry['system']}`**, {entry['device']}, {_count(entry['threads'], 'thread')}{workers}, `auto` is "
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


def _reaching(entry: dict[str, Any]) -> list[str]:
    target = " and ".join(f"{key} {value:g}" for key, value in entry["target"].items())
    busy = entry["gpu_utilisation_percent"]
    lines = [
        f"**`{entry['recipe']}`** to {target}, {entry['device']}, {entry['precision']}: "
        f"{_count(len(entry['runs']), 'seed')}" + (f", GPU {busy} % busy" if busy is not None else ""),
        *_head("seed", "reached", "epochs", "seconds", "accuracy", "loss"),
    ]
    for run in entry["runs"]:
        reached = "yes" if run["reached"] else f"not in {entry['most_epochs']} epochs"
        scores = (f"{100 * run['accuracy']:.2f} %", f"{run['loss']:.3f}")
        lines.append(_row(str(run["seed"]), reached, str(run["epochs"]), f"{run['seconds']:,.2f}", *scores))
    if entry["seconds_to_target"]:
        lines.append(_row("median (quartiles)", "", "", _spread(entry["seconds_to_target"]), "", ""))
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


def _switches(entry: dict[str, Any]) -> list[str]:
    lines = [
        f"**`{entry['system']}`**, {entry['device']}: {_count(entry['rounds'], 'round')}",
        *_head("what", "batch", "threads", "precision", "layout", "compiled", "images/s (quartiles)"),
    ]
    for part in ("training", "evaluation"):
        best = max(row["images_per_second"]["median"] for row in entry[part])
        for row in entry[part]:
            rate = _spread(row["images_per_second"])
            rate = f"**{rate}**" if row["images_per_second"]["median"] == best else rate
            compiled = f"yes, first step {row['first_step_seconds']} s" if row["compiled"] else "no"
            sizes = str(row["batch_size"]), str(row["threads"])
            lines.append(_row(part, *sizes, row["precision"], row["layout"], compiled, rate))
    return lines


def _memory(entry: dict[str, Any]) -> list[str]:
    lines = [
        f"**`{entry['system']}`**: {_count(entry['rounds'], 'round')}",
        *_head("precision", "freed memory is", "images/s (quartiles)", "of given back", "pages a step", "MiB"),
    ]
    for row in entry["rows"]:
        rates = _spread(row["images_per_second"]), _ratio(row["of_given_back"])
        lines.append(_row(row["precision"], row["freed"], *rates, f"{row['pages']:,}", f"{row['resident_mib']:,}"))
    return lines


def _overhead(entry: dict[str, Any]) -> list[str]:
    changed = f" with {', '.join(f'`{change}`' for change in entry['changed'])}" if entry["changed"] else ""
    lines = [
        f"**`{entry['recipe']}`**{changed}: {_count(entry['runs'], 'run')}",
        *_head("what", "seconds (quartiles)"),
    ]
    lines += [_row(f"imports, {name}", _spread(found)) for name, found in entry["imports"].items()]
    for stage, clocks in entry["stages"].items():
        lines += [_row(f"{stage}: {key.replace('_', ' ')}", _spread(found)) for key, found in clocks.items()]
    logging, tracked = (entry[key]["median"] for key in ("logging_of_training", "tracked_of_untracked"))
    return [
        *lines,
        "",
        f"Logging is {logging:.2%} of the training; tracked of untracked {tracked:.1%}.",
    ]


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
