"""An exponential moving average of the weights, which is what is validated and kept where it is asked for."""

import copy

from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.models.classifier import Classifier


class Average:
    """Keep in `classifier` a copy whose weights and running statistics are the moving average of the trained one's.

    Polyak & Juditsky, 1992 (SIAM J. Control Optim. 30:4) for the mean, Tarvainen & Valpola, 2017 (arXiv 1703.01780)
    for the moving one. The decay of step t is min(decay, (1 + t) / (10 + t)), as in TensorFlow's
    ExponentialMovingAverage, so that the random start is soon forgotten; a function of t, hence without state.
    """

    def __init__(self, trained: Classifier, decay: float) -> None:
        self.classifier = copy.deepcopy(trained)
        self.decay = decay
        # Aliases of the tensors themselves, which training changes in place.
        self._pairs = list(zip(self.classifier.state_dict().values(), trained.state_dict().values(), strict=True))

    def update(self, step: int) -> None:
        """Take in the weights after step `step` of training, counted from 1."""
        moving = [pair for pair in self._pairs if pair[0].is_floating_point()]
        update = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]
        update([average for average, _ in moving], [present for _, present in moving], step)
