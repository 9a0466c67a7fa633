"""Write `reports/index.html`: the whole run on one page that needs no network, no script and no other file."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, groupby
from pathlib import Path

from src.data.prepared import Dataset
from src.evaluation.metric_files import in_groups
from src.figures.embed import embed
from src.figures.gallery import Part
from src.figures.pipeline_results import PipelineResults
from src.figures.style import percent
from src.figures.template import render_page
from src.models.inspection import Layer, table

_NAMES = {
    "top5_accuracy": "top-5 accuracy",
    "worst_class_accuracy": "accuracy of the worst class",
    "unseen_accuracy": "accuracy without copies of training images",
    "unseen_images": "test images without copies of training images",
    "macro_f1": "macro F1",
    "loss": "cross entropy (nats)",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "tta_accuracy": "accuracy with test-time augmentation",
    "tta_loss": "cross entropy with test-time augmentation",
}
_SHARES = ("accuracy", "f1", "ece")  # what a metric's name ends with that is a share of 1


def page(
    path: Path, results: PipelineResults, settings: Mapping[str, str], drawn: Mapping[Part, Sequence[Path]]
) -> None:
    """Write the page. settings: values of `params.yaml` by dotted key; drawn: files of the pictures by part.

    Every value is escaped: class and file names may hold anything.
    """
    metrics, training = results.metrics, results.training
    rows = {}  # name, value and interval of every metric, by its key
    for key, value in metrics.items():
        if isinstance(value, (int, float)) and not key.endswith(("_ci_low", "_ci_high")):
            low, high = metrics.get(f"{key}_ci_low"), metrics.get(f"{key}_ci_high")
            interval = "" if low is None or high is None else f"{_number(key, low)} to {_number(key, high)}"
            plain = key.removesuffix("_calibrated")
            name = _NAMES.get(plain, plain.replace("_", " ")) + (", calibrated" if plain != key else "")
            rows[key] = name, _number(key, value), interval

    # The number that counts, its name, and how sure it is; then smaller ones.
    validation = training["validation_accuracy"]
    cards = []
    if metrics["images"]:
        sure = f"of {metrics['images']:,} test images{in_groups(metrics)} are right; 95 % interval: "
        headline = rows["accuracy"][1], "test accuracy", sure + rows["accuracy"][2]
        if validation is not None:
            cards.append(("validation accuracy", percent(validation, 2), "chose the weights"))
    elif validation is not None:
        sure = "of the validation images are right; they chose the weights, and there are no test images"
        headline = percent(validation, 2), "validation accuracy", sure
    else:
        sure = "during the last epoch; there are no test and no validation images"
        headline = percent(results.history.iloc[-1]["train_accuracy"], 2), "training accuracy", sure
    shown = ("unseen_accuracy", "macro_f1", "worst_class_accuracy", "loss", "ece")
    cards += [rows[key] for key in shown if key in rows]
    cards.append(("epoch kept", str(training["best_epoch"]), f"of {training['epochs']}"))
    parameters, size = f"{training['parameters']:,}", f"{training['size_mib']:g} MiB"
    cards.append(("parameters", parameters, size))

    render_page(
        path,
        Path(__file__).parent,
        name=settings["data.name"] if settings["data.title"] == "null" else settings["data.title"],
        network=settings["model.name"],
        classes=len(results.dataset.classes),
        training_images=results.dataset.splits["train"].count,
        headline=headline,
        cards=cards,
        metrics=list(rows.values()),
        parts={part: [embed(file) for file in files] for part, files in drawn.items()},
        data=list(data_rows(results.dataset)),
        layers=list(layer_rows(results.inspection.layers)),
        size=f"{parameters} parameters, {size}",
        settings=[(group, list(found)) for group, found in groupby(settings.items(), lambda row: row[0].split(".")[0])],
        environment=list(results.environment.items()),
    )


def _number(key: str, value: float) -> str:
    """Write the value of a metric, or an end of its interval."""
    if key.endswith(("images", "groups")):
        return f"{value:,.0f}"
    return percent(value, 2) if key.removesuffix("_calibrated").endswith(_SHARES) else f"{value:.4f}"


def layer_rows(layers: list[Layer]) -> Iterator[tuple[str, ...]]:
    """Yield the number of a convolution, name, kind, output, parameters and receptive field of each layer, in words."""
    numbers = count(1)
    for name, kind, output, parameters, field in table(layers).itertuples(index=False, name=None):
        number = str(next(numbers)) if kind.startswith("conv") else ""
        yield number, name, kind, output, f"{parameters:,}" if parameters else "", field or "?"


def data_rows(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Yield the facts about a prepared data set, each with its name."""
    image, found = dataset.image, dataset.duplicates
    for split, record in dataset.splits.items():
        yield f"{split} images", f"{record.count:,}"
    yield "classes", f"{len(dataset.classes):,}"
    colours = "grey" if image.channels == 1 else "colour"
    yield "size", f"{image.width} × {image.height} pixels, {colours}" + (f", {image.resize}" if image.resize else "")
    yield "mean of train, by channel", ", ".join(f"{value:.4f}" for value in dataset.mean)
    yield "standard deviation", ", ".join(f"{value:.4f}" for value in dataset.std)
    yield "equal images", str(found.equal)
    yield "nearly equal images", "not looked for" if found.near is None else str(found.near)
    yield "unreadable files left out", f"{len(dataset.unreadable):,}"
