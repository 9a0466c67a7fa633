"""A tracking server that is killed and started again during training: what that costs, and whether anything is lost.

    python -m benchmarks.tracking_trouble --pairs 5 --epochs 400

Trains the digits recipe in turn with a server that works and one that dies after a third of the time and comes back
after two thirds. Prints the medians, and whether both runs hold the same metrics; adds the result to
`benchmarks/tracking_trouble.json`.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import hardware, keep, versions
from benchmarks.pipeline import ROOT, configure

sys.path.append(str(ROOT / "tests"))
from tracking_server import Server

RESULTS = ROOT / "benchmarks/tracking_trouble.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="trainings of each kind (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=400, help="so many that a training takes a minute")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        server = Server(Path(temporary, "server"))
        server.start()
        clone = prepare(Path(temporary, "clone"), arguments.epochs)
        train(clone, server.uri)  # the first one compiles and fills caches
        seconds: dict[str, list[float]] = {"undisturbed": [], "killed": []}
        curves = []
        for _ in range(arguments.pairs):
            seconds["undisturbed"].append(train(clone, server.uri))
            curves.append(curve(server.uri))
            seconds["killed"].append(train(clone, server.uri, server, statistics.median(seconds["undisturbed"])))
            curves.append(curve(server.uri))
        server.kill()
    medians = {kind: statistics.median(values) for kind, values in seconds.items()}
    result = {
        "epochs": arguments.epochs,
        "pairs": arguments.pairs,
        "seconds": {kind: [round(value, 2) for value in values] for kind, values in seconds.items()},
        "slower": round(medians["killed"] / medians["undisturbed"] - 1, 4),
        "same_metrics": all(other == curves[0] for other in curves),
        "hardware": hardware(),
        "versions": versions("torch", "mlflow"),
    }
    for kind, value in medians.items():
        print(f"{kind}: median {value:.1f} s of {arguments.pairs}")
    print(f"slower by {result['slower']:.1%}; the same metrics in MLflow: {result['same_metrics']}")
    keep(RESULTS, result, same=("epochs",))


def prepare(clone: Path, epochs: int) -> Path:
    """A copy with its data prepared."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    configure(clone, "digits", [f"train.epochs={epochs}"])
    subprocess.run(["dvc", "repro", "--quiet", "split"], cwd=clone, check=True)
    return clone


def train(clone: Path, uri: str, server: Server | None = None, lasts: float = 0.0) -> float:
    """Seconds of the epochs themselves, without start and end: what the user waits for.

    With a `server`, it is killed after a third of `lasts` and started again after two thirds.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    environment |= {"MLFLOW_TRACKING_URI": uri, "PYTHONUNBUFFERED": "1"}
    shutil.rmtree(clone / ".cache/state", ignore_errors=True)  # else the finished training would be taken up
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.train"], cwd=clone, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    moments: list[float] = []
    for line in process.stdout:
        if not re.match(r"epoch +\d+ +train", line):
            continue
        moments.append(time.monotonic())
        since = moments[-1] - moments[0]
        if server is not None and server.running and lasts / 3 < since < 2 * lasts / 3:
            server.kill()
        if server is not None and not server.running and since > 2 * lasts / 3:
            server.start(wait=False)
    if process.wait():
        sys.exit("the training failed")
    if server is not None:
        server.start(wait=True)
    return moments[-1] - moments[0]


def curve(uri: str) -> dict[str, Any]:
    """What MLflow has of the newest run, without times."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"], max_results=1)
    timed = ("images_per_second", "epoch_seconds", "peak_gpu_memory_gib")
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    points = {name: [(p.step, p.value) for p in history] for name, history in histories.items() if name not in timed}
    return {"status": run.info.status, **points}


if __name__ == "__main__":
    main()
