"""Everything that the pictures and the page show, read once from what the stages before have written.

Here it is checked that all of it belongs together, so that the pictures may rely on it.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from src import params
from src.core import paths
from src.core.documents import read_object
from src.core.errors import UserError
from src.data.prepared import DAMAGED, Dataset, LabelledImages, read_dataset
from src.data.verify import open_checked
from src.evaluation import measured, tables
from src.evaluation.predictions import is_part
from src.models.file import load
from src.models.inspection import Inspection, inspect_network

# Columns of the tables that are drawn.
_HISTORY = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr")
_STEPS = ("step", "epoch", "train_error", "validation_error")
_PREDICTIONS = ("index", "name", "label", "prediction", "confidence", "label_probability")
_PER_CLASS = ("class", "images", "accuracy", "ci_low", "ci_high")
_BINS = ("images", "confidence", "accuracy")
_CALIBRATION = ("bin_low", "bin_high", *_BINS, *(f"{column}_calibrated" for column in _BINS))
_ROBUSTNESS = ("kind", "strength", "direction", "accuracy", "ci_low", "ci_high")


@dataclass(frozen=True)
class Run:
    """Hold one pass of the pipeline. Tables are those of `reports/`; what was not recorded is None."""

    options: params.Visualize
    dataset: Dataset
    train: LabelledImages
    test: LabelledImages
    inspection: Inspection
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    environment: Mapping[str, Any]
    history: pandas.DataFrame
    predictions: pandas.DataFrame
    per_class: pandas.DataFrame
    confusion: pandas.DataFrame
    steps: pandas.DataFrame | None
    calibration: pandas.DataFrame | None
    robustness: pandas.DataFrame | None
    snapshots: Mapping[str, NDArray[np.generic]] | None
    augmented: NDArray[np.uint8] | None  # (24, H, W, C), the first as it is


def read_run(options: params.Visualize) -> Run:
    """Read it all, and inspect the network on the chosen image. Raises `UserError` for what is missing or damaged."""
    dataset = read_dataset()
    train, test = open_checked(dataset, "train", "test")
    classifier, spec = load(paths.MODEL)
    spec.check(dataset)
    images = test.images if len(test.labels) else train.images
    if options.image >= len(images):
        raise UserError(f"visualize.image is {options.image}, but there are {len(images):,} images, counted from 0")
    # The order of sums, hence the last bits and the pictures, would depend on the number of cores.
    torch.set_num_threads(1)
    training, history = read_object(paths.TRAINING), tables.read(paths.HISTORY, *_HISTORY)
    if training["best_epoch"] not in history["epoch"].tolist():
        raise _apart(paths.HISTORY, f"{paths.TRAINING} keeps epoch {training['best_epoch']}")
    predictions = tables.read(paths.PREDICTIONS, *_PREDICTIONS)
    if predictions.isna().any(axis=None):
        raise _damaged(paths.PREDICTIONS, "a number is missing")
    part = is_part(predictions) and len(predictions) < len(test.labels)
    if not part and predictions["index"].tolist() != list(range(len(test.labels))):
        raise _apart(paths.PREDICTIONS, f"there are {len(test.labels):,} test images")
    per_class = tables.read(paths.PER_CLASS, *_PER_CLASS)
    if per_class["class"].tolist() != dataset.classes:
        raise _apart(paths.PER_CLASS, f"{paths.DATASET} has other classes")
    if not set(dataset.classes).issuperset({*predictions["label"], *predictions["prediction"]}):
        raise _apart(paths.PREDICTIONS, f"{paths.DATASET} has other classes")
    confusion, pairs = tables.read(paths.CONFUSION, "label", "prediction", "count"), ["label", "prediction"]
    if not part and confusion.set_index(pairs)["count"].to_dict() != predictions.groupby(pairs).size().to_dict():
        raise _apart(paths.CONFUSION, f"{paths.PREDICTIONS} has other predictions")

    snapshots = _arrays(paths.SNAPSHOTS)  # epochs (S,) and kernels (S, O, I, H, W)
    if snapshots is not None:
        kernels = [array for name, array in snapshots.items() if name != "epochs"]
        shapes = [len(array) == len(snapshots.get("epochs", ())) and array.ndim == 5 for array in kernels]
        if "first" not in snapshots or not all(shapes) or not all(array.size for array in kernels):
            raise _damaged(paths.SNAPSHOTS, "its arrays are not kernels by epoch")
    found = _arrays(paths.AUGMENTATION)
    augmented = None if found is None else found.get("images", np.empty(0))
    if augmented is not None and (augmented.ndim != 4 or not augmented.size):
        raise _damaged(paths.AUGMENTATION, "it holds no images")
    return Run(
        options=options,
        dataset=dataset,
        train=train,
        test=test,
        inspection=inspect_network(classifier, images[options.image], options.shift, options.layer),
        training=training,
        metrics=measured.read(),
        environment=read_object(paths.ENVIRONMENT),
        history=history,
        predictions=predictions,
        per_class=per_class,
        confusion=confusion,
        steps=_table(paths.STEPS, *_STEPS),
        calibration=_table(paths.CALIBRATION, *_CALIBRATION),
        robustness=_table(paths.ROBUSTNESS, *_ROBUSTNESS),
        snapshots=snapshots,
        augmented=augmented,
    )


def _apart(path: Path, reason: str) -> UserError:
    """Say that a file and the others are not of one run."""
    return UserError(f"{path} is of another run ({reason}): run dvc repro")


def _table(path: Path, *columns: str) -> pandas.DataFrame | None:
    """Return the table; None if there is none, or only its header."""
    table = tables.read(path, *columns) if path.is_file() else None
    return table if table is not None and len(table) else None


def _arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """Return the arrays of a file; None if there is none."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:  # numpy leaves it open where it is no archive
            found = np.load(file, allow_pickle=False)
            if not isinstance(found, NpzFile):
                raise ValueError("a single array")
            return dict(found)
    except (ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, reason: str) -> UserError:
    """Say that a file is damaged."""
    return UserError(f"{path} is damaged ({reason}): {DAMAGED}")
