"""What it brings, and costs, that a process keeps the memory that a step frees (`src.compute.memory`). Linux only.

    python -m benchmarks.memory
    python -m benchmarks.memory --systems cifar10-basic --rounds 9

The floor of each network (`benchmarks.contenders.learn`) on synthetic images, in two processes that take turns, one
thread each: one keeps the memory, one gives it back as glibc does by itself. Memory is the most that was resident, with
imports. Keeps `benchmarks/memory.json`, one entry per system.
"""

import argparse
import resource
import threading
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.common import hardware, keep, summary, versions
from benchmarks.contenders import timed
from benchmarks.loops import apart
from benchmarks.problems import synthetic
from benchmarks.switches import PHOTOS, Setting, learning
from benchmarks.systems import ARCHIVES
from src.compute.memory import keep_freed
from src.faults import command

RESULTS = Path("benchmarks/memory.json")
PRECISIONS = ("float32", "bfloat16")
KEPT, GIVEN_BACK = "kept", "given back"

_own = threading.local()  # in each of the processes: what it repeats


class Turn(NamedTuple):
    images_per_second: float
    pages: float  # that the kernel filled, for each step
    resident_mib: int  # at most so far


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=list(ARCHIVES), choices=list(ARCHIVES), metavar="SYSTEM")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn, about; at least one step")
    arguments = parser.parse_args()
    for name in arguments.systems:
        rows = [
            row for precision in PRECISIONS for row in compare(name, precision, arguments.rounds, arguments.seconds)
        ]
        result = {
            "system": name,
            "rounds": arguments.rounds,
            "hardware": hardware(),
            "versions": versions("torch"),
            "rows": rows,
        }
        keep(RESULTS, result, same=("system",))
        for row in rows:
            rate = f"{row['images_per_second']['median']:,} images/s"
            cost = f"{row['pages']:,} pages a step, {row['resident_mib']:,} MiB"
            print(f"{name:<15}{row['precision']:<10}{row['freed']:<11}{rate:>18}, {cost}", flush=True)


def compare(system: str, precision: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each of the two processes."""
    with apart() as keeping, apart() as giving:
        places = {KEPT: keeping, GIVEN_BACK: giving}
        for freed, place in places.items():
            place.submit(begin, system, precision, freed, seconds).result()
        turns: dict[str, list[Turn]] = {freed: [] for freed in places}
        for number in range(rounds):
            for freed in list(places)[:: -1 if number % 2 else 1]:
                turns[freed].append(places[freed].submit(go_on).result())
    return [
        {
            "precision": precision,
            "freed": freed,
            "images_per_second": summary([turn.images_per_second for turn in own]),
            "of_given_back": summary(
                [a.images_per_second / b.images_per_second for a, b in zip(own, turns[GIVEN_BACK], strict=True)]
            ),
            "pages": round(max(turn.pages for turn in own)),
            "resident_mib": max(turn.resident_mib for turn in own),
        }
        for freed, own in turns.items()
    ]


def begin(system: str, precision: str, freed: str, seconds: float) -> None:
    """In its own process: two steps, and how many make a turn."""
    torch.set_num_threads(1)
    if freed == KEPT:
        keep_freed()
    known = synthetic(system, PHOTOS if system == "dogs-vs-cats" else 128)
    _own.batch_size = known.params.train.batch_size
    _own.run = learning(known, Setting(precision, "channels_last", False, 1, _own.batch_size), torch.device("cpu"))
    _own.run(1)
    _own.steps = max(1, round(seconds / timed(lambda: _own.run(1))))


def go_on() -> Turn:
    """There: the next turn."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    elapsed = timed(lambda: _own.run(_own.steps))
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = (used.ru_minflt - before) / _own.steps
    return Turn(_own.steps * _own.batch_size / elapsed, pages, used.ru_maxrss // 1024)


if __name__ == "__main__":
    command(main)
