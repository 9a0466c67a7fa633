"""What a search prints: every point once, when it is finished; the best so far, and the time that is left."""

import time
from collections.abc import Sequence

from src.search.plan import Plan, Search
from src.search.results import Objective, Result, describe, ranked


class Progress:
    """Of a plan of which `known` points were finished before."""

    def __init__(self, plan: Plan, known: Sequence[Result]) -> None:
        self._plan, self._objective = plan, Objective.of(plan)
        self._shown = {result.number for result in known}
        self._before, self._start = len(known), time.monotonic()
        if known:
            print(f"{len(known)} of {plan.points} points are known already", flush=True)

    def __call__(self, found: Sequence[Result]) -> list[Result]:
        """Prints and returns those that are new among all that are finished."""
        new = sorted((one for one in found if one.number not in self._shown), key=lambda one: one.ended)
        best = ranked(found, maximize=self._plan.maximize)
        for result in new:
            self._shown.add(result.number)
            print(self._line(result, best), flush=True)
        return new

    def _line(self, result: Result, best: Sequence[Result]) -> str:
        searching = isinstance(self._plan, Search)
        value = "failed" if result.value is None else self._objective.words(result.value)
        ended = f"{result.state} after epoch {result.epochs}" if result.state != "failed" else result.reason
        setting = describe(result.values) + ("" if searching else f", seed {result.seed}")
        text = f"{'point' if searching else 'training'} {result.number:3}  {value:>9}  {ended:<24}  {setting}"
        if searching and best and best[0].value is not None:
            text += f"  best {self._objective.words(best[0].value)} (point {best[0].number})"
        done = len(self._shown)
        left = (time.monotonic() - self._start) / (done - self._before) * (self._plan.points - done)
        return f"{text}  {done}/{self._plan.points}, {span(left)} left"


def span(left: float) -> str:
    """Seconds in words."""
    minutes, rest = divmod(round(left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
