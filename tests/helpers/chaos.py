"""Kill real pipeline runs at random moments, in all stages, and compare what comes out with an undisturbed run.

    PYTHONPATH=. python tests/helpers/chaos.py --kills 40 --seed 0

After each kill `dvc repro` is started again. If it refuses DVC's half-written `rwlock`, that is removed, and counted.
A row is printed for each kind of kill, as `docs/reliability.md` has them; the exit code is 1 if anything was lost.
Linux only.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil
from clones import call, committed, copy_of_the_repository, substitute
from repro import Repro, printed_epochs, runs

EPOCHS = 8
MOMENTS = ["start", "download", "split", "train", "epochs", "evaluate", "visualize"]  # DVC's start, stages, first epoch
AFTERWARDS = 1.15  # of a stage's time: until DVC has recorded it
RESULTS = ("dvc.lock", "models/*", "reports/**/*", "data/prepared/*")


def kill_stage(run: Repro) -> None:
    for process in run.stage_processes() or [psutil.Process(run.process.pid)]:
        process.kill()


KILLS: dict[str, Callable[[Repro], None]] = {
    "`kill -9` of the stage": kill_stage,
    "`kill -9` of `dvc`": lambda run: run.process.kill(),
    "`kill -9` of both": lambda run: os.killpg(run.process.pid, signal.SIGKILL),
    "SIGTERM to `dvc`": lambda run: run.process.terminate(),
    "SIGTERM to both": lambda run: os.killpg(run.process.pid, signal.SIGTERM),
    "Ctrl-C": lambda run: os.killpg(run.process.pid, signal.SIGINT),
}


class Undisturbed(NamedTuple):
    """Hold what a pipeline left that was not disturbed."""

    results: dict[str, bytes]
    logged: set[str]  # names of the files that MLflow keeps
    seconds: dict[str, float]  # of each of MOMENTS, until the next


@dataclass
class Row:
    """Count what was seen of one kind of kill."""

    stages: Counter[str] = field(default_factory=Counter)
    ended: float = 0.0  # seconds until the last process was gone, at most


def results(clone: Path) -> dict[str, bytes]:
    files = (path for pattern in RESULTS for path in clone.glob(pattern) if path.is_file())
    return {path.relative_to(clone).as_posix(): path.read_bytes() for path in files}


def logged(clone: Path, run: str) -> set[str]:
    root = clone / "mlartifacts" / run / "artifacts"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def template(folder: Path) -> Path:
    """Copy the repository as it is now, with few epochs and nothing known of earlier runs."""
    copy_of_the_repository(folder)
    substitute(folder / "params.yaml", "epochs: 30", f"epochs: {EPOCHS} ")
    return committed(folder)


def prepare(source: Path, folder: Path) -> Path:
    return Path(shutil.copytree(source, folder / "clone", symlinks=True))


def undisturbed(source: Path, folder: Path) -> Undisturbed:
    clone = prepare(source, folder)
    run = Repro(clone)
    reached = []
    for moment in MOMENTS:
        assert run.reach(moment), run.output
        reached.append((moment, time.monotonic()))
    assert run.process.wait() == 0, run.output
    seconds = {name: end - start for (name, start), (_, end) in pairwise([*reached, ("", time.monotonic())])}
    call(clone, sys.executable, "-m", "src.track", "sync")
    ((name, _, _),) = runs(clone)
    return Undisturbed(results(clone), logged(clone, name), seconds)


def series(
    clone: Path, plan: Sequence[tuple[str, str, float]], rows: dict[str, Row], refused: list[str], *targets: str
) -> Iterator[str]:
    """Run the clone's pipeline, or these stages of it, through the planned kills to its end; yield what went wrong.

    plan: moment, kind of kill and seconds after the moment. `refused` gets what plain `dvc repro` refused after a kill.
    """
    trained: list[int] = []  # epochs
    for moment, kind, delay in [*plan, ("end", "", 0.0), ("end", "", 0.0)]:
        run = Repro(clone, *targets)
        if run.reach(moment):
            time.sleep(delay)
        if run.process.poll() is None:
            row, killed = rows.setdefault(kind, Row()), time.monotonic()
            KILLS[kind](run)
            run.gone()
            row.ended = max(row.ended, time.monotonic() - killed)
            row.stages[moment] += 1
        elif run.process.returncode:
            if "Unable to read RWLock-file" in run.output:
                (clone / ".dvc/tmp/rwlock").unlink()
                refused.append(run.output)
            else:
                yield f"dvc repro failed:\n{run.output}"
        epochs = printed_epochs(run.output)
        if again := set(epochs).intersection(trained):
            yield f"epochs {again} were trained again:\n{run.output}"
        trained += epochs
        if moment == "end" and not run.process.returncode:
            break
    if run.process.returncode:
        yield f"dvc repro failed for good:\n{run.output}"
    call(clone, sys.executable, "-m", "src.track", "sync")  # the run that is complete closes those that were killed


def check(clone: Path, expected: Undisturbed) -> Iterator[str]:
    """Compare results, what MLflow keeps, and DVC's cache; yield what is wrong."""
    found = results(clone)
    for name in sorted(expected.results.keys() | found.keys()):
        if expected.results.get(name) != found.get(name):
            yield f"{name} differs"
    kept = runs(clone)
    if any(status == "RUNNING" for _, status, _ in kept):
        yield f"a run is left RUNNING: {kept}"
    if any(len(steps) != len(set(steps)) for _, _, steps in kept):
        yield f"a curve has double points: {kept}"
    finished = [(steps, logged(clone, run)) for run, status, steps in kept if status == "FINISHED"]
    if (list(range(1, EPOCHS + 1)), expected.logged) not in finished:
        yield f"no run has its whole curve and all files: {finished}"
    for path in clone.glob(".dvc/cache/files/md5/??/[0-9a-f]*"):
        if hashlib.md5(path.read_bytes()).hexdigest() != path.parent.name + path.name.removesuffix(".dir"):
            yield f"damaged in DVC's cache: {path}"
    if left := [path for path in clone.glob(".cache/*/*/*") if "downloads" not in path.parts]:
        yield f"left behind: {left}"


