"""Fills a folder that git ignores with what a machine with a GPU, and without a network, lacks."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from src.core.errors import UserError
from src.core.paths import REQUIREMENTS

PACK = Path(".gpu")
MIB = 2**20
LIMIT = 60 * MIB  # of the pack and the working tree, which travel together
PYTHON = (3, 12)  # of that machine; it has torch, torchvision, pandas and the like
WHEELS = ("annotated-types", "pydantic", "pydantic-core", "ruamel-yaml", "typing-extensions", "typing-inspection")
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 17)] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
# Those that must be there; then, where room is left, others.
NEEDED, OPTIONAL = ("cifar10.tar.xz", "mnist-idx.tar.xz"), ("fashion-mnist-idx.tar.xz",)
AIRBENCH = "airbench94_muon.py"


def pack(folder: Path, archives: Path, airbench: Path | None) -> str:
    """Fill the folder anew; return a table of what is in it. Raises `UserError` where something is missing or too
    much."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    sizes = {"the working tree": tree()}
    download(folder / "wheels", pinned(REQUIREMENTS.read_text(encoding="utf-8")))
    sizes["wheels"] = size(folder / "wheels")
    if airbench is not None:
        (folder / "airbench").mkdir()
        copy(airbench / AIRBENCH, folder / "airbench")
        sizes["airbench"] = size(folder / "airbench")
    for name in NEEDED:
        sizes[name] = copy(archives / name, folder / "data")
    for name in OPTIONAL:
        if sum(sizes.values()) + (archives / name).stat().st_size <= LIMIT:
            sizes[name] = copy(archives / name, folder / "data")
    if sum(sizes.values()) > LIMIT:
        raise UserError(f"{_mib(sum(sizes.values()))} MiB would travel, at most {_mib(LIMIT)} may: {_told(sizes)}")
    left_out = [name for name in OPTIONAL if name not in sizes]
    rows = [f"{_mib(count):>6} MiB  {name}" for name, count in sizes.items()]
    rows += [f"{_mib(sum(sizes.values())):>6} MiB  of at most {_mib(LIMIT)}"]
    return "\n".join([*rows, *(f"{name} is left out: no room" for name in left_out)])


def tree() -> int:
    """Count the bytes of the files that git has or would add."""
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], capture_output=True, check=True).stdout
    files = {Path(name) for name in listed.decode().split("\0") if name}
    return sum(file.stat().st_size for file in files if file.is_file())


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


def copy(source: Path, folder: Path) -> int:
    """Copy a file; return its bytes."""
    if not source.is_file():
        raise UserError(f"{source} is missing: name its folder (--data, --airbench)")
    shutil.copy(source, folder)
    return source.stat().st_size


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _mib(count: int) -> str:
    return f"{count / MIB:.1f}"


def _told(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {_mib(count)}" for name, count in sizes.items())
