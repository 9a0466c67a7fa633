"""Compute class probabilities of each image by a linear model that has not learned from it.

The features are those of a pretrained network. The trained model would not do: it has learned the wrong labels too.
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
from src.models.model_file import ModelSpec
from src.training.features import features_of, head_classifier

FOLDS = 5  # fewer where there are fewer different images
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # C of logistic regression: a smaller one regularises more
_SIDE = 16  # pixels: without a network, larger images are compared at this size


def pretrained_features(
    model: params.Model, train: params.Train, dataset: Dataset, opened: dict[SplitName, LabelledImages]
) -> NDArray[np.float32]:
    """Return the inputs of the pretrained network's last layer (N, F) for all images of the splits.

    They are kept in the files that features-first training uses. Raises `UserError` if the weights cannot be had, or if
    the network has no last layer that takes features.
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
    """Return the pixels (N, F), in [0, 1], of small copies of the images (N, H, W, C)."""
    height, width = (min(_SIDE, length) for length in images.shape[1:3])
    small = (F.adaptive_avg_pool2d(torch.tensor(image).permute(2, 0, 1) / 255, (height, width)) for image in images)
    return np.stack([each.numpy().ravel() for each in small])


def folds(labels: Indices, units: Indices) -> Indices:
    """Divide images at random into up to `FOLDS` parts with equal shares of each class; return the part of each (N,).

    labels: (N,); units: (N,), equal for images that belong together and are in one part.
    """
    rarest = np.argsort(np.bincount(labels)[labels], kind="stable")  # a unit counts for the rarest of its classes
    members, first = np.unique(units[rarest], return_index=True)
    class_of = labels[rarest[first]]
    order = np.random.default_rng(0).permutation(len(members))
    order = order[np.argsort(class_of[order], kind="stable")]
    part = np.empty(len(members), np.int64)
    part[order] = np.arange(len(members)) % min(FOLDS, len(members))
    return part[np.searchsorted(members, units)]


def out_of_fold(
    features: NDArray[np.float32], labels: Indices, units: Indices, classes: Sequence[str]
) -> NDArray[np.float64]:
    """Return the probabilities (N, K) of logistic regression, for each image by a model of the other `folds`.

    features: (N, F); labels: (N,); units: (N,), equal for images that belong together. In two folds an image's wrong
    label could be learned from its copy.

    The regularisation decides how many wrong labels a model learns by heart. The one with the least log loss over the
    folds is chosen, since accuracy does not show it. Raises `UserError` if a class has a single image or group.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fold = folds(labels, units)
    in_folds = np.bincount(np.unique(labels * FOLDS + fold) // FOLDS, minlength=len(classes))
    if in_folds.min() < 2:  # some model would know nothing of it
        rare = classes[int(in_folds.argmin())]
        raise UserError(f"class {rare!r} has less than two different images, or groups of images: add some")
    least = np.inf
    best: NDArray[np.float64] = np.empty(0)
    for strength in _STRENGTHS:
        probabilities = np.zeros((len(labels), len(classes)))
        for held_out in (fold == number for number in range(fold.max() + 1)):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000, tol=1e-3))
            model.fit(features[~held_out], labels[~held_out])
            probabilities[np.ix_(held_out, model.classes_)] = model.predict_proba(features[held_out])
        loss = -np.log(probabilities[np.arange(len(labels)), labels].clip(1e-9)).mean()
        if loss < least:
            least, best = loss, probabilities
    return best
