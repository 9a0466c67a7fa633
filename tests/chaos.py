"""Kills real pipeline runs at random moments, over all stages, and compares what comes out with an undisturbed run.

    python tests/chaos.py --kills 50 --seed 0
    python tests/chaos.py --kills 50 --disk

Nothing is repaired by hand: after each kill only `dvc repro` is started again. Where that refuses what a power failure
left and has to be started once more, `python -m src.recover` runs first, as in `make repro`: how often is told.
Compared are results, what MLflow keeps, and DVC's cache. Prints a row for each kind of harm (`docs/reliability.md`
holds them), and exits with 1 if anything was lost, or refused after another harm. Linux only.

With `--disk` every harm is a power failure of a disk, up to half a minute after a pipeline's end: each clone stands on
an ext4 file system of its own, which is shut down together with all processes, and comes back with what had reached
the disk. Needs the right to mount.
"""

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import mounts
import psutil
from clones import committed, copy_of_the_repository, substitute

EPOCHS = 8
STAGES = ["download", "split", "train", "evaluate", "visualize"]
# Where each run of a series is killed: the start of DVC itself, a stage, or the epochs of the training.
SERIES = ["start", "download", "split", "train", "epochs", "epochs", "evaluate", "evaluate", "visualize", "visualize"]
AFTERWARDS = 1.15  # of a stage's time: until DVC has recorded it
LATER = 30.0  # seconds in which a kernel writes by itself
POWER, DISK = "power loss", "power loss of a disk"
EPOCH = re.compile(r"^epoch +(\d+) +train", re.MULTILINE)
MARK = Path(".cache/synced")  # the start of the machine, and the moment, up to which all is on the disk
RESULTS = ("dvc.lock", "models/*", "reports/**/*", "data/prepared/*")


class Repro:
    """`dvc repro`, or another command, in a process group of its own, its output in a file."""

    def __init__(self, clone: Path, *options: str, command: Sequence[str] = ("dvc", "repro")) -> None:
        self.clone = clone
        self.log = clone.parent / "output.txt"
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        environment["DVC_SITE_CACHE_DIR"] = str(clone / ".dvc/tmp/site")  # on the disk that fails, too
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *options], cwd=clone, env=environment, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=heeding_signals,
            )  # fmt: skip
        self.started = time.monotonic()

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def reach(self, stage: str) -> bool:
        """Waits until the stage began, an epoch or, with `end`, all ended. False where all ended before."""
        while not self._reached(stage):
            if self.process.poll() is not None:
                return False
            time.sleep(0.01)
        return True

    def _reached(self, stage: str) -> bool:
        if stage == "end":
            return self.process.poll() is not None
        if stage == "epochs":
            return bool(epochs_told(self.output))
        return stage == "start" or f"Running stage '{stage}'" in self.output

    def stage_processes(self) -> list[psutil.Process]:
        """Without the guard's canary."""
        dvc = self.process.pid
        return living(lambda process: os.getpgid(process.pid) == dvc != process.pid and process.name() != "cat")

    def guards(self) -> list[psutil.Process]:
        """What stays beside DVC in a session of its own."""
        return living(lambda process: "src.guard" in process.cmdline() and process.cwd() == str(self.clone))

    def gone(self) -> None:
        """Waits for the last process."""
        self.process.wait()
        while group(self.process.pid) or self.guards():
            time.sleep(0.005)


