"""What the benchmarks share: where a result was measured, how numbers are summed up, and the files that keep them."""

import argparse
import json
import os
import platform
import re
import statistics
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from src.core.pool import processor_name

FOLDER = Path.cwd() / "benchmarks"
DATA = Path("../shared/datasets")  # the archives of the data sets


def command_line(text: str) -> argparse.ArgumentParser:
    """Make a parser that shows the text as it is written."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def hardware() -> str:
    """Name processor, memory and GPU, without the machine's name."""
    import torch

    memory = psutil.virtual_memory().total / 2**30
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} cores of {processor_name()}, {memory:.0f} GiB{gpu}"


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of the packages and of Python."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found | {"python": platform.python_version()}


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return median, quartiles and extremes, with at least four digits."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    found = {"median": median, "quartile_1": low, "quartile_3": high, "min": min(values), "max": max(values)}
    return {key: round(value) if value >= 1000 else float(f"{value:.4g}") for key, value in found.items()}


def anonymous_mib(pid: int) -> float:
    """Return the MiB that a process has filled itself (RssAnon), without pages of memory-mapped files. Linux only.

    Raises `OSError` where the process has ended.
    """
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if not found:
        raise OSError(f"process {pid} has ended")
    return int(found[1]) / 1024


def kept(results: Path) -> list[dict[str, Any]]:
    """Read the results of a file; none where nothing was measured yet."""
    return json.loads(results.read_text(encoding="utf-8")) if results.exists() else []


def keep(results: Path, result: dict[str, Any], same: tuple[str, ...]) -> None:
    """Add a result to a file. It replaces one of the same hardware with equal values of the keys `same`."""
    others = [entry for entry in kept(results) if any(entry[key] != result[key] for key in (*same, "hardware"))]
    results.write_text(json.dumps([*others, result], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