def table(rows: dict[str, Row]) -> str:
    lines = ["| kill | times | in | ended after, at most |", "|---|---|---|---|"]
    for kind, row in rows.items():
        where = ", ".join(f"{stage} {count}" for stage, count in row.stages.items())
        lines.append(f"| {kind} | {row.stages.total()} | {where} | {row.ended:.1f} s |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    rows: dict[str, Row] = {}
    wrong: list[str] = []
    refused: list[str] = []
    kills = number = 0
    with tempfile.TemporaryDirectory() as temporary:
        source = template(Path(temporary, "template"))
        expected = undisturbed(source, Path(temporary, "undisturbed"))
        print("seconds undisturbed:", {name: round(value, 1) for name, value in expected.seconds.items()}, flush=True)
        while kills < arguments.kills:
            number += 1
            clone = prepare(source, Path(temporary, str(number)))
            # Every kind of kill in turn, so that each meets every stage.
            turn = [*KILLS][number % len(KILLS) :] + [*KILLS][: number % len(KILLS)]
            plan = [
                (moment, turn[place % len(turn)], chance.uniform(0, AFTERWARDS * seconds))
                for place, (moment, seconds) in enumerate(expected.seconds.items())
            ]
            faults = [*series(clone, plan, rows, refused), *check(clone, expected)]
            wrong += faults
            kills = sum(row.stages.total() for row in rows.values())
            print(f"series {number}: {kills} kills so far, {len(faults)} faults", *faults, sep="\n", flush=True)
    print(table(rows))
    print(f"{kills} kills in {number} pipelines, {len(wrong)} faults, {len(refused)} refused by dvc repro:", *refused)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
