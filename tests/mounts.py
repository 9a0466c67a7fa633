"""Real file systems that are small, read-only or lose power, for tests: root ignores permissions, but not these."""

import fcntl
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """An empty file system of `size` (`1m`) at the folder `place`. Skips the test where mounting is not allowed."""
    with _mounted(place, "-t", "tmpfs", "-o", f"size={size}", "none"):
        yield


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """The file or folder `place` as it is, but read-only. Skips the test where mounting is not allowed."""
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
    """Takes what space is left on the file system of `folder`."""
    free = os.statvfs(folder)
    with (folder / "filler").open("wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize))


@contextmanager
def disk(folder: Path) -> Iterator["Disk"]:
    """A disk of its own at `folder`, which may not exist. Skips the test where it cannot be made or mounted."""
    try:
        made = Disk(folder.with_suffix(".disk"), folder)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs mkfs.ext4 and the right to mount a file system")
    try:
        yield made
    finally:
        made.remove()


class Disk:
    """An ext4 file system in the file `image`, mounted at `place`, whose power can fail."""

    # Of linux/fs/ext4/ext4.h, as the file systems' own tests use it: nothing is written any more, the journal neither.
    _SHUTDOWN, _WITHOUT_JOURNAL = 0x8004587D, 2

    def __init__(self, image: Path, place: Path, size: int = 2**30) -> None:
        self.image, self.place = image, place
        with image.open("wb") as file:
            file.truncate(size)
        place.mkdir(exist_ok=True)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
        self._mount()
        (place / "lost+found").rmdir()

    def fail(self) -> None:
        """What the kernel had not written yet is gone."""
        folder = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, self._SHUTDOWN, struct.pack("I", self._WITHOUT_JOURNAL))
        finally:
            os.close(folder)

    def restart(self) -> None:
        """As at the next start of a machine: the file system goes back to what its journal holds."""
        self.remove()
        self._mount()

    def remove(self) -> None:
        """Waits until the kernel is done with the processes that have ended."""
        for _ in range(100):
            if not subprocess.run(["umount", str(self.place)], capture_output=True, check=False).returncode:
                return
            time.sleep(0.1)
        raise TimeoutError(f"{self.place} is still in use")

    def _mount(self) -> None:
        mount = ["mount", "-o", "loop", str(self.image), str(self.place)]
        subprocess.run(mount, check=True, capture_output=True)
