"""Everything that the pictures and the page show, read once from what the stages before have written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas
import torch
from numpy.typing import NDArray

from src import params
from src.core import paths
from src.core.documents import read_object
from src.core.errors import UserError
from src.data.prepared import Dataset, LabelledImages, open_split, read_dataset
from src.evaluation import metric_files, tables
from src.models.inspection import Inspection, inspect_network
from src.models.model_file import load


@dataclass(frozen=True)
class PipelineResults:
    """Hold one pass of the pipeline. Tables are those of `reports/`; one without rows has nothing to show."""

    options: params.Visualize
    dataset: Dataset
    train: LabelledImages
    test: LabelledImages
    inspection: Inspection
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    environment: Mapping[str, Any]
    history: pandas.DataFrame
    steps: pandas.DataFrame
    predictions: pandas.DataFrame
    per_class: pandas.DataFrame
    confusion: pandas.DataFrame
    calibration: pandas.DataFrame
    robustness: pandas.DataFrame
    snapshots: Mapping[str, NDArray[np.generic]]  # epochs (S,), and kernels (S, O, I, H, W) of one or two convolutions
    augmented: NDArray[np.uint8]  # (24, H, W, C), the first as it is


def read_pipeline_results(options: params.Visualize) -> PipelineResults:
    """Read the results of all stages, and inspect the network on the chosen image.

    Raises `UserError` where data or model are damaged, do not fit each other, or have no such image.
    """
    dataset = read_dataset()
    train, test = open_split("train"), open_split("test")
    classifier, spec = load(paths.MODEL)
    spec.check(dataset)
    images = test.images if len(test.labels) else train.images
    if options.image >= len(images):
        raise UserError(f"visualize.image is {options.image}, but there are {len(images):,} images, counted from 0")
    # The order of sums, hence the last bits and the pictures, would depend on the number of cores.
    torch.set_num_threads(1)
    with (
        np.load(paths.SNAPSHOTS, allow_pickle=False) as kernels,
        np.load(paths.AUGMENTATION, allow_pickle=False) as shown,
    ):
        snapshots, augmented = dict(kernels), shown["images"]
    return PipelineResults(
        options=options,
        dataset=dataset,
        train=train,
        test=test,
        inspection=inspect_network(classifier, images[options.image], options.shift, options.layer),
        training=read_object(paths.TRAINING),
        metrics=metric_files.read(),
        environment=read_object(paths.ENVIRONMENT),
        history=tables.read(paths.HISTORY),
        steps=tables.read(paths.STEPS),
        predictions=tables.read(paths.PREDICTIONS),
        per_class=tables.read(paths.PER_CLASS),
        confusion=tables.read(paths.CONFUSION),
        calibration=tables.read(paths.CALIBRATION),
        robustness=tables.read(paths.ROBUSTNESS),
        snapshots=snapshots,
        augmented=augmented,
    )
