"""Turn logits, a network's outputs, into log-probabilities."""

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