def heeding_signals() -> None:
    """What a background shell or nohup makes its children ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def group(leader: int) -> list[psutil.Process]:
    """The living processes of the group, orphans too."""
    return living(lambda process: os.getpgid(process.pid) == leader)


def living(wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if wanted(process) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def kill_stage(run: Repro) -> None:
    for process in run.stage_processes() or [psutil.Process(run.process.pid)]:
        process.kill()


def kill_dvc(run: Repro) -> None:
    run.process.kill()


def kill_both(run: Repro) -> None:
    os.killpg(run.process.pid, signal.SIGKILL)


def kill_all(run: Repro) -> None:
    """As a power failure does."""
    for guard in run.guards():
        guard.kill()
    if group(run.process.pid):
        kill_both(run)
    run.gone()


def terminate_dvc(run: Repro) -> None:
    run.process.terminate()


def terminate_both(run: Repro) -> None:
    os.killpg(run.process.pid, signal.SIGTERM)


def interrupt(run: Repro) -> None:
    os.killpg(run.process.pid, signal.SIGINT)


def synced(clone: Path) -> int | None:
    """Since when, in ns, all is on the disk."""
    mark = clone / MARK
    return int(mark.read_text().split()[1]) if mark.is_file() else None


def lose_power(run: Repro) -> Path | None:
    """Kills all and cuts the file that was written last in half, as a disk may without a sync. Returns which, or None
    if all are older than the last sync. SQLite itself syncs its files, which are left out."""
    kill_all(run)
    files = [
        path
        for folder in ("data", "models", "reports", ".cache/state", ".cache/outbox", "dvc.lock", ".dvc/tmp/rwlock")
        for path in [run.clone / folder, *(run.clone / folder).rglob("*")]
        if path.is_file() and not path.name.startswith(".git") and path.stat().st_mtime_ns >= (synced(run.clone) or 0)
    ]
    if not files:
        return None
    last = max(files, key=lambda path: path.stat().st_mtime_ns)
    os.truncate(last, last.stat().st_size // 2)
    return last


Harm = Callable[[Repro], Path | None]  # of `dvc repro`; the file that it damaged

HARMS: dict[str, Harm] = {
    "`kill -9` of the stage": kill_stage,
    "`kill -9` of `dvc`": kill_dvc,
    "`kill -9` of both": kill_both,
    "SIGTERM to `dvc`": terminate_dvc,
    "SIGTERM to both": terminate_both,
    "Ctrl-C": interrupt,
    POWER: lose_power,
}


class Undisturbed(NamedTuple):
    """A pipeline that was left alone."""

    results: dict[str, bytes]
    logged: dict[str, bytes]
    seconds: dict[str, float]  # of each stage, until the next began; of epochs, from the end of the first to the last's


@dataclass
class Row:
    """What was seen of one kind of harm."""

    kills: int = 0
    stages: dict[str, int] = field(default_factory=dict)
    ended: list[float] = field(default_factory=list)  # seconds until the last process was gone
    resumed: int = 0  # trainings that went on afterwards


def results(clone: Path) -> dict[str, bytes]:
    files = (path for pattern in RESULTS for path in clone.glob(pattern) if path.is_file())
    return {path.relative_to(clone).as_posix(): path.read_bytes() for path in files}


def logged(clone: Path, run: str) -> dict[str, bytes]:
    """The files that MLflow keeps of a run."""
    root = clone / "mlartifacts" / run / "artifacts"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def epochs_told(output: str) -> list[int]:
    return [int(number) for number in EPOCH.findall(output)]


def runs(clone: Path) -> list[tuple[str, str, list[int]]]:
    """Every run in the clone's store: name of its folder, status, the steps of its curve."""
    if not (clone / "mlflow.db").is_file():  # which a connection would make
        return []
    with closing(sqlite3.connect(clone / "mlflow.db")) as connection:
        found = connection.execute("SELECT run_uuid, status FROM runs ORDER BY start_time").fetchall()
        query = "SELECT step FROM metrics WHERE run_uuid = ? AND key = 'train_loss' ORDER BY step"
        return [(run, status, [step for (step,) in connection.execute(query, (run,))]) for run, status in found]


def template(folder: Path, epochs: int) -> Path:
    """The repository as it is now, with few epochs and nothing known of earlier runs."""
    copy_of_the_repository(folder)
    substitute(folder / "params.yaml", "epochs: 30", f"epochs: {epochs} ")
    return committed(folder)


def prepare(source: Path, folder: Path) -> Path:
    return Path(shutil.copytree(source, folder / "clone", symlinks=True, dirs_exist_ok=True))


@contextmanager
def prepared(source: Path, folder: Path, disk: bool) -> Iterator[tuple[Path, Mapping[str, Harm]]]:
    """A clone in the folder, on a disk of its own where that is wanted, and what may be done to it."""
    if not disk:
        yield prepare(source, folder), HARMS
        return
    with mounts.disk(folder / "clone") as own:

        def fail(run: Repro) -> None:
            own.fail()
            kill_all(run)
            own.restart()
            if (moment := synced(run.clone)) is not None:
                (run.clone / MARK).write_text(f"an-earlier-start {moment}")

        clone = prepare(source, folder)
        os.sync()  # what a user cloned long ago
        yield clone, {DISK: fail}


