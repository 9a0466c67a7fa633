"""Find shortcuts: properties that are no content of an image but predict its class, and may be learned instead."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray

from src.auditing.probabilities import folds
from src.auditing.samples import Samples
from src.data.images import open_image
from src.data.source import source_files
from src.data.splitting import Indices

_CAMERA = 272  # EXIF's tag of the camera's model


def properties(samples: Samples, max_bytes: int) -> dict[str, NDArray[Any]]:
    """Return properties of the images by name, as (N,) numbers or texts; those that never vary are left out.

    Those of files are returned if the source has a file for each image. max_bytes: of all members of an archive.
    """
    pixels = [(image.mean(), image.std()) for image in samples.images]
    found = dict(zip(("brightness", "contrast"), np.array(pixels).T, strict=True))
    of_file: dict[str, tuple[int, float, str, str, int]] = {}
    wanted = set(samples.names)
    for member, _ in source_files(max_bytes):
        if member.name in wanted:
            content = member.read()
            with warnings.catch_warnings(action="ignore"), open_image(content) as file:
                width, height = file.size
                camera = str(file.getexif().get(_CAMERA, ""))
                of_file[member.name] = width * height, width / height, str(file.format), camera, len(content)
    if len(of_file) == len(wanted):
        columns = zip(*(of_file[name] for name in samples.names), strict=True)
        headings = ("image size", "aspect ratio", "file format", "camera", "file size")
        found |= {heading: np.array(column) for heading, column in zip(headings, columns, strict=True)}
    return {heading: column for heading, column in found.items() if len(np.unique(column)) > 1}


def shortcuts(found: Mapping[str, NDArray[Any]], labels: Indices, units: Indices) -> list[tuple[str, float]]:
    """Return the balanced accuracy with which each property alone predicts the class, the best first.

    It is that of small trees, for each image by one of the other folds. By chance it is 1 / number of classes. units:
    (N,), equal for images that belong together: in two folds, whose image it is would tell its class.
    """
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=4, class_weight="balanced", min_samples_leaf=5, random_state=0)
    accuracy, split = {}, PredefinedSplit(folds(labels, units))
    for name, column in found.items():
        numbers = pandas.factorize(column, sort=True)[0] if column.dtype.kind == "U" else column
        predicted = cross_val_predict(tree, numbers[:, None], labels, cv=split)
        accuracy[name] = balanced_accuracy_score(labels, predicted)
    return sorted(accuracy.items(), key=lambda each: -each[1])
