"""Runs parts, each in a process of its own with a deadline, and rewrites one file of results whenever there are more.

Imports nothing but Python's own modules: what the parts need may have to be installed first.
"""

import json
import multiprocessing
import os
import pkgutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

NOT_REACHED, RUNNING, DONE, FAILED, STOPPED = "not reached", "running", "done", "failed", "stopped at its deadline"
LINES = 12  # of what a part printed last that are kept where it did not end well


class Place(NamedTuple):
    """Say where parts run. pack: the folder that `benchmarks.gpu.pack` fills."""

    device: str  # cuda | cpu
    pack: Path

    @property
    def small(self) -> bool:
        """Tell if everything is to be small, since a processor computes it."""
        return self.device == "cpu"


class Part(NamedTuple):
    """Name one thing to find out.

    work: `module:function`, a generator function of a `Place` and `argument`, whose dictionaries are what it found so
    far: their sum is kept even if it is stopped in between. seconds: its deadline. alone: it takes times, or all
    memory, so that no other part may run beside it.
    """

    name: str
    work: str
    seconds: float
    alone: bool = False
    argument: str = ""


class Task:
    """Run a part in a process of its own."""

    def __init__(self, part: Part, place: Place, end: float, scratch: Path) -> None:
        self.part, self.started = part, time.monotonic()
        self.deadline = min(self.started + part.seconds, end)
        self.found, self.log = (scratch / f"{part.name.replace(' ', '-')}.{kind}" for kind in ("json", "log"))
        # A server that has imported torch once, and no more, forks into every part: it spares each some seconds.
        context = multiprocessing.get_context("forkserver")
        self.process = context.Process(target=_work, args=(part, place, self.found, self.log))
        self.process.start()

    def look(self) -> dict[str, Any]:
        """Report its state and what it found; stop it where it is late."""
        report: dict[str, Any] = {"state": RUNNING}
        if not self.process.is_alive():
            report["state"] = FAILED if self.process.exitcode else DONE
        elif time.monotonic() >= self.deadline:
            self.stop()
            report["state"] = STOPPED
        if report["state"] != RUNNING:
            report["seconds"] = round(time.monotonic() - self.started, 1)
        if self.found.exists():
            report["found"] = json.loads(self.found.read_text(encoding="utf-8"))
        if report["state"] in (FAILED, STOPPED) and self.log.exists():
            report["error"] = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:]
        return report

    def stop(self) -> None:
        """End it and all that it has started."""
        with suppress(ProcessLookupError):  # it has ended, or has not yet made its group
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()
        self.process.join()


def run(parts: Sequence[Part], place: Place, file: Path, seconds: float, together: int = 1) -> dict[str, Any]:
    """Run the parts in their order, up to `together` at a time, for so many seconds at most; return what is in `file`.

    A part that fails or is late is recorded, and the others go on. What the time does not reach is `NOT_REACHED`.
    """
    started = time.monotonic()
    end = started + seconds
    reports: dict[str, Any] = {part.name: {"state": NOT_REACHED} for part in parts}
    record: dict[str, Any] = {"parts": reports}
    waiting, running = list(parts), list[Task]()
    modules = {part.work.partition(":")[0] for part in parts}
    multiprocessing.get_context("forkserver").set_forkserver_preload(sorted(modules))
    write(file, record)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            while (waiting and time.monotonic() < end) or running:
                while waiting and time.monotonic() < end and fits(waiting[0], [one.part for one in running], together):
                    running.append(Task(waiting.pop(0), place, end, Path(scratch)))
                before = json.dumps(record)
                for task in list(running):
                    reports[task.part.name] = report = task.look()
                    if report["state"] != RUNNING:
                        running.remove(task)
                        print(f"{task.part.name}: {report['state']}, {report['seconds']} s", flush=True)
                if json.dumps(record) != before:
                    write(file, record)
                time.sleep(0.1)
        finally:
            for task in running:
                task.stop()
    record["seconds"] = round(time.monotonic() - started, 1)
    write(file, record)
    return record


def write(file: Path, record: dict[str, Any]) -> None:
    """Write JSON so that whoever reads finds the old file or the new one."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(file)


def fits(part: Part, running: Sequence[Part], together: int) -> bool:
    """Tell if the part may begin beside those that run."""
    return not running if part.alone or any(one.alone for one in running) else len(running) < together


def _work(part: Part, place: Place, found: Path, log: Path) -> None:
    """Do the part's work, in its own process and group of processes; all that is printed goes into the log."""
    os.setpgid(0, 0)
    # What the part starts begins as it does by default: this process would hand on how it began itself.
    multiprocessing.set_start_method(None, force=True)
    with log.open("w", encoding="utf-8") as printed:
        for stream in (1, 2):
            os.dup2(printed.fileno(), stream)
    results: dict[str, Any] = {}
    for more in pkgutil.resolve_name(part.work)(place, part.argument):
        results |= more
        write(found, results)
