"""`benchmarks/README.md` from the JSON files beside it: the README holds no number that is not in one of them.

python -m benchmarks.report
"""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import engine
from benchmarks.common import kept, where
from benchmarks.gpu import page
from src.compute.device import CHOICES
from src.params.writing import load_recipe

README = Path("benchmarks/README.md")
SYSTEMS = Path("benchmarks/systems.json")
PIPELINE = Path("benchmarks/pipeline.json")
AUGMENTATION = Path("benchmarks/augmentation.json")
COMPARISONS = Path("benchmarks/compare.json")
MEASURED_CHOICES = Path("benchmarks/choices.json")
SEARCHES = Path("benchmarks/searches.json")
VERDICTS = Path("benchmarks/verdicts.json")
THREADS = Path("benchmarks/threads.json")


class System(NamedTuple):
    published: str
    classes: tuple[str, ...]  # whose accuracies were published
    note: str


CIFAR = (
    "The archive's images are JPEG-compressed (quality 75), not the original pixels that the published result is of."
)
PUBLISHED = {
    "mnist": System("error-rate curves only", (), ""),
    "fashion-mnist": System(
        "validation loss 0.57; trouser 94.64 %, shirt 23.72 %",
        ("Trouser", "Shirt"),
        "Published validation images were mirrored and turned like the training images; ours stay as they are.",
    ),
    "cifar10-basic": System("about 72 % test", (), CIFAR),
    "cifar10-vgg": System("86.47 % test", (), CIFAR),
    "dogs-vs-cats": System(
        "87.4 % validation, with weights of ImageNet",
        (),
        "The archive has 2,000 photos, of which 1,200 train (Kaggle's has 25,000), and without a network no pretrained "
        "weights could be had: ours start at random.",
    ),
}


def main() -> None:
    write()


def write() -> None:
    README.write_text(render(), encoding="utf-8")


def render() -> str:
    return "\n".join(
        [
            "# Measured",
            "",
            "Written by `python -m benchmarks.report` from the JSON files in this folder: change nothing here.",
            "",
            *_systems(),
            *_comparisons(),
            *_choices(),
            *_threads(),
            *_pipeline(),
            *engine.sections(),
            *page.section(),
            *_augmentation(),
            *_verdicts(),
            *_searches(),
        ]
    )


