"""Classification of a stream of photos, a batch at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.compute.device import EVALUATED_IMAGES
from src.data.prepared import ImageFormat
from src.prediction.model import Model
from src.prediction.photos import Photo, Pixels

_BATCH_BYTES = 32 * 2**20  # of pixels; as float32, which the network begins with, it is four times as much


class Prediction(NamedTuple):
    """Hold what the model says about one photo."""

    path: Path
    pixels: Pixels  # (H, W, C), as the model saw them
    size: tuple[int, int]  # width and height of the photo itself
    probabilities: NDArray[np.float32]  # (K,)


def batch_size(image: ImageFormat) -> int:
    """Return how many photos to compute at once."""
    return max(1, min(EVALUATED_IMAGES, _BATCH_BYTES // (image.height * image.width * image.channels)))


def classify(photos: Iterable[Photo], model: Model) -> Iterator[Prediction | Photo]:
    """Yield a prediction for every photo with pixels, and the others as they came, in order."""
    size = batch_size(model.spec.image)
    waiting: list[Photo] = []
    readable = 0
    for photo in photos:
        waiting.append(photo)
        readable += photo.prepared is not None
        # Files that are no images wait for a batch too: a folder may hold any number of them.
        if readable == size or len(waiting) == 8 * size:
            yield from _batch(waiting, model)
            waiting, readable = [], 0
    yield from _batch(waiting, model)


def _batch(photos: list[Photo], model: Model) -> Iterator[Prediction | Photo]:
    """Classify the photos of a batch at once."""
    pixels = [photo.prepared.pixels for photo in photos if photo.prepared]
    rows = iter(model.probabilities(np.stack(pixels)) if pixels else ())
    for photo in photos:
        yield Prediction(photo.path, *photo.prepared, next(rows)) if photo.prepared else photo
