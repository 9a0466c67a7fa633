"""A search whose trials take no time, for the tests of points and storages; run as a program, a worker of one.

python tests/tune_samples.py URL POINTS SECONDS
"""

import sys
import time
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import TrialState

from src.params import Params
from src.params.writing import load_recipe
from src.search import space
from src.search.plan import Search
from src.search.points import Point, Points
from src.search.sampling import points as sized
from src.search.storage import create_study, open_storage

DIGITS = load_recipe("digits")
EPOCHS = 9


def params(**tune: Any) -> Params:
    raw = DIGITS.model_dump()
    raw["tune"] |= tune
    raw["train"]["epochs"] = EPOCHS
    return Params.model_validate(raw)


def plan(points: int, **tune: Any) -> Search:
    settings = params(**tune)
    entries = space.distributions(settings)
    return Search(settings, "sample", "{}", sized(settings.tune.sampler, entries, points), entries, EPOCHS)


def accuracy(values: dict[str, Any], epoch: int) -> float:
    """Rises with the epochs; best at the recipe's learning rate."""
    import math

    rate = values.get("train.optimizer.lr", 0.004)
    return (1 - abs(math.log10(rate / 0.004)) / 4) * (1 - 0.5**epoch) + 0.001 * float(values.get("model.dropout") or 0)


def train(point: Point, epochs: int = EPOCHS, pause: float = 0.0) -> None:
    """The point as a training would report it, as far as `epochs`; finished only if those are all."""
    values, _ = point.propose()
    for epoch in range(1, epochs + 1):
        time.sleep(pause)
        if not point.mine():
            return
        if point.report(epoch, accuracy(values, epoch)) and epoch < EPOCHS:
            point.finish(TrialState.PRUNED, None, {"values": values})
            return
    if epochs == EPOCHS:
        point.finish(TrialState.COMPLETE, accuracy(values, EPOCHS), {"values": values})


def opened(url: str | None, search: Search) -> tuple[BaseStorage, Points]:
    storage = open_storage(url)
    create_study(storage, search.name, search.question, maximize=search.maximize)
    return storage, Points(storage, url or "", search, "test")


def work(points: Points, pause: float = 0.0) -> None:
    while not points.done():
        if point := points.claim():
            train(point, pause=pause)
        else:
            time.sleep(0.05)


if __name__ == "__main__":
    work(opened(sys.argv[1], plan(int(sys.argv[2])))[1], float(sys.argv[3]))
