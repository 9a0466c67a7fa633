"""What tracking costs a training of about a minute: with a store that works, and with stores in trouble.

    PYTHONPATH=tests/helpers python -m benchmarks.tracking digits --set train.epochs=600 --rounds 5

In every round each case trains once, in a process of its own: without tracking, into the clone's `mlflow.db`, and then
into a server that is not there, one that is killed after 8 s, a database that is read-only, and a server that answers
500. Beside seconds by the clock there are those of the training's thread without its waits for a processor
(Linux counts them, `/proc/thread-self/schedstat`), which other programs on the machine hardly change: both are compared
with the training without tracking of the same round. When the trouble is over, `src.track sync` completes the run; its
metrics must be those of the store that worked. Needs root, for the read-only database.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from mounts import read_only
from tracking_server import Server

from benchmarks.common import FOLDER, command_line, hardware, keep, versions
from benchmarks.pipeline import ROOT, clean_environment, cloned
from src.compute import portable

RESULTS = FOLDER / "tracking.json"
PROGRAMS = {
    "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/helpers'}"
}  # this one, for processes that work in the copy
CASES = ("without", "working", "unreachable", "dying", "read-only", "500")


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter to change")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        clone = cloned(Path(temporary, "clone"), arguments.recipe, arguments.set)
        server = Server(Path(temporary, "server"))
        subprocess.run(["dvc", "repro", "--quiet", "train"], cwd=clone, env=clean_environment(), check=True)
        rounds: list[dict[str, Any]] = []
        for number in range(arguments.rounds):
            rounds.append({case: trained(clone, server, case, number) for case in CASES})
            print(rounds[-1], flush=True)
            result = {
                "recipe": arguments.recipe,
                "changed": arguments.set,
                "rounds": len(rounds),
                "cases": {case: summed(case, rounds) for case in CASES},
                "hardware": hardware(),
                "versions": versions("torch", "mlflow"),
            }
            keep(RESULTS, result, same=("recipe", "changed"))
        server.kill()


def summed(case: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians of seconds, and of the ratios to the training without tracking of the same round."""
    own = [entry[case] for entry in rounds]
    return {
        "seconds": round(median(run["seconds"] for run in own), 2),
        **{
            f"{kind}_ratio": round(median(entry[case][kind] / entry["without"][kind] for entry in rounds), 4)
            for kind in ("seconds", "unhindered")
        },
        "warnings": sorted({run["warnings"] for run in own}),
        "same_metrics": all(entry[case]["metrics"] in (None, entry["working"]["metrics"]) for entry in rounds),
    }


def trained(clone: Path, server: Server, case: str, number: int) -> dict[str, Any]:
    """Train in another process; then complete the run, and return a digest of its metrics with what was measured."""
    shutil.rmtree(clone / ".cache/state", ignore_errors=True)
    environment = clean_environment() | {"MLFLOW_EXPERIMENT_NAME": f"{case} {number}"}
    if case in ("unreachable", "dying", "500"):
        environment["MLFLOW_TRACKING_URI"] = server.uri
    code = f"from benchmarks.tracking import train; train({case != 'without'})"
    with trouble(clone, server, case) as seconds:
        child = subprocess.Popen(
            [sys.executable, "-c", code], cwd=clone, env=environment | PROGRAMS, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        if case == "dying":
            time.sleep(seconds)
            server.kill()
        output, errors = child.communicate()
        assert child.returncode == 0, errors
    found: dict[str, Any] = json.loads(output.splitlines()[-1]) | {
        "warnings": errors.count("warning: "),
        "metrics": None,
    }
    if case != "without":
        environment |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
        subprocess.run([sys.executable, "-m", "src.track", "sync"], cwd=clone, env=environment, check=True)
        reading = [sys.executable, "-c", "from benchmarks.tracking import metrics; print(metrics())"]
        found["metrics"] = subprocess.check_output(
            reading, cwd=clone, env=environment | PROGRAMS, text=True
        ).splitlines()[-1]
    return found


@contextmanager
def trouble(clone: Path, server: Server, case: str) -> Iterator[float]:
    """Make the trouble of a case in the block; afterwards the store works. Yields after how many seconds one dies."""
    if case == "unreachable":
        server.kill()
    elif case in ("dying", "500"):
        server.start()
    if case == "500":
        with server.trouble("500"):
            yield 0
    else:
        with read_only(clone / "mlflow.db") if case == "read-only" else nullcontext():
            yield 8
    if case in ("unreachable", "dying"):
        server.start()


def train(tracked: bool) -> None:
    """Train as the stage does, and print its seconds: by the clock, and without waits for a processor."""
    portable.begin()
    from stages import train as stage

    if not tracked:

        class Nothing:
            log_epoch = log_model_md5 = staticmethod(lambda _: None)

        stage.live = lambda _: nullcontext(Nothing())  # type: ignore[assignment, attr-defined, return-value]
    started, waited = time.perf_counter(), waits()
    stage.work()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "unhindered": seconds - (waits() - waited)}))


def waits() -> float:
    """Return the seconds for which this thread, ready to run, has waited for a processor."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def metrics() -> str:
    """Return a digest of every point of every metric of the only run, but for those of the machine."""
    import hashlib

    from src.tracking.store import open_store

    store = open_store()
    (run,) = store.client.search_runs([store.experiment_id])
    assert run.info.status == "FINISHED"
    points = [
        (key, point.step, point.value)
        for key in sorted(run.data.metrics)
        if not key.startswith("system/")
        for point in store.client.get_metric_history(run.info.run_id, key)
    ]
    return hashlib.md5(repr(sorted(points)).encode()).hexdigest() + f" {len(points)}"


if __name__ == "__main__":
    main()
