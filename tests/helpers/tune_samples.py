"""A search whose trials take no time; run as a program, one process of several on a database.

python tests/helpers/tune_samples.py URL TRIALS SECONDS
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from optuna.trial import FrozenTrial

from src.params import Params
from src.params.writing import load_recipe
from src.search import space
from src.search.messages import Outcome, Task
from src.search.plan import Plan
from src.search.sampling import trial_count
from src.search.storage import open_storage
from src.search.trials import Trials
from src.training.epoch import Epoch

DIGITS = load_recipe("digits")
EPOCHS = 9


def params(**tune: Any) -> Params:
    raw = DIGITS.model_dump()
    raw["tune"] |= tune
    raw["train"]["epochs"] = EPOCHS
    return Params.model_validate(raw)


def plan(trials: int, **tune: Any) -> Plan:
    settings = params(**tune)
    entries = space.distributions(settings)
    return Plan(settings, "sample", trial_count(settings.tune.sampler, entries, trials), entries)


def epoch(number: int, accuracy: float, loss: float = 0.5) -> Epoch:
    return Epoch(number, 0.1, 0.9, loss, accuracy, 1e-3, True, 1.0, 1.0, None, [])


def epochs(task: Task) -> Iterator[Epoch]:
    """Yield epochs that become better, and are best at the recipe's learning rate."""
    for number in range(1, task.train.epochs + 1):
        rate = 1 - abs(math.log10(task.train.optimizer.lr / 0.004)) / 4
        yield epoch(number, rate * (1 - 0.5**number) + 0.001 * task.model.dropout)


class SampleWorkers:
    """Stand for `WorkerPool` and its only worker: give results at once, one training after the other."""

    count = 1

    def __init__(self, pause: float = 0.0) -> None:
        self._pause = pause

    def widen(self, most: int) -> None:
        pass

    def each(self, work: Callable[[Any], Any], tick: Callable[[], None] = lambda: None) -> Iterator[Any]:
        self._tick = tick
        while (result := work(self)) is not None:
            yield result

    def train(self, task: Task, stops: Callable[[Epoch], bool]) -> Outcome:
        for each in epochs(task):
            time.sleep(self._pause)
            self._tick()
            if stops(each) and each.number < task.train.epochs:
                return Outcome("pruned")
        model = f"md5 of {task.model.dropout} {task.train.optimizer.lr}"
        return Outcome("complete", {"model_md5": model})


def take(trials: Trials, pause: float = 0.0) -> None:
    """Run the trials that are left, as a session does."""

    def never() -> bool:
        trials.tick()  # which in a session another thread does
        return False

    for _ in SampleWorkers(pause).each(lambda worker: trials.run(worker, never), trials.tick):
        pass


def searched(search: Plan, url: str | None = None) -> list[FrozenTrial]:
    """Run a search in the journal or at a URL; return its finished trials."""
    with open_storage(search.name, url) as storage:
        trials = Trials(storage, search)
        take(trials)
        return trials.finished()


if __name__ == "__main__":
    with open_storage("sample", sys.argv[1]) as opened:
        take(Trials(opened, plan(int(sys.argv[2]), sampler="random")), float(sys.argv[3]))
