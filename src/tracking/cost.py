"""Keep what a training cost: on which machine, how long, how much memory, and how fast its model answers.

That differs from run to run, so it is not committed: it lies in `.cache/costs/` by the MD5 of the model, from where the
model's run in MLflow and `src.report` have it.
"""

import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.core.documents import read_object
from src.core.files import write_json
from src.core.paths import costs
from src.core.pool import processor_name
from src.training.results import Epoch

if TYPE_CHECKING:
    from mlflow.entities import Run


def write(model_md5: str, environment: Mapping[str, Any], epochs: Sequence[Epoch], latency: float | None) -> None:
    """Write the cost of the model that this process has trained, to two digits.

    environment: as `src.training.record` gives it; latency: in milliseconds. Memory is the most that tensors took at
    once on a GPU, and elsewhere the most that this process took.
    """
    if environment["device"] == "cuda":
        import torch

        machine = f"{environment['processes']} × {torch.cuda.get_device_name()}"
        memory = max(epoch.peak_gpu_memory_gib or 0.0 for epoch in epochs)
    else:
        threads = environment["threads"] * environment["processes"]
        machine = f"{threads} thread{'s' * (threads != 1)} of {processor_name()}"
        bytes_each = 1 if sys.platform == "darwin" else 1024
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_each / 2**30
    seconds = sum(epoch.seconds for epoch in epochs)
    numbers = {"training_seconds": seconds, "peak_memory_gib": memory, "latency_ms": latency}
    rounded = {name: float(f"{number:.2g}") for name, number in numbers.items() if number is not None}
    write_json(_file(model_md5), {"machine": machine, **rounded})


def read(model_md5: str) -> dict[str, Any]:
    """Return the `machine` and the numbers of a model that was trained in this clone; nothing of another one."""
    return read_object(_file(model_md5), "remove it") if _file(model_md5).is_file() else {}


def of_run(run: "Run") -> dict[str, Any]:
    """Return the same as a run in MLflow has it."""
    numbers = {key.removeprefix("cost/"): value for key, value in run.data.metrics.items() if key.startswith("cost/")}
    return {"machine": run.data.tags.get("machine"), **numbers}


def _file(model_md5: str) -> Path:
    # A stranger's dvc.lock may say anything where an MD5 should be.
    return costs() / f"{''.join(filter(str.isalnum, str(model_md5)))}.json"
