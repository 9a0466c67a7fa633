"""Keep what a training cost: machine, seconds and memory, and how long its model takes for an image.

These numbers differ between equal trainings, so git does not track them: each training writes a file in `.cache/costs/`
that is named after the MD5 of its model. `src.track` copies the numbers into the model's run, where MLflow compares
them.
"""

import re
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.core.documents import read_object
from src.core.files import write_json
from src.core.paths import costs
from src.core.pool import processor_name
from src.core.words import counted
from src.training.epoch import Epoch


def write(model_md5: str, environment: Mapping[str, Any], epochs: Sequence[Epoch], latency: float | None) -> None:
    """Write the cost of the model that this process has trained, to two digits.

    environment: as `src.training.reports` gives it; latency: in milliseconds. Only the seconds of epochs count, not
    those of computing a frozen network's features, which later trainings find ready. Memory is the peak of tensors on
    a GPU, and elsewhere the peak of this process. The machine is empty where the processor has no name.
    """
    processes, device = environment["processes"], environment["device"]
    memory: float | None
    if device == "cuda":
        import torch

        machine = f"{processes} × {torch.cuda.get_device_name()}"
        memory = max(epoch.peak_gpu_memory_gib or 0.0 for epoch in epochs)
    else:
        threads, processor = environment["threads"], processor_name()
        times = f"{processes} × " if processes > 1 else ""
        own = "" if device == "cpu" else f"{device} and "
        machine = f"{times}{own}{counted(threads, 'thread')} of {processor}" if processor else ""
        memory = _peak_memory_gib()
    seconds = sum(epoch.seconds for epoch in epochs)
    numbers = {"training_seconds": seconds, "peak_memory_gib": memory, "latency_ms": latency}
    rounded = {name: float(f"{number:.2g}") for name, number in numbers.items() if number is not None}
    write_json(_file(model_md5), {"machine": machine, **rounded})


def read(model_md5: str) -> dict[str, Any]:
    """Return the `machine` and the numbers of a model that was trained in this clone; of other models nothing."""
    return read_object(_file(model_md5), "remove it") if _file(model_md5).is_file() else {}


def _peak_memory_gib() -> float | None:
    """Return the peak memory of this process; None where the system does not tell."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30
    # On Linux, `ru_maxrss` includes the memory of the process that started this one.
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak[1]) / 2**20 if peak else None


def _file(model_md5: str) -> Path:
    return costs() / f"{model_md5}.json"
