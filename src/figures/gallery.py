"""Every picture of the results, in the order of the page, with the part of the page in which it stands.

Title and caption stand in the function that draws the picture; the page takes both from the file.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from src.data.prepared import SPLITS, LabelledImages, SplitName
from src.figures.classes import confusion_matrix, per_class_accuracy
from src.figures.confusions import largest_confusions
from src.figures.curves import error_by_step, learning_curves
from src.figures.data import augmentations, class_distribution, duplicates, samples
from src.figures.feature_maps import feature_maps, filter_maps
from src.figures.kernels import kernels, kernels_by_channel, kernels_by_epoch
from src.figures.mistakes import confident_mistakes, sample_predictions
from src.figures.pipeline_results import PipelineResults
from src.figures.receptive_fields import receptive_fields
from src.figures.reliability import reliability
from src.figures.robustness import robustness
from src.figures.style import add_fonts

Part = Literal["Results", "Training", "Data", "Network"]


class Picture(NamedTuple):
    part: Part
    name: str  # of the file, without .png
    draw: Callable[[Path], None]


def pictures(results: PipelineResults) -> Iterator[Picture]:
    """Yield the pictures for which the results have something to show."""
    options, inspection = results.options, results.inspection
    classes, train, test = results.dataset.classes, results.train, results.test.images
    predictions, confusion = results.predictions, results.confusion
    if len(predictions):
        yield Picture("Results", "confusion_matrix", lambda path: confusion_matrix(path, confusion, classes))
        wrong = (confusion["label"] != confusion["prediction"]).any()
        if wrong:
            yield Picture("Results", "confusions", lambda path: largest_confusions(path, test, confusion, predictions))
        yield Picture("Results", "per_class_accuracy", lambda path: per_class_accuracy(path, results.per_class))
        if wrong:
            yield Picture(
                "Results", "mistakes", lambda path: confident_mistakes(path, test, predictions, options.mistakes)
            )
        yield Picture(
            "Results", "predictions", lambda path: sample_predictions(path, test, predictions, options.samples)
        )
    if len(results.calibration):
        yield Picture("Results", "reliability", lambda path: reliability(path, results.calibration))
    if len(results.robustness):
        yield Picture("Results", "robustness", lambda path: robustness(path, results.robustness))

    kept = results.training["best_epoch"]
    yield Picture("Training", "learning_curves", lambda path: learning_curves(path, results.history, kept))
    if len(results.steps):
        yield Picture("Training", "error_by_step", lambda path: error_by_step(path, results.steps))

    yield Picture("Data", "samples", lambda path: samples(path, train.images, train.labels, classes, options.samples))
    counts = {split: [results.dataset.splits[split].per_class[name] for name in classes] for split in SPLITS}
    yield Picture("Data", "class_distribution", lambda path: class_distribution(path, counts, classes))
    splits: dict[SplitName, LabelledImages] = {"train": results.train, "test": results.test}
    found = results.dataset.duplicates
    for name, kind, sets in ("equal", "Equal images", found.equal), ("nearly_equal", "Nearly equal images", found.near):
        if sets and any(example.split in splits for examples in sets.examples for example in examples):
            draw = partial(duplicates, found=sets, splits=splits, classes=classes, kind=kind)
            yield Picture("Data", name, draw)
    if (results.augmented != results.augmented[0]).any():
        yield Picture("Data", "augmentation", lambda path: augmentations(path, results.augmented))

    if any(layer.field for layer in inspection.layers):
        yield Picture("Network", "receptive_fields", lambda path: receptive_fields(path, inspection))
    yield Picture("Network", "kernels", lambda path: kernels(path, inspection.kernels[0], "first"))
    if len(inspection.kernels) > 1:
        second = inspection.kernels[1]
        draw = partial(kernels_by_channel, weights=second)
        if second.shape[1] == 1:  # depthwise
            draw = partial(kernels, weights=second, place="second")
        yield Picture("Network", "second_kernels", draw)
    if (results.snapshots["first"] != results.snapshots["first"][0]).any():  # unless they are frozen
        yield Picture("Network", "kernels_by_epoch", lambda path: kernels_by_epoch(path, results.snapshots))
    yield Picture("Network", "feature_maps", lambda path: feature_maps(path, inspection))
    yield Picture("Network", "filter_maps", lambda path: filter_maps(path, inspection))


def draw_all(results: PipelineResults, folder: Path) -> dict[Part, list[Path]]:
    """Write every picture into `folder`, remove all that were there before, and return the files by part."""
    add_fonts(chain(results.dataset.classes, results.predictions["name"]))
    for stale in folder.glob("*.png"):
        stale.unlink()
    drawn: dict[Part, list[Path]] = {}
    for picture in pictures(results):
        path = folder / f"{picture.name}.png"
        picture.draw(path)
        drawn.setdefault(picture.part, []).append(path)
    return drawn
