"""Real file systems that are small or read-only, for tests: root ignores permissions, but not these."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """Mount an empty file system of `size` (`1m`) at the folder `place`. Skip the test where that is not allowed."""
    with _mounted(place, "-t", "tmpfs", "-o", f"size={size}", "none"):
        yield


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Make the file or folder `place` read-only. Skip the test where mounting is not allowed."""
    with _mounted(place, "--bind", str(place)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        yield


@contextmanager
def _mounted(place: Path, *options: str) -> Iterator[None]:
    mount = ["mount", *options, str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    before = Path.cwd()
    try:
        yield
    finally:
        os.chdir(before)  # a file system is busy while somebody stands in it
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(folder: Path) -> None:
    """Fill the space that is left on the file system of `folder`."""
    free = os.statvfs(folder)
    with (folder / "filler").open("wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize))
