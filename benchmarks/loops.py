"""Our training loop against the tutorial's own, a plain `DataLoader`, PyTorch Lightning, and the floor.

    python -m benchmarks.loops                     the five systems, on a processor: one thread, and as a user has them
    python -m benchmarks.loops --systems mnist cifar10-vgg --threads 2
    python -m benchmarks.loops --device cuda --workers 8

The floor is forward, backward and optimiser on one resident batch (`benchmarks.contenders.learn`), in a process that is
set up as ours. Each loop of a system has a process of its own, whose settings and memory no other changes. They take
turns, in an order that is reversed every round, while the others rest. A turn is a fixed number of steps, of about
`--seconds`. Everything runs in float32 but the rows with the precision that `auto` picks, where that is another.
`--threads` is torch's; `auto` is what a user gets: `train.threads: auto` for ours, for the others all processors, which
torch takes by itself. "2 workers" are two more processes that load, so that row uses more processor than the others.

A whole epoch, with the evaluations of the tutorial, is computed from the turns: all training images at their rate and
all held-out images at theirs, as often as the tutorial looks at them. Prints a table and keeps it in
`benchmarks/loops.json`, one entry for every system, device and number of threads.
"""

import argparse
import multiprocessing
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import contenders
from benchmarks.common import hardware, keep, summary, versions
from benchmarks.contenders import Entry, Maker, Turn
from benchmarks.problems import Problem, problem
from benchmarks.systems import ARCHIVES
from benchmarks.tutorials import TUTORIALS
from src.compute.device import prepare
from src.core.errors import command
from src.params import Train

RESULTS = Path("benchmarks/loops.json")
TUTORIAL, PLAIN, FLOOR, LIGHTNING = "tutorial", "DataLoader + v2", "floor", "PyTorch Lightning"
COMPILED = "compiled"

_own = threading.local()  # in the process of a loop: the loop, warmed up


