"""Accuracy by strength of a corruption: the curves of `reports/robustness.csv`, and their summary for the metrics."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas
import torch
from numpy.typing import NDArray
from torch import Tensor

from src import params
from src.compute.batches import Batches
from src.evaluation import corruptions
from src.evaluation.classes import accuracy_columns
from src.models.classifier import Classifier
from src.stats.groups import Groups, design_effect


class Point(NamedTuple):
    """Name a point of a curve. At strength 0 the images are as they are."""

    kind: str  # shift | gaussian | salt_pepper | fgsm
    strength: float  # pixels | standard deviation | share of pixels | ε
    direction: str = ""  # of a shift: left | right | up | down


_UNCHANGED = Point("", 0)


@torch.no_grad()
def robustness(
    classifier: Classifier, images: Batches, config: params.Robustness, batch_size: int, groups: Groups = None
) -> pandas.DataFrame:
    """Return `kind,strength,direction,images,correct,accuracy,ci_low,ci_high`, a row for each point of each curve.

    All points are measured on the same images: at most `config.images`, drawn by a fixed seed, so that a larger number
    includes the images of a smaller one. Intervals are Wilson's; groups: those of the images (N,), which alone count as
    independent. `batch_size` changes memory and no result.
    """
    if not len(images):
        return _table({}, None)
    classifier.eval()
    order = np.random.default_rng(corruptions.SEED).permutation(len(images))
    chosen = torch.from_numpy(np.sort(order[: config.images]))
    right: dict[Point, list[Tensor]] = {}
    for numbers, (batch, labels) in zip(torch.split(chosen, batch_size), images.take(chosen, batch_size), strict=True):
        for point, corrupted in corrupt(classifier, batch, labels, numbers.tolist(), config):
            right.setdefault(point, []).append(classifier(corrupted).argmax(dim=1) == labels)
    answers = {point: torch.cat(batches).cpu().numpy() for point, batches in right.items()}
    return _table(answers, None if groups is None else np.array(groups, dtype=object)[chosen.numpy()].tolist())


def headline(curves: pandas.DataFrame) -> dict[str, float | int]:
    """Return `robustness_images`, and the accuracy at every strength above 0, named as in `fgsm_0.005_accuracy`.

    The accuracy at a shift is the mean over the four directions. Without curves return nothing.
    """
    if curves.empty:
        return {}
    result: dict[str, float | int] = {"robustness_images": int(curves["images"].iloc[0])}
    for (kind, strength), points in curves[curves["strength"] > 0].groupby(["kind", "strength"], sort=False):
        result[f"{kind}_{strength:g}_accuracy"] = round(float(points["accuracy"].mean()), 6)
    return result


def corrupt(
    classifier: Classifier, images: Tensor, labels: Tensor, numbers: Sequence[int], config: params.Robustness
) -> Iterator[tuple[Point, Tensor]]:
    """Yield the images (N, H, W, C) unchanged, then corrupted at every strength above 0, curve by curve."""
    yield _UNCHANGED, images
    for direction in corruptions.DIRECTIONS:
        for pixels in range(1, config.shifts + 1):
            yield Point("shift", pixels, direction), corruptions.shift(images, direction, pixels)
    if config.noise:
        noise = corruptions.draw_normal(images, numbers)
        for std in config.noise:
            yield Point("gaussian", std), corruptions.add(images, noise, std)
    if config.salt_pepper:
        noise = corruptions.draw_uniform(images, numbers)
        for share in config.salt_pepper:
            yield Point("salt_pepper", share), corruptions.salt_pepper(images, noise, share)
    if config.fgsm:
        signs = corruptions.gradient_signs(classifier, images, labels)
        for epsilon in config.fgsm:
            yield Point("fgsm", epsilon), corruptions.add(images, signs, epsilon)


def _table(right: Mapping[Point, NDArray[np.bool_]], groups: Groups) -> pandas.DataFrame:
    """Return the table of which images (N,) are right at each point; each curve begins with a row of strength 0."""
    rows: dict[Point, NDArray[np.bool_]] = {}
    for point, answers in right.items():
        if point != _UNCHANGED:
            rows.setdefault(point._replace(strength=0), right[_UNCHANGED])
            rows[point] = answers
    images = np.array([len(answers) for answers in rows.values()], dtype=np.int64)
    correct = np.array([answers.sum() for answers in rows.values()], dtype=np.int64)
    effects = [design_effect(answers, groups) for answers in rows.values()]
    return pandas.DataFrame(
        {
            "kind": [point.kind for point in rows],
            "strength": np.array([point.strength for point in rows], dtype=np.float64),
            "direction": [point.direction for point in rows],
            **accuracy_columns(correct, images, effects),
        }
    )