def undisturbed(source: Path, folder: Path, epochs: int, last: str = STAGES[-1]) -> Undisturbed:
    """The run to the end of the stage `last`, in the folder's clone."""
    run = Repro(prepare(source, folder), last)
    stages = STAGES[: STAGES.index(last) + 1]
    moments = {}
    for stage in stages:
        assert run.reach(stage), run.output
        moments[stage] = time.monotonic() - run.started
        if stage == "train":
            assert run.reach("epochs"), run.output
            first = time.monotonic()
            while len(epochs_told(run.output)) < epochs:
                time.sleep(0.01)
            trained = time.monotonic() - first
    assert run.process.wait() == 0, run.output
    run.gone()
    ends = [*moments.values(), time.monotonic() - run.started][1:]
    seconds = {"start": moments["download"], "epochs": trained}
    seconds |= {stage: end - moments[stage] for stage, end in zip(stages, ends, strict=True)}
    ((name, _, _),) = runs(run.clone)
    return Undisturbed(results(run.clone), logged(run.clone, name), seconds)


def series(
    clone: Path,
    plan: list[tuple[str, str, float]],
    rows: dict[str, Row],
    refused: list[str],
    last: str = STAGES[-1],
    harms: Mapping[str, Harm] = HARMS,
) -> Iterator[str]:
    """Runs the clone's pipeline to the end of the stage `last` through the planned kills (stage, harm, seconds); yields
    what went wrong. `refused` gets why one had to be started again after a power failure."""
    told: list[int] = []
    harm = ""
    before: Row | None = None  # of the kill that the next run has to mend
    for stage, planned, delay in plan:
        run = Repro(clone, last)
        if run.reach(stage):
            time.sleep(delay)
        damaged = None
        if run.process.poll() is None or (stage == "end" and run.process.returncode == 0):
            harm = planned
            row, killed = rows.setdefault(harm, Row()), time.monotonic()
            damaged = harms[harm](run)
            run.gone()
            row.ended.append(time.monotonic() - killed)
            row.kills += 1
            row.stages[stage] = row.stages.get(stage, 0) + 1
        elif run.process.returncode:
            if (why := refusal(run)) and harm in (POWER, DISK):
                refused.append(why)
                continue
            yield f"dvc repro failed after {harm}, {why}:\n{run.output}"
        yield from mended(run, before, told)
        before = row if run.process.returncode else None
        if damaged is not None and damaged.name.startswith("epoch-"):
            told.pop()  # the newest state itself: the one before is what remains
    run = Repro(clone, last)
    if run.process.wait() and harm in (POWER, DISK) and (why := refusal(run)):
        refused.append(why)
        run = Repro(clone, last)
    if run.process.wait():
        yield f"the last dvc repro failed after {harm}:\n{run.output}"
    if "not in MLflow yet" in run.output:
        yield f"the last dvc repro could not tell MLflow:\n{run.output}"
    yield from mended(run, before, told)


def refusal(run: Repro) -> str:
    """Why it has to be started again: by its own words, or for what `src.recover` mended. Empty where neither is so."""
    told = re.findall("^error: .*start it again$", run.output, re.MULTILINE)
    recover = [sys.executable, "-m", "src.recover"]
    told += subprocess.run(recover, cwd=run.clone, capture_output=True, text=True, check=True).stdout.splitlines()
    return "; ".join(told)


def mended(run: Repro, before: Row | None, told: list[int]) -> Iterator[str]:
    """Notes whether the run went on with a training that was killed; yields the epochs that it lost."""
    if before is not None:
        before.resumed += "going on after epoch" in run.output
    for epoch in epochs_told(run.output):
        if epoch in told:
            yield f"epoch {epoch} was trained again:\n{run.output}"
        told.append(epoch)


