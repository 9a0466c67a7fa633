"""Our training loop against the tutorial's own, a plain `DataLoader`, and the floor.

    python -m benchmarks.loops                                       the five systems, on a processor, one thread
    python -m benchmarks.loops --systems mnist cifar10-vgg --threads 2

The floor is forward, backward and optimiser on one resident batch (`benchmarks.contenders.learn`). The loops take turns
of about `--seconds`, in an order that is reversed every round; ours and the floor run in every precision. `--threads`
is torch's; "2 workers" are two more processes that load, so that row uses more processor than the others. Prints images
per second and keeps them in `benchmarks/loops.json`, one entry for every system, device and number of threads. A GPU is
measured by `python -m benchmarks.gpu`.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import contenders
from benchmarks.common import DATA, FOLDER, command_line, hardware, keep, summary, versions
from benchmarks.contenders import Turn
from benchmarks.problems import SYSTEMS, Problem, problem
from src.core.errors import command
from src.params import Train

RESULTS = FOLDER / "loops.json"
TUTORIAL, PLAIN, FLOOR = "tutorial", "DataLoader + v2", "floor"
COMPILED = "compiled"
PRECISIONS = ("float32", "bfloat16")


class Contender(NamedTuple):
    """Hold a loop: how turns of so many steps are made, the row of its floor, the first steps that do not count."""

    make: Callable[[int], Turn]
    floor: str
    warm: int = 0


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS, metavar="SYSTEM")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn, about; at least one step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the archives")
    arguments = parser.parse_args()
    for name in arguments.systems:
        known = problem(name, arguments.data)
        section = known.params.train.model_copy(update={"device": "cpu", "threads": arguments.threads})
        found = contestants(known, section, PRECISIONS)
        rows: dict[str, Any] = {}
        for more in alternated(found, known, section, arguments.rounds, arguments.seconds):
            rows |= more
        result = {
            "system": name,
            "device": "cpu",
            "threads": arguments.threads,
            "rounds": arguments.rounds,
            "hardware": hardware(),
            "versions": versions("torch", "torchvision"),
            "rows": rows,
        }
        keep(RESULTS, result, same=("system", "device", "threads"))
        for loop, row in rows.items():
            print(f"{name:<14} {loop:<24} {row.get('failed') or row['images_per_second']['median']}", flush=True)


def contestants(
    known: Problem, section: Train, precisions: Sequence[str], workers: int = 0, compiled: Sequence[str] = ()
) -> dict[str, Contender]:
    """Name every loop that can run here by its row; ours and the floor in all `precisions`, ours `compiled` in some.

    workers: processes that load for the plain loader.
    """
    device = torch.device(section.device)
    limit, warm = f"{FLOOR}, float32", contenders.warm(workers)
    found = {
        TUTORIAL: Contender(partial(contenders.tutorial, known, section, device, 0), limit),
        f"{TUTORIAL}, 2 workers": Contender(
            partial(contenders.tutorial, known, section, device, 2), limit, contenders.warm(2)
        ),
        PLAIN: Contender(partial(contenders.plain, known, section, device, workers), limit, warm),
    }
    for precision in precisions:
        own = section.model_copy(update={"precision": precision})
        limit = f"{FLOOR}, {precision}"
        found[f"ours, {precision}"] = Contender(partial(contenders.ours, known, own), limit)
        found[limit] = Contender(partial(contenders.floor, known, own), limit)
        if precision in compiled:
            own = own.model_copy(update={"compile": True})
            found[f"ours, {precision}, {COMPILED}"] = Contender(partial(contenders.ours, known, own), limit)
    return found


def alternated(
    found: Mapping[str, Contender], known: Problem, section: Train, rounds: int, seconds: float
) -> Iterator[dict[str, Any]]:
    """Take `rounds` turns of each loop, and yield all rows after every round.

    Compiling may take long, or fail: all others come first, and a loop that fails is a row that says why.
    """
    most = max(1, len(known.training.labels) // section.batch_size)
    turns: dict[str, list[float]] = {}
    for compiled in (False, True):
        entries: dict[str, Turn] = {}
        for name, contender in found.items():
            if name.endswith(COMPILED) != compiled:
                continue
            if contender.warm >= most:
                yield {name: {"failed": f"its first {contender.warm} steps do not count, and there are {most}"}}
                continue
            try:
                entries[name] = fitted(contender.make, section.batch_size, seconds, contender.warm + 1, most)
            except Exception as error:
                traceback.print_exc()
                yield {name: {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}}
                continue
            turns[name] = []
        for number in range(rounds):
            for name in list(entries)[:: -1 if number % 2 else 1]:
                turns[name].append(entries[name]())
            yield {name: row(name, found[name].floor, turns) for name in entries}


def fitted(make: Callable[[int], Turn], batch_size: int, seconds: float, least: int, most: int) -> Turn:
    """Return a loop, warmed up, with turns of about `seconds`.

    A short turn says too little of a long one: the number of steps is raised until it fits. The first turn, which may
    compile and tune, says nothing.
    """
    steps = least
    while True:
        turn = make(steps)
        turn()
        wanted = min(most, round(seconds * turn() / batch_size))
        if wanted < 2 * steps:
            return turn
        steps = wanted


def row(name: str, floor: str, turns: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Sum up the turns of one loop: images per second, and ratios, taken round by round.

    Loops that are compiled run after all others, whose rounds were more at first.
    """
    found = {"images_per_second": summary(turns[name])}
    for key, other in {"of_tutorial": TUTORIAL, "of_floor": floor}.items():
        if name != other and other in turns:
            found[key] = summary([a / b for a, b in zip(turns[name], turns[other], strict=False)])
    return found


if __name__ == "__main__":
    command(main)
