"""`dvc repro` and the like in process groups of their own: waited for, looked into, killed; and their MLflow runs."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psutil

EPOCH = re.compile(r"^epoch +(\d+) +train", re.MULTILINE)


class Repro:
    """Run `dvc repro`, or another command, in its own process group, with its output in a file."""

    def __init__(self, clone: Path, *options: str, command: Sequence[str] = ("dvc", "repro")) -> None:
        self.log = clone.parent / "output.txt"
        # Without SHELL, as in containers and cron, DVC takes sh: one that may stay between DVC and the stage.
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "SHELL"))
        }
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *options], cwd=clone, env=environment, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=heeding_signals,
            )  # fmt: skip
        self.started = time.monotonic()

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def reach(self, moment: str) -> bool:
        """Wait for one of MOMENTS. False where the process ended before."""
        return self.prints({"start": "", "epochs": EPOCH.pattern}.get(moment, f"Running stage '{moment}'"))

    def prints(self, pattern: str) -> bool:
        """Wait until the output matches. False where the process ended before."""
        while not re.search(pattern, self.output, re.MULTILINE):
            if self.process.poll() is not None:
                return False
            time.sleep(0.01)
        return True

    def stage_processes(self) -> list[psutil.Process]:
        return [process for process in group(self.process.pid) if process.pid != self.process.pid]

    def gone(self) -> None:
        """Wait for the last process."""
        self.process.wait()
        while group(self.process.pid):
            time.sleep(0.005)


def heeding_signals() -> None:
    """Heed what a background shell or nohup makes its children ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def group(leader: int) -> list[psutil.Process]:
    """List the living processes of the group, orphans too."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def printed_epochs(output: str) -> list[int]:
    return [int(number) for number in EPOCH.findall(output)]


def runs(clone: Path) -> list[tuple[str, str, list[int]]]:
    """List every run in the clone's store: name of its folder, status, the steps of its curve."""
    with closing(sqlite3.connect(clone / "mlflow.db")) as connection:
        found = connection.execute("SELECT run_uuid, status FROM runs ORDER BY start_time").fetchall()
        query = "SELECT step FROM metrics WHERE run_uuid = ? AND key = 'epoch/train_loss' ORDER BY step"
        return [(run, status, [step for (step,) in connection.execute(query, (run,))]) for run, status in found]
