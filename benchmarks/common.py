"""What every benchmark says about where it ran."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil


def hardware() -> str:
    """Processor and memory, without the machine's name."""
    cpuinfo = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores of {name[1] if name else platform.processor()}, {memory:.0f} GiB"


def versions(*packages: str) -> dict[str, str]:
    """Of the named packages and Python."""
    return {name: _version(name) for name in packages} | {"python": platform.python_version()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
