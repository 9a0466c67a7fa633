"""Fills a folder that git ignores with what a machine with a GPU, and without a network, lacks."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from src.core.errors import UserError
from src.core.paths import REQUIREMENTS

PACK = Path(".gpu")
PYTHON = (3, 12)  # of that machine; it has torch, torchvision, pandas and the like
WHEELS = ("annotated-types", "pydantic", "pydantic-core", "ruamel-yaml", "typing-extensions", "typing-inspection")
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 17)] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
ARCHIVES = ("mnist-idx.tar.xz", "cifar10.tar.xz", "fashion-mnist-idx.tar.xz")


def pack(folder: Path, archives: Path) -> str:
    """Fill the folder anew; return a table of the sizes. Raises `UserError` where something is missing."""
    files = [archives / name for name in ARCHIVES]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise UserError(f"{missing[0]} is missing: name the folder of the archives with --data")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    download(folder / "wheels", pinned(REQUIREMENTS.read_text(encoding="utf-8")))
    for file in files:
        shutil.copy(file, folder)
    sizes = {file.name: file.stat().st_size / 2**20 for file in folder.rglob("*") if file.is_file()}
    rows = {**sizes, "in all; the working tree travels too": sum(sizes.values())}
    return "\n".join(f"{mib:>6.1f} MiB  {name}" for name, mib in rows.items())


def pinned(lock: str) -> list[str]:
    """Find the versions that the lock has of `WHEELS`, as pip takes them."""
    found = [re.search(rf"^{name}==([\w.]+)", lock, re.MULTILINE) for name in WHEELS]
    return [f"{name}=={match[1]}" for name, match in zip(WHEELS, found, strict=True) if match]


def download(folder: Path, packages: list[str]) -> None:
    """Fetch wheels for that machine's Python. Raises `UserError` where one cannot be had."""
    options = ["--no-deps", "--only-binary=:all:", "--python-version", ".".join(map(str, PYTHON))]
    options += ["--implementation", "cp", *(part for name in PLATFORMS for part in ("--platform", name))]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "--dest", str(folder), *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["no reason given"]
        raise UserError(f"pip could not download {', '.join(packages)}: {reason[-1]}")
