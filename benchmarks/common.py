"""What every benchmark says about where it ran, and where its results are kept."""

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


def hardware() -> str:
    """Name processor, memory and GPU, without the machine's name."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    memory = psutil.virtual_memory().total / 2**30
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} cores of {name[1] if name else platform.processor()}, {memory:.0f} GiB{gpu}"


def versions(*packages: str) -> dict[str, str]:
    """Of the named packages and Python."""
    return {name: _version(name) for name in packages} | {"python": platform.python_version()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and extremes, with at least four digits."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    found = {"median": median, "quartile_1": low, "quartile_3": high, "min": min(values), "max": max(values)}
    return {key: round(value) if value >= 1000 else float(f"{value:.4g}") for key, value in found.items()}


def kept(results: Path) -> list[dict[str, Any]]:
    """The results of a JSON list; none where nothing was measured yet."""
    return json.loads(results.read_text(encoding="utf-8")) if results.exists() else []


def where(entry: dict[str, Any]) -> str:
    """On what a result was measured, and with what."""
    return f"{entry['hardware']}; " + ", ".join(f"{name} {number}" for name, number in entry["versions"].items())


def keep(results: Path, result: dict[str, Any], same: tuple[str, ...]) -> None:
    """Add a result to a JSON list; it replaces an older one of the same hardware with equal values of the keys `same`.

    What another processor or GPU gave stays.
    """
    keys = (*same, "hardware")
    replace(results, [entry for entry in kept(results) if any(entry[key] != result[key] for key in keys)], result)


def replace(results: Path, others: Sequence[dict[str, Any]], result: dict[str, Any]) -> None:
    """Make a JSON list of what is to stay and a new result."""
    results.write_text(json.dumps([*others, result], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