def _systems() -> list[str]:
    known = kept(SYSTEMS)
    lines = [
        "## The tutorials' systems: published against ours",
        "",
        "`python -m benchmarks.systems`: each recipe with its published settings, through `dvc repro` from the archive",
        "to the page, one run each. Intervals are 95 % (Wilson) and hold the luck of the images, not that of the seed.",
        "The machine had other work too, so that the seconds are upper bounds.",
        "",
        "| recipe | published | epochs | seed | precision | validation (interval) | test (interval) | training | all |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    notes: dict[str, list[str]] = {}
    shown = []
    for recipe, system in PUBLISHED.items():
        entries = [entry for entry in known if entry["recipe"] == recipe]
        # What was timed need not be run again: benchmarks.pipeline keeps its results too.
        entries = entries or [_timed(entry) for entry in kept(PIPELINE) if entry["recipe"] == recipe]
        lines += of_system(recipe, entries)
        shown += entries
        if system.note:
            notes.setdefault(system.note, []).append(f"`{recipe}`")
    lines += ["", *(f"- {', '.join(recipes)}: {note}" for note, recipes in notes.items()), ""]
    return [*lines, *dict.fromkeys(f"{where(entry)}." for entry in shown), ""]


def of_system(recipe: str, entries: Sequence[dict[str, Any]]) -> list[str]:
    """The rows of one recipe in the table of published results and ours, and of its classes that were published."""
    system = PUBLISHED[recipe]
    if not entries:
        return [f"| `{recipe}` | {system.published} | {' | '.join(['not run'] * 7)} |"]
    rows = []
    several = len({entry["hardware"] for entry in entries}) > 1
    for entry in entries:
        changed = [change for change in entry["changed"] if not change.startswith("train.epochs=")]
        epochs = f"{entry['epochs']} of {entry['recipe_epochs']} epochs"
        cells = [
            f"`{recipe}`"
            + (f" with {', '.join(f'`{change}`' for change in changed)}" if changed else "")
            + (f" on {entry['hardware']}" if several else ""),
            system.published,
            epochs if entry["epochs"] < entry["recipe_epochs"] else f"all {entry['epochs']}",
            str(entry["seed"]),
            entry.get("precision", "float32"),
            *(_accuracy(entry[split]) for split in ("validation", "test")),
            *(f"{seconds:,.0f} s" for seconds in entry["seconds"].values()),
        ]
        rows.append(f"| {' | '.join(cells)} |")
        for name in system.classes:
            shares = (_share(entry[split]["classes"][name]) for split in ("validation", "test"))
            rows.append(f"| — {name} | | | | | {' | '.join(shares)} | | |")
    return rows


def _timed(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of pipeline.json in the form of systems.json."""
    training, metrics = entry["results"]["training"], entry["results"]["metrics"]
    changed = [change for change in entry["changed"] if not change.startswith("data.source=")]
    stages, recipe = entry["stages"], load_recipe(entry["recipe"])
    return {
        **{key: entry[key] for key in ("hardware", "versions")},
        "changed": changed,
        "seed": recipe.seed,
        "epochs": training["epochs"],
        "recipe_epochs": recipe.train.epochs,
        "validation": {"loss": training["validation_loss"], "accuracy": [training["validation_accuracy"]]},
        "test": {
            "loss": metrics["loss"],
            "accuracy": [metrics[f"accuracy{end}"] for end in ("", "_ci_low", "_ci_high")],
        },
        "seconds": {name: stages[name]["seconds"] for name in ("train", "all, by dvc repro")},
    }


def _comparisons() -> list[str]:
    lines = [
        "## Recipes and settings over several seeds",
        "",
        "`python -m benchmarks.compare`: both with the same seeds on the same division, by accuracy on validation; the",
        "difference is the mean of those of equal seeds, with its 90 % interval (Student's t).",
        "",
        "| first | second | both with | seeds | first | second | difference in points (interval) |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in kept(COMPARISONS):
        means = [sum(values) / len(values) for values in entry["validation_accuracy"].values()]
        mean, low, high = (f"{100 * number:+.2f}" for number in entry["difference"])
        cells = [
            *(f"`{variant}`" for variant in entry["variants"]),
            ", ".join(f"`{change}`" for change in entry["changed"]),
            str(entry["seeds"]),
            *(f"{100 * mean:.2f} %" for mean in means),
            f"{mean} ({low} to {high})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *dict.fromkeys(f"{where(entry)}." for entry in kept(COMPARISONS)), ""]


def _choices() -> list[str]:
    lines = [
        "## What `train.precision: auto` picks",
        "",
        "`python -m benchmarks.choices`: images per second of training steps, medians; on a GPU those of our loop, by",
        "`python -m benchmarks.gpu`. Other rows of the table were not measured: processors with bf16 instructions but",
        "no AMX take bfloat16, because a prototype of this loop was 1.15 to 2 times as fast with it on an AMD EPYC",
        "(Zen 5); GPUs that compute in it are assumed to gain by it.",
        "",
        "| capability | network | float32 | tf32 | bfloat16 | auto |",
        "|---|---|---|---|---|---|",
    ]
    table = json.loads(CHOICES.read_text(encoding="utf-8"))
    for entry in kept(MEASURED_CHOICES):
        for network, speeds in entry["images_per_second"].items():
            medians = {name: f"{statistics.median(values):,.0f}" for name, values in speeds.items()}
            numbers = (medians.get(name, "") for name in ("float32", "tf32", "bfloat16"))
            chosen = table[entry["capability"]][network]
            lines.append(f"| {entry['capability']} | {network} | {' | '.join(numbers)} | {chosen} |")
    return [*lines, "", *dict.fromkeys(f"{_runs(entry)}; {where(entry)}." for entry in kept(MEASURED_CHOICES)), ""]


def _threads() -> list[str]:
    lines = [
        "## What `train.threads: auto` picks",
        "",
        "`python -m benchmarks.threads`: images per second of training steps with one thread and with all, in turns;",
        "medians. `auto` is 1 for the networks that `ONE_THREAD` in `src/compute/device.py` lists.",
        "",
    ]
    if not kept(THREADS):
        return [*lines, "Not yet measured.", ""]
    lines += ["| threads | network | one | all | gain | auto |", "|---|---|---|---|---|---|"]
    for entry in kept(THREADS):
        for network, row in entry["images_per_second"].items():
            one, every = row["1"], row[str(entry["threads"])]
            lines.append(
                f"| {entry['threads']} | {network} | {one:,} | {every:,} | {every / one:.2f} × | {row['auto']} |"
            )
    return [*lines, "", *dict.fromkeys(f"{_runs(entry)}; {where(entry)}." for entry in kept(THREADS)), ""]


def _accuracy(split: dict[str, Any] | None) -> str:
    return f"{_share(split['accuracy'])}, loss {split['loss']:.3f}" if split else "none: all images train"


def _share(values: Sequence[float]) -> str:
    value, *interval = (f"{100 * number:.2f}" for number in values)
    return f"{value} %" + (f" ({' to '.join(interval)})" if interval else "")


def _pipeline() -> list[str]:
    lines = [
        "## The pipeline's stages",
        "",
        "`python -m benchmarks.pipeline`: seconds and peak anonymous memory of every stage, and of the whole by",
        "`dvc repro` from nothing and once more with nothing to do. Of several runs the median (and the extremes).",
        "",
    ]
    for entry in kept(PIPELINE):
        changed = f" with {', '.join(f'`{change}`' for change in entry['changed'])}" if entry["changed"] else ""
        lines += [f"**`{entry['recipe']}`**{changed}: {_runs(entry)}; {where(entry)}.", ""]
        lines += ["| stage | seconds | MiB |", "|---|---|---|"]
        for stage, row in entry["stages"].items():
            extremes = f" ({row['seconds_min']} to {row['seconds_max']})" if entry["runs"] > 1 else ""
            lines.append(f"| {stage} | {row['seconds']}{extremes} | {row['rss_anon_mib'] or ''} |")
        lines.append("")
    return lines


def _augmentation() -> list[str]:
    lines = [
        "## Augmentation of 32×32 colour images",
        "",
        "`python -m benchmarks.augmentation`: the operators and batch sizes of kornia's own table. Ours and kornia's",
        "change a whole batch, drawing anew for every image; torchvision's is called for each. Median (quartiles).",
        "",
    ]
    libraries = ("ours", "kornia", "torchvision per image")
    for entry in kept(AUGMENTATION):
        threads = f"{entry['threads']} thread" + ("s" if entry["threads"] > 1 else "")
        lines += [f"**{entry['device']}**, {entry['unit']}: {_runs(entry)}, {threads}; {where(entry)}.", ""]
        lines += [f"| operator | batch | {' | '.join(libraries)} |", "|---|---|---|---|---|"]
        for row in entry["rows"]:
            lines.append(
                f"| {row['operator']} | {row['batch']} | {' | '.join(_time(row[name]) for name in libraries)} |"
            )
        lines.append("")
    return lines


def _verdicts() -> list[str]:
    lines = ["## Verdicts of the report", "", "`python -m benchmarks.verdicts`: simulated pairs of models.", ""]
    for entry in kept(VERDICTS):
        false, true = entry["better or worse without a difference"], entry["better with 2 points of difference"]
        lines += [
            f"Of {entry['pairs']} pairs, {entry['images']:,} images each: without a difference (answers swapped at",
            f"random, image by image) {false} are called better or worse; with 2 points more, where 15 % of the images",
            f"change sides, {true} are called better.",
            "",
            "How often the 95 % intervals hold the true difference:",
            "",
            "| images, in 10 classes | | accuracy | log loss | macro F1 |",
            "|---|---|---|---|---|",
        ]
        for flips, by_images in entry["coverage"].items():
            for images, shares in by_images.items():
                cells = [f"{int(images):,}", flips, *(f"{100 * share:.1f} %" for share in shares)]
                lines.append(f"| {' | '.join(cells)} |")
        lines += [
            "",
            "How many images `src.promote` asks for at a margin of 1 point, and how often a model as good then passes:",
            "",
            "| images that change sides | asked for | pass |",
            "|---|---|---|",
            *(f"| {share} | {n:,} | {100 * passed:.1f} % |" for share, (n, passed) in entry["power"].items()),
            "",
            f"{where(entry)}.",
            "",
        ]
    return lines


def _searches() -> list[str]:
    known = kept(SEARCHES)
    if not known:
        return []
    shown = {"search": _searched, "compare": _compared, "overhead": _overhead, "killed": _killed}
    lines = ["## Searches", "", "`python -m benchmarks.searches`; medians with quartiles.", ""]
    for entry in known:
        changed = f" with {', '.join(f'`{change}`' for change in entry['changed'])}" if entry["changed"] else ""
        lines += [f"**{entry['what']}**, `{entry['recipe']}`{changed}, {entry['points']} points: {where(entry)}.", ""]
        lines += [*shown[entry["what"]](entry), ""]
    return lines


def _searched(entry: dict[str, Any]) -> list[str]:
    states = ", ".join(f"{count} {state}" for state, count in entry["states"].items() if count)
    lines = [
        f"`python -m src.tune` took {entry['seconds']:.0f} s from its start to its page: {states} points, then "
        f"{entry['trainings']} trainings with other seeds. {entry['verdict']}",
        "",
        f"| setting | trainings | mean {entry['objective'].replace('_', ' ')} (95 % interval) | p (Welch, Holm) |",
        "|---|---|---|---|",
    ]
    for row in entry["rows"]:
        p = "" if row["p_holm"] is None else "below 0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}"
        interval = f"{row['mean']:.4f} ({row['ci_low']:.4f} to {row['ci_high']:.4f})"
        lines.append(f"| {row['setting']} | {row['runs']} | {interval} | {p} |")
    return lines


def _compared(entry: dict[str, Any]) -> list[str]:
    """Where TPE did not reach random's best, it counts as later than all others."""
    rows = entry["rows"]
    missed = sum(row["tpe_epochs_to_best"] is None for row in rows)
    tpe = [math.inf if row["tpe_epochs_to_best"] is None else row["tpe_epochs_to_best"] for row in rows]
    return [
        f"| epochs until random's best of {entry['points']} points, {entry['seeds']} seeds | median (quartiles) |",
        "|---|---|",
        f"| random, no pruning | {_quartiles([row['random_epochs_to_best'] for row in rows])} |",
        f"| random, no pruning, all its points | {_quartiles([row['random_epochs'] for row in rows])} |",
        f"| TPE, median pruner | {_quartiles(tpe)}; not reached within twice the points: {missed} of {len(rows)} |",
    ]


def _quartiles(values: Sequence[float]) -> str:
    """Each a value that occurred: there may be infinite ones."""
    first, median, third = np.quantile(values, [0.25, 0.5, 0.75], method="inverted_cdf")
    return " ".join((_epochs(median), f"({_epochs(first)} to {_epochs(third)})"))


def _epochs(value: float) -> str:
    return "not reached" if math.isinf(value) else f"{value:.0f}"


def _overhead(entry: dict[str, Any]) -> list[str]:
    return [
        f"A trial takes {median} ms ({low} to {high}) besides training, {words}."
        for key, words in {"without_mlflow_ms": "without MLflow", "with_mlflow_ms": "with MLflow"}.items()
        for median, low, high in [entry[key]]
    ]


def _killed(entry: dict[str, Any]) -> list[str]:
    return [
        f"{entry['workers']} workers on {entry['storage']}, {entry['kills']} kills in {entry['seconds']:.0f} s: of "
        f"{entry['points']} points {entry['finished_once']} finished once, {entry['taken_over']} were taken over, "
        f"{entry['failed']} failed; {entry['trained_beyond_the_last']} trained beyond the last.",
    ]


def _time(cell: dict[str, float] | str) -> str:
    if isinstance(cell, str):
        return cell
    return "{median:.3f} ({quartile_1:.3f} to {quartile_3:.3f})".format(**cell)


def _runs(entry: dict[str, Any]) -> str:
    return "1 run" if entry["runs"] == 1 else f"{entry['runs']} runs"


if __name__ == "__main__":
    main()
