"""Find wrong labels, and images that resemble no other."""

from collections.abc import Sequence

import numpy as np
import pandas
from numpy.typing import NDArray

from src.auditing.samples import Samples
from src.data.corrections import COLUMNS
from src.data.splitting import Indices
from src.figures.style import percent

STRANGE = "resembles no other image"  # the reason with which such an image is suggested to be dropped


def label_issues(labels: Indices, probabilities: NDArray[np.float64]) -> Indices:
    """Return the images whose label is not their most probable class, the least probable label first.

    labels: (N,); probabilities: (N, K), by models that have not learned from the image.
    """
    from cleanlab.filter import find_label_issues

    found: Indices = find_label_issues(
        labels, probabilities, return_indices_ranked_by="self_confidence", filter_by="predicted_neq_given", n_jobs=1
    )
    return found


def wrong_labels(labels: Indices, probabilities: NDArray[np.float64]) -> int:
    """Estimate how many labels are wrong, by confident learning; 0 if there is only one class.

    C. Northcutt, L. Jiang, I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021.
    """
    from cleanlab.count import num_label_issues

    if len(np.unique(labels)) < 2:
        return 0
    return int(num_label_issues(labels, probabilities, estimation_method="off_diagonal_calibrated"))


def outliers(features: NDArray[np.float32]) -> Indices:
    """Return the images that resemble no other one, the strangest first, by their features (N, F).

    Their mean cosine distance to the ten nearest neighbours lies "far out": more than three interquartile ranges above
    the upper quartile (J. W. Tukey, "Exploratory Data Analysis", 1977).
    """
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=min(10, len(features) - 1), metric="cosine").fit(features)
    distance = neighbours.kneighbors()[0].mean(axis=1)
    order = np.argsort(-distance, kind="stable")
    lower, upper = np.quantile(distance, [0.25, 0.75])
    strangers: Indices = order[distance[order] > upper + 3 * (upper - lower)]
    return strangers


def suggest(
    samples: Samples, features: NDArray[np.float32], probabilities: NDArray[np.float64], classes: Sequence[str]
) -> pandas.DataFrame:
    """Return corrections, with the columns of `data/corrections.csv` and the numbers of the images as index.

    First come copies with different labels: the copy with the most probable label stays, and those with another label
    are to be dropped. Then come doubtful labels, and last images that resemble no other, the surest first in each part.
    """
    rows: dict[int, tuple[str, str, str, str]] = {}
    labels, names = samples.labels, samples.names
    probable = pandas.Series(probabilities[np.arange(len(labels)), labels])
    stays = probable.groupby(samples.same).transform("idxmax").to_numpy()
    for index in np.flatnonzero(labels != labels[stays]).tolist():
        other = stays[index]
        equal = "equal" if np.array_equal(samples.images[index], samples.images[other]) else "nearly equal"
        rows[index] = (names[index], "drop", "", f"{equal} to {names[other]}, labelled {classes[labels[other]]}")
    for index in label_issues(labels, probabilities):
        best, given = probabilities[index].argmax(), labels[index]
        sure, doubtful = (percent(probabilities[index, label], 1) for label in (best, given))
        why = f"{sure} {classes[best]}, {doubtful} {classes[given]} as labelled"
        rows.setdefault(index, (names[index], "relabel", classes[best], why))
    for index in outliers(features):
        rows.setdefault(index, (names[index], "drop", "", STRANGE))
    return pandas.DataFrame(list(rows.values()), pandas.Index(list(rows), dtype=np.int64), list(COLUMNS))
