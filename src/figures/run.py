"""Everything that the pictures and the page show, read once from what the stages before have written."""

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas
import torch
from numpy.typing import NDArray

from src import params, paths
from src.anatomy.examine import Anatomy, examine
from src.data.intact import open_checked
from src.data.prepared import DAMAGED, Dataset, LabelledImages, read_dataset
from src.evaluation import tables
from src.faults import Fault
from src.models.file import load


@dataclass(frozen=True)
class Run:
    """One pass of the pipeline. Tables are those of `reports/`; what was not recorded is None."""

    options: params.Visualize
    dataset: Dataset
    train: LabelledImages
    test: LabelledImages
    anatomy: Anatomy
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
    """Reads it all, and lets the network look at the chosen image. Raises `Fault` where that cannot be."""
    dataset = read_dataset()
    train, test = open_checked(dataset, "train", "test")
    classifier, card = load(paths.MODEL)
    card.check(dataset)
    images = test.images if len(test.labels) else train.images
    if options.image >= len(images):
        raise Fault(f"visualize.image is {options.image}, but there are {len(images):,} images, counted from 0")
    # The order of sums, hence the last bits and the pictures, would depend on the number of cores.
    torch.set_num_threads(1)
    snapshots, augmented = _arrays(paths.SNAPSHOTS), _arrays(paths.AUGMENTATION)
    return Run(
        options=options,
        dataset=dataset,
        train=train,
        test=test,
        anatomy=examine(classifier, images[options.image], options.shift, options.layer),
        training=_json(paths.TRAINING),
        metrics=_json(paths.METRICS),
        environment=_json(paths.ENVIRONMENT),
        history=_whole_table(paths.HISTORY),
        predictions=_whole_table(paths.PREDICTIONS),
        per_class=_whole_table(paths.PER_CLASS),
        confusion=_whole_table(paths.CONFUSION),
        steps=_table(paths.STEPS),
        calibration=_table(paths.CALIBRATION),
        robustness=_table(paths.ROBUSTNESS),
        snapshots=snapshots,
        augmented=augmented["images"] if augmented else None,
    )


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turns what readers raise about a file's content into a `Fault`."""
    try:
        yield
    except (ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise Fault(f"{path} is damaged ({error}): {DAMAGED}") from None


def _json(path: Path) -> dict[str, Any]:
    with _damage(path):
        return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _whole_table(path: Path) -> pandas.DataFrame:
    with _damage(path):
        return tables.read(path)


def _table(path: Path) -> pandas.DataFrame | None:
    """The table, None where there is none or only its header."""
    table = _whole_table(path) if path.is_file() else None
    return table if table is not None and len(table) else None


def _arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    if not path.is_file():
        return None
    with _damage(path), np.load(path, allow_pickle=False) as file:
        return dict(file)