def check(clone: Path, expected: Undisturbed, epochs: int) -> Iterator[str]:
    found = results(clone)
    for name in sorted(expected.results.keys() | found.keys()):
        if expected.results.get(name) != found.get(name):
            yield f"{name} differs"
    kept = runs(clone)
    if any(status == "RUNNING" for _, status, _ in kept):
        yield f"a run is left RUNNING: {kept}"
    if not any(steps == list(range(1, epochs + 1)) for _, _, steps in kept):
        yield f"no curve is whole: {kept}"
    if any(len(steps) != len(set(steps)) for _, _, steps in kept):
        yield f"a curve has double points: {kept}"
    finished = {run: logged(clone, run) for run, status, _ in kept if status == "FINISHED"}
    for run, files in finished.items():
        for name in files.keys() & expected.logged.keys():
            if files[name] != expected.logged[name]:
                yield f"{name} of the run {run} differs"
    if not any(files.keys() == expected.logged.keys() for files in finished.values()):
        yield f"no run has all files: {expected.logged.keys() - set().union(*finished.values())}"
    local, *others = (predicted(clone, model) for model in ("models/model.safetensors", *finished))
    if not local or any(other != local for other in others):
        yield f"a model in MLflow says something else: {local} {others}"
    yield from (f"damaged in DVC's cache: {path}" for path in damaged(clone))
    if left := [path for path in clone.glob(".cache/*/*/*") if "downloads" not in path.parts]:
        yield f"left behind: {left}"


def damaged(clone: Path) -> Iterator[Path]:
    """The objects of DVC's cache that are not what they are named by."""
    for path in clone.glob(".dvc/cache/files/md5/??/*"):
        name = path.parent.name + path.name.removesuffix(".dir")
        if re.fullmatch("[0-9a-f]{32}", name) and hashlib.md5(path.read_bytes()).hexdigest() != name:
            yield path


def predicted(clone: Path, model: str) -> str:
    """What a model, or that of a run, says of a picture."""
    photo = "docs/robustness.png"
    command = ["-m", "src.predict", "--model", model, "--resize", "squash", "--format", "csv", "--top", "3", photo]
    return subprocess.run([sys.executable, *command], cwd=clone, capture_output=True, text=True, check=False).stdout


def table(rows: dict[str, Row]) -> str:
    lines = ["| harm | kills | in | ended after, at most | trainings that went on |", "|---|---|---|---|---|"]
    for harm, row in rows.items():
        where = ", ".join(f"{stage} {count}" for stage, count in row.stages.items())
        lines.append(f"| {harm} | {row.kills} | {where} | {max(row.ended):.1f} s | {row.resumed} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disk", action="store_true", help="power failures of real disks")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    rows: dict[str, Row] = {}
    wrong: list[str] = []
    refused: list[str] = []
    number = 0
    with tempfile.TemporaryDirectory() as temporary:
        source = template(Path(temporary, "template"), arguments.epochs)
        expected = undisturbed(source, Path(temporary, "undisturbed"), arguments.epochs)
        print(
            "undisturbed:", ", ".join(f"{stage} {value:.1f} s" for stage, value in expected.seconds.items()), flush=True
        )
        while sum(row.kills for row in rows.values()) < arguments.kills:
            number += 1
            folder = Path(temporary, str(number))
            folder.mkdir()
            with prepared(source, folder, arguments.disk) as (clone, harms):
                # Every kind of harm in turn, so that each meets every stage.
                turn = [*harms][number % len(harms) :] + [*harms][: number % len(harms)]
                plan = [
                    (stage, turn[place % len(turn)], chance.uniform(0, AFTERWARDS * expected.seconds[stage]))
                    for place, stage in enumerate(SERIES)
                ]
                if arguments.disk:
                    plan.append(("end", DISK, chance.uniform(0, LATER)))
                faults = [*series(clone, plan, rows, refused, harms=harms), *check(clone, expected, arguments.epochs)]
            wrong += faults
            kills = sum(row.kills for row in rows.values())
            print(f"series {number}: {kills} kills so far, {len(faults)} faults", *faults, sep="\n", flush=True)
    print(table(rows))
    kills = sum(row.kills for row in rows.values())
    print(
        f"{kills} kills in {number} series, {len(wrong)} faults, {len(refused)} times started once more",
        *refused,
        sep="\n",
    )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
