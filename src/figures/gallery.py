"""Every picture of the results, in the order of the page, with the part of the page in which it stands.

Title and caption stand in the function that draws the picture; the page takes both from the file.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from src.data.prepared import SPLITS, LabelledImages, SplitName
from src.figures.classes import confusion_matrix, per_class_accuracy
from src.figures.confusions import largest_confusions
from src.figures.curves import error_by_step, learning_curves
from src.figures.data import augmentations, class_distribution, duplicates, samples
from src.figures.feature_maps import feature_maps, filter_maps
from src.figures.kernels import kernels, kernels_by_channel, kernels_by_epoch
from src.figures.layers import layer_table, receptive_fields
from src.figures.mistakes import confident_mistakes, sample_predictions
from src.figures.pipeline_results import PipelineResults
from src.figures.reliability import reliability
from src.figures.robustness import robustness

Part = Literal["Results", "Training", "Data", "Network"]


class Picture(NamedTuple):
    part: Part
    name: str  # of the file, without .png
    draw: Callable[[Path], None]


def pictures(results: PipelineResults) -> Iterator[Picture]:
    """Yield the pictures for which the results have something to show."""
    options, inspection = results.options, results.inspection
    classes, train, test = results.dataset.classes, results.train, results.test.images
    if len(results.predictions):
        draw = partial(confusion_matrix, confusion=results.confusion, classes=classes)
        yield Picture("Results", "confusion_matrix", draw)
        if wrong := (results.confusion["label"] != results.confusion["prediction"]).any():
            draw = partial(
                largest_confusions, images=test, confusion=results.confusion, predictions=results.predictions
            )
            yield Picture("Results", "confusions", draw)
        yield Picture("Results", "per_class_accuracy", partial(per_class_accuracy, per_class=results.per_class))
        if wrong:
            draw = partial(confident_mistakes, images=test, predictions=results.predictions, count=options.mistakes)
            yield Picture("Results", "mistakes", draw)
        draw = partial(sample_predictions, images=test, predictions=results.predictions, count=options.samples)
        yield Picture("Results", "predictions", draw)
    if len(results.calibration):
        yield Picture("Results", "reliability", partial(reliability, calibration=results.calibration))
    if len(results.robustness):
        yield Picture("Results", "robustness", partial(robustness, table=results.robustness))

    draw = partial(learning_curves, history=results.history, kept_epoch=results.training["best_epoch"])
    yield Picture("Training", "learning_curves", draw)
    if len(results.steps):
        yield Picture("Training", "error_by_step", partial(error_by_step, steps=results.steps))

    draw = partial(samples, images=train.images, labels=train.labels, classes=classes, count=options.samples)
    yield Picture("Data", "samples", draw)
    counts = {split: [results.dataset.splits[split].per_class[name] for name in classes] for split in SPLITS}
    yield Picture("Data", "class_distribution", partial(class_distribution, counts=counts, classes=classes))
    splits: dict[SplitName, LabelledImages] = {"train": results.train, "test": results.test}
    found = results.dataset.duplicates
    for name, kind, sets in ("equal", "Equal images", found.equal), ("nearly_equal", "Nearly equal images", found.near):
        if sets and any(example.split in splits for examples in sets.examples for example in examples):
            draw = partial(duplicates, found=sets, splits=splits, classes=classes, kind=kind)
            yield Picture("Data", name, draw)
    if (results.augmented != results.augmented[0]).any():
        yield Picture("Data", "augmentation", partial(augmentations, images=results.augmented))

    yield Picture("Network", "layers", partial(layer_table, inspection=inspection))
    if any(layer.field for layer in inspection.layers):
        yield Picture("Network", "receptive_fields", partial(receptive_fields, inspection=inspection))
    yield Picture("Network", "kernels", partial(kernels, weights=inspection.kernels[0], place="first"))
    if len(inspection.kernels) > 1:
        second = inspection.kernels[1]
        draw = partial(kernels_by_channel, weights=second)
        if second.shape[1] == 1:  # depthwise
            draw = partial(kernels, weights=second, place="second")
        yield Picture("Network", "second_kernels", draw)
    if (results.snapshots["first"] != results.snapshots["first"][0]).any():  # unless they are frozen
        yield Picture("Network", "kernels_by_epoch", partial(kernels_by_epoch, snapshots=results.snapshots))
    yield Picture("Network", "feature_maps", partial(feature_maps, inspection=inspection))
    yield Picture("Network", "filter_maps", partial(filter_maps, inspection=inspection))


def draw_all(results: PipelineResults, folder: Path) -> dict[Part, list[Path]]:
    """Write every picture into `folder`, remove all that were there before, and return the files by part."""
    for stale in folder.glob("*.png"):
        stale.unlink()
    drawn: dict[Part, list[Path]] = {}
    for picture in pictures(results):
        path = folder / f"{picture.name}.png"
        picture.draw(path)
        drawn.setdefault(picture.part, []).append(path)
    return drawn
