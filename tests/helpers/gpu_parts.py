"""Parts as `benchmarks.gpu.runner` runs them, for its tests; nothing that takes long to import."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.runner import Part, Place


def finds(place: Place, argument: str) -> Iterator[dict[str, Any]]:
    yield {"one": argument}
    yield {"two": place.device, "start": multiprocessing.get_start_method()}


def raises(place: Place, argument: str) -> Iterator[dict[str, Any]]:
    yield {"before": True}
    raise ValueError("this is why")


def lasts(place: Place, argument: str) -> Iterator[dict[str, Any]]:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield {"group": os.getpgrp()}
    time.sleep(600)


def part(name: str, seconds: float = 60.0, argument: str = "") -> Part:
    return Part(name, f"{__name__}:{name}", seconds, argument=argument)
