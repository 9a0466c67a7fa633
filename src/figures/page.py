"""`reports/index.html`: the whole run on one page that needs no network, no script and no other file."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from src.core.files import write_text
from src.data.prepared import Dataset
from src.figures.embed import embed
from src.figures.gallery import Part
from src.figures.run import Run
from src.figures.style import percent
from src.figures.template import templates

_NAMES = {
    "top5_accuracy": "top-5 accuracy",
    "worst_class_accuracy": "accuracy of the worst class",
    "macro_f1": "macro F1",
    "loss": "cross entropy (nats)",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
}
_SHARES = ("accuracy", "f1", "ece")  # what a metric's name ends with that is a share of 1


class Metric(NamedTuple):
    block: str  # the inner block of metrics.json; "" for the plain numbers
    name: str
    value: str
    low: str  # ends of the 95 % interval; empty where there is none
    high: str


def page(path: Path, run: Run, settings: Mapping[str, str], drawn: Mapping[Part, Sequence[Path]]) -> None:
    """Writes the page. settings: values of `params.yaml` by dotted key; drawn: files of the pictures by part.

    Every value is escaped: class and file names may hold anything.
    """
    metrics = list(_metrics(run.metrics))
    text = (
        templates(Path(__file__).parent)
        .get_template("page.html.jinja")
        .render(
            name=settings["data.name"] if settings["data.title"] == "null" else settings["data.title"],
            network=settings["model.name"],
            classes=len(run.dataset.classes),
            training_images=run.dataset.splits["train"].count,
            headline=_headline(run),
            cards=_cards(run, metrics),
            metrics=metrics,
            parts={part: [embed(file) for file in files] for part, files in drawn.items()},
            data=list(_data(run.dataset)),
            settings=[
                (section, list(rows)) for section, rows in groupby(settings.items(), lambda row: row[0].split(".")[0])
            ],
            environment=list(run.environment.items()),
        )
    )
    write_text(path, text.replace(" %", "\N{NO-BREAK SPACE}%"))


def _headline(run: Run) -> tuple[str, str, str]:
    """The number that counts, what it is, and how sure it is."""
    metrics, training = run.metrics, run.training
    if metrics["images"]:
        low, high = percent(metrics["accuracy_ci_low"], 2), percent(metrics["accuracy_ci_high"], 2)
        sure = f"of {metrics['images']:,} test images are right; 95 % interval: {low} to {high}"
        return percent(metrics["accuracy"], 2), "test accuracy", sure
    if training["validation_accuracy"] is not None:
        sure = "of the validation images are right; they chose the weights, and there are no test images"
        return percent(training["validation_accuracy"], 2), "validation accuracy", sure
    last = run.history.iloc[-1]["train_accuracy"]
    return percent(last, 2), "training accuracy", "during the last epoch; there are no test and no validation images"


def _cards(run: Run, metrics: Sequence[Metric]) -> list[tuple[str, str, str]]:
    """Name, number and what stands below it."""
    training = run.training
    cards = []
    if run.metrics["images"] and training["validation_accuracy"] is not None:
        cards.append(("validation accuracy", percent(training["validation_accuracy"], 2), "chose the weights"))
    plain = {metric.name: metric for metric in metrics if not metric.block}
    for name in ("macro_f1", "worst_class_accuracy", "loss", "ece"):
        if metric := plain.get(_NAMES[name]):
            cards.append((metric.name, metric.value, f"{metric.low} to {metric.high}"))
    cards.append(("epoch kept", str(training["best_epoch"]), f"of {training['epochs']}"))
    cards.append(("parameters", f"{training['parameters']:,}", f"{training['size_mib']:g} MiB"))
    return cards


def _metrics(values: Mapping[str, Any], inside: Sequence[str] = ()) -> Iterator[Metric]:
    """The numbers of `metrics.json`, those of inner blocks too."""
    for key, value in values.items():
        path = (*inside, _NAMES.get(key, key.replace("_", " ")))
        if isinstance(value, Mapping):
            yield from _metrics(value, path)
        elif isinstance(value, (int, float)) and not key.endswith(("_ci_low", "_ci_high")):
            low, high = (_number(key, values.get(f"{key}_ci_{end}")) for end in ("low", "high"))
            yield Metric(path[0] if inside else "", ", ".join(path[1:] or path), _number(key, value), low, high)


def _number(key: str, value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return percent(value, 2) if key.endswith(_SHARES) else f"{value:.4f}"


def _data(dataset: Dataset) -> Iterator[tuple[str, str]]:
    image, found = dataset.image, dataset.duplicates
    for split, record in dataset.splits.items():
        yield f"{split} images", f"{record.count:,}"
    yield "classes", f"{len(dataset.classes):,}"
    colours = "grey" if image.channels == 1 else "colour"
    yield "size", f"{image.width} × {image.height} pixels, {colours}" + (f", {image.resize}" if image.resize else "")
    yield "mean of train, by channel", ", ".join(f"{value:.4f}" for value in dataset.mean)
    yield "standard deviation", ", ".join(f"{value:.4f}" for value in dataset.std)
    yield "left out as duplicates", f"{len(found.dropped):,} images"
    yield "equal images kept on one side", f"{len(found.together):,} groups"
    yield "equal images with different labels", f"{len(found.conflicting):,} groups"
    yield "unreadable files left out", f"{len(dataset.unreadable):,}"