class Contender(NamedTuple):
    """floor: the row that is this loop's limit; warm: the steps at the start of a turn that do not count."""

    maker: Maker
    floor: str
    warm: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=list(ARCHIVES), choices=list(ARCHIVES), metavar="SYSTEM")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn, about; at least one step")
    parser.add_argument("--threads", nargs="+", type=number_or_auto, default=[1, "auto"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that load for DataLoader + v2 and Lightning")
    parser.add_argument("--data", type=Path, default=Path("../shared/datasets"), help="folder of the archives")
    arguments = parser.parse_args()
    for name, threads in product(arguments.systems, arguments.threads):
        opening = partial(problem, name, arguments.data)
        known = opening()
        section = settings(known, arguments.device, threads)
        result = {
            "system": name,
            "device": device_name(known, section),
            "threads": threads,
            "workers": arguments.workers,
            "rounds": arguments.rounds,
            "seconds_of_a_turn": arguments.seconds,
            "hardware": hardware(),
            "versions": versions("torch", "torchvision", "pytorch_lightning"),
            **compare(opening, section, arguments.rounds, arguments.seconds, arguments.workers),
        }
        keep(RESULTS, result, same=("system", "device", "threads"))
        print(table(result), flush=True)


def number_or_auto(text: str) -> int | str:
    return text if text == "auto" else int(text)


def settings(known: Problem, device: str, threads: int | str) -> Train:
    """The recipe's, on this device with so many threads, the precision still `auto`."""
    return known.params.train.model_copy(update={"device": device, "threads": threads, "precision": "auto"})


def device_name(known: Problem, section: Train) -> str:
    device = prepare(section, known.params.model.name).device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def contestants(
    known: Problem, section: Train, precisions: Sequence[str], workers: int, *, compiled: bool = False
) -> dict[str, Contender]:
    """Name every loop that can run here by its row; ours and the floor in all `precisions`, ours `compiled` too.

    Changes nothing in the process, since what `prepare` sets is a part of ours.
    """
    device = torch.device(section.device)
    limit = f"{FLOOR}, float32"
    found = {
        TUTORIAL: Contender(contenders.tutorial(known, section, device), limit, 0),
        f"{TUTORIAL}, 2 workers": Contender(
            contenders.tutorial(known, section, device, workers=2), limit, contenders.warm(2)
        ),
        PLAIN: Contender(contenders.plain(known, section, device, workers), limit, contenders.warm(workers)),
    }
    if known.photos:
        files = contenders.tutorial(known, section, device, files=True)
        found[f"{TUTORIAL}, from JPEG files"] = Contender(files, limit, 0)
    if contenders.LIGHTNING_INSTALLED:
        fitting = contenders.with_lightning(known, section, device, workers)
        found[LIGHTNING] = Contender(fitting, limit, contenders.warm(workers))
    for precision in precisions:
        own = section.model_copy(update={"precision": precision})
        limit = f"{FLOOR}, {precision}"
        found[f"ours, {precision}"] = Contender(contenders.ours(known, own), limit, 0)
        found[limit] = Contender(contenders.floor(known, own), limit, 0)
        if compiled:
            own = own.model_copy(update={"compile": True})
            found[f"ours, {precision}, {COMPILED}"] = Contender(contenders.ours(known, own), limit, 0)
    return found


def apart() -> Executor:
    """One process, a fresh interpreter."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def compare(
    opening: Callable[[], Problem],
    section: Train,
    rounds: int,
    seconds: float,
    workers: int,
    place: Callable[[], Executor] = apart,
) -> dict[str, Any]:
    """`rounds` alternated turns of every loop, each where `place` says; medians, quartiles, and ratios taken round by
    round. What `opening` gives does not travel: every process opens it."""
    known = opening()
    auto = prepare(section, known.params.model.name).precision
    precisions = tuple(dict.fromkeys(("float32", auto)))
    found = contestants(known, section, precisions, workers)
    places: dict[str, Executor] = {}
    steps: dict[str, int] = {}
    turns: dict[str, list[Turn]] = {}
    missing = {} if contenders.LIGHTNING_INSTALLED else {LIGHTNING: "not installed"}
    with ExitStack() as stack:
        for name, contender in found.items():
            if contender.warm and steps[TUTORIAL] < 2 * (contender.warm + 1):
                missing[name] = f"its first {contender.warm} steps do not count, and a step takes too long"
                continue
            places[name] = stack.enter_context(place())
            steps[name] = places[name].submit(begin, opening, section, precisions, workers, name, seconds).result()
            turns[name] = []
        for number in range(rounds):
            for name in list(places)[:: -1 if number % 2 else 1]:
                turns[name].append(places[name].submit(go_on).result())
    rows = {name: {"steps": steps[name], **row(name, found[name].floor, turns, known)} for name in turns}
    return {"auto": auto, "rows": rows, "not_measured": missing}


def begin(
    opening: Callable[[], Problem], section: Train, precisions: Sequence[str], workers: int, name: str, seconds: float
) -> int:
    """In its own process: warms one loop up; its steps in a turn."""
    # Worker processes that load begin as they do by default: this one would hand on how it began itself.
    multiprocessing.set_start_method(None, force=True)
    # Lightning's advice on the number of workers, which is what is measured.
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    known = opening()
    contender = contestants(known, section, precisions, workers)[name]
    most = max(1, len(known.training.labels) // section.batch_size)
    _own.entry, steps = fitted(contender.maker, section.batch_size, seconds, contender.warm + 1, most)
    return steps


def go_on() -> Turn:
    """There: its next turn."""
    turn: Turn = _own.entry()
    return turn


def fitted(maker: Maker, batch_size: int, seconds: float, least: int, most: int) -> tuple[Entry, int]:
    """A loop, warmed up, with turns of about `seconds`, and their number of steps. A short turn says too little of a
    long one: the number is raised until it fits. The first turn, which may compile and tune, says nothing."""
    steps = least
    while True:
        entry = maker(steps)
        entry()
        wanted = min(most, round(seconds * entry().training / batch_size))
        if wanted < 2 * steps:
            return entry, steps
        steps = wanted


def row(name: str, floor: str, turns: dict[str, list[Turn]], known: Problem) -> dict[str, Any]:
    """What the turns of one loop say: images per second, its ratios to the tutorial and the floor, a whole epoch."""
    own = turns[name]
    ratios = {"of_tutorial": TUTORIAL, "of_floor": floor}
    found = {"images_per_second": summary([turn.training for turn in own])}
    for key, other in ratios.items():
        if name != other:
            found[key] = summary([a.training / b.training for a, b in zip(own, turns[other], strict=True)])
    if epochs := [seconds for turn in own if (seconds := epoch_seconds(name, turn, known))]:
        told = [seconds for turn in turns[TUTORIAL] if (seconds := epoch_seconds(TUTORIAL, turn, known))]
        found["evaluation_images_per_second"] = summary([turn.evaluation for turn in own if turn.evaluation])
        found["epoch_seconds"] = summary(epochs)
        if name != TUTORIAL:
            found["epochs_of_tutorial"] = summary([b / a for a, b in zip(epochs, told, strict=True)])
    return found


def epoch_seconds(name: str, turn: Turn, known: Problem) -> float | None:
    """Of all training images, and of all held-out images as often as the tutorial looks at them; ours looks once more
    at the end, where the tutorial looks every so many batches. None where evaluation was not measured."""
    if turn.evaluation is None:
        return None
    images, every = len(known.training.labels), TUTORIALS[known.recipe].every
    evaluations = images // known.params.train.batch_size // every if every else 1
    evaluations += bool(every and name.startswith("ours"))
    return images / turn.training + evaluations * len(known.evaluation.labels) / turn.evaluation


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['system']}: {result['device']}, {result['threads']} threads, auto is {result['auto']}, "
        f"{result['rounds']} rounds; {result['hardware']}; {result['versions']}",
        f"{'':<28}{'images/s (quartiles)':>28}{'of tutorial':>13}{'of floor':>10}{'epoch s':>10}{'of tutorial':>13}",
    ]
    for name, found in result["rows"].items():
        rate = "{median:,} ({quartile_1:,} to {quartile_3:,})".format(**found["images_per_second"])
        keys = ("of_tutorial", "of_floor", "epoch_seconds", "epochs_of_tutorial")
        cells = [f"{found[key]['median']:.2f}" if key in found else "" for key in keys]
        lines.append(
            f"{name:<28}{rate:>28}" + "".join(f"{cell:>{n}}" for cell, n in zip(cells, (13, 10, 10, 13), strict=True))
        )
    lines += [f"{name:<28}{reason}" for name, reason in result["not_measured"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    command(main)
