"""Turn logits, a network's outputs, into log-probabilities, and scores into ranks."""

import numpy as np
from numpy.typing import NDArray

from src.core.errors import UserError

Floats = NDArray[np.float64]


def log_probabilities(logits: NDArray[np.floating]) -> Floats:
    """Return the log-softmax of logits (N, K) in float64. Raises `UserError` if a logit is not finite."""
    if not np.isfinite(logits).all():
        raise UserError(
            "the network's outputs are not finite numbers: training diverged; try a lower train.optimizer.lr"
        )
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def ranks(scores: Floats, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank (N,) of each image's label among its scores (N, K): 1 = most probable.

    Among equal scores the lower class comes first, as with `argmax`, so rank 1 always means a right prediction.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    ahead = (scores > own) | ((scores == own) & before)
    rank: NDArray[np.int64] = 1 + ahead.sum(axis=1, dtype=np.int64)
    return rank
