"""Judge every image by a model that has not learned from it: out-of-fold probabilities of a linear one on features.

Features are a pretrained network's, never those of the trained model: it has seen the labels, wrong ones too.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from src import params
from src.compute.batches import Batches
from src.compute.device import prepare
from src.core.errors import UserError
from src.data.prepared import Dataset, LabelledImages, SplitName
from src.data.splitting import Indices
from src.models.file import ModelSpec
from src.training.features import features_of, head_classifier

FOLDS = 5  # fewer where there are fewer different images
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # C of logistic regression: the least regularises most
_SIDE = 16  # pixels, at most, of the images that are compared without a network


def pretrained_features(
    model: params.Model, train: params.Train, dataset: Dataset, opened: dict[SplitName, LabelledImages]
) -> NDArray[np.float32]:
    """Return what the pretrained network's last layer is given, (N, F), for all images of the splits.

    They are those that features-first training keeps. Raises `UserError` where weights cannot be had, or where the
    network has no last layer that takes features.
    """
    compute = prepare(train, model.name)
    frozen = model.model_copy(update={"freeze": True})
    network = compute.place(ModelSpec.of(frozen, dataset).build(0))
    batches = {split: Batches(images, compute.device) for split, images in opened.items()}
    if head_classifier(network, batches["train"]) is None:
        raise UserError(f"{model.name} pools behind its last layer, which takes no features: name a --backbone")
    found = [np.asarray(features_of(network, images, dataset, split).images) for split, images in batches.items()]
    return np.concatenate(found).astype(np.float32, copy=False).reshape(sum(map(len, found)), -1)


def pixel_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the pixels (N, F) of small copies of images (N, H, W, C), in [0, 1]."""
    height, width = (min(_SIDE, length) for length in images.shape[1:3])
    small = (F.adaptive_avg_pool2d(torch.tensor(image).permute(2, 0, 1) / 255, (height, width)) for image in images)
    return np.stack([each.numpy().ravel() for each in small])


def out_of_fold(
    features: NDArray[np.float32], labels: Indices, units: Indices, classes: Sequence[str]
) -> NDArray[np.float64]:
    """Return the probabilities (N, K) of logistic regression for each image, learned from the other folds' images.

    features: (N, F); labels: (N,), as given; units: (N,), equal for images that belong together, which are in one fold:
    else the label of a copy would be learned, a wrong one too. How strongly it is regularised decides how many wrong
    labels it learns by heart, which accuracy does not show: the log loss of the out-of-fold probabilities chooses.
    Raises `UserError` if a class has a single image.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    members, first = np.unique(units, return_index=True)
    if (rare := np.bincount(labels[first], minlength=len(classes))).min() < 2:
        raise UserError(f"class {classes[int(rare.argmin())]!r} has less than two different images: add some")
    order = np.random.default_rng(0).permutation(len(members))
    order = order[np.argsort(labels[first[order]], kind="stable")]  # one class after the other, for equal shares
    fold_of = np.empty(len(members), np.int64)
    folds = min(FOLDS, len(members))
    fold_of[order] = np.arange(len(members)) % folds
    fold = fold_of[np.searchsorted(members, units)]
    least = np.inf
    best: NDArray[np.float64] = np.empty(0)
    for strength in STRENGTHS:
        probabilities = np.zeros((len(labels), len(classes)))
        for held_out in (fold == number for number in range(folds)):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000, tol=1e-3))
            model.fit(features[~held_out], labels[~held_out])
            probabilities[np.ix_(held_out, model.classes_)] = model.predict_proba(features[held_out])
        loss = -np.log(probabilities[np.arange(len(labels)), labels].clip(1e-9)).mean()
        if loss < least:
            least, best = loss, probabilities
    return best
