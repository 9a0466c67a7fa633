"""What DVC and MLflow write is on the disk, and not in memory alone, before anything builds on it.

They sync no files: for half a minute `dvc.lock` may name results whose copies in DVC's cache are empty after a power
failure, and DVC trusts its cache. So what DVC wrote is synced as soon as it has (`src.guard`), and a mark tells up to
when that is done. After another start of the machine, what is younger than the mark and damaged is removed before
anything builds on it (`src.recover`).
"""

import ctypes
import errno
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

from src.atomic import digest, write_text
from src.paths import LOCK, dvc_objects, dvc_runs, main_root, synced

_OBJECT = re.compile("[0-9a-f]{32}")  # named by the MD5 of what it holds
_LARGE = 2**30  # bytes; they take some 2 s
_MARGIN = 20_000_000  # ns; the clock by which files are dated is up to 10 ms behind


def sync() -> bool:
    """Waits until what was written so far is on the disk, in the clone's file system. Whether it is: else says so."""
    try:
        _sync()
    except OSError as error:
        print(f"warning: {error}: a power failure may cost what was written", file=sys.stderr, flush=True)
        return False
    return True


def mark() -> None:
    """Syncs, and marks up to when all is on the disk. After `damaged` found nothing in this start of the machine."""
    now = time.time_ns() - _MARGIN
    if sync() and synced().parent.is_dir():  # else the clone was removed meanwhile
        with suppress(OSError):  # a full disk, say: without the mark more is looked at later
            write_text(synced(), f"{_boot()} {now}\n")


def damaged() -> list[Path]:
    """The objects of DVC's cache that a power failure damaged: younger than the mark, which is of an earlier start."""
    boot, since = _read_mark()
    if boot == _boot():
        return []
    young = _young(dvc_objects(), "??/*", since)
    if (size := sum(young.values())) > _LARGE:
        print(f"looking whether a power failure damaged DVC's cache: {size / 2**30:.1f} GiB", flush=True)
    return [path for path in young if _is_damaged(path)]


def in_use(objects: list[Path]) -> bool:
    """Whether `dvc.lock` names one of them, itself or in a folder: then DVC may have handed it out for a result."""
    known = LOCK.read_text(encoding="utf-8", errors="replace") if LOCK.is_file() else ""
    for name in re.findall(rf"({_OBJECT.pattern})\.dir", known):
        folder = dvc_objects() / name[:2] / f"{name[2:]}.dir"
        known += folder.read_text(encoding="utf-8", errors="replace") if folder.is_file() else ""
    return any(_name(path) in known for path in objects)


def remove(objects: list[Path]) -> None:
    """Removes damaged objects, and the entries of DVC's cache of runs that are as young, which may name them."""
    _, since = _read_mark()
    for path in objects:
        path.unlink(missing_ok=True)
    for path in _young(dvc_runs(), "??/*/*", since):
        path.unlink(missing_ok=True)
        with suppress(OSError):  # it holds others
            path.parent.rmdir()  # DVC fails at empty ones


def _sync() -> None:
    if sys.platform != "linux":
        os.sync()
        return
    folder = os.open(main_root(), os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(folder):  # of all mounted file systems, as by `os.sync`, the slowest would be waited for
            if ctypes.get_errno() not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(main_root()))
            os.sync()
    finally:
        os.close(folder)


def _read_mark() -> tuple[str, int]:
    """The start of the machine in which it was made, and the moment up to which all is on the disk."""
    try:
        boot, moment = synced().read_text(encoding="utf-8").split()
        since = int(moment)
    except (OSError, ValueError):
        return "never", 0
    return (boot, since) if since < time.time_ns() else ("never", 0)  # a clock that was set back tells nothing


def _young(folder: Path, pattern: str, since: int) -> dict[Path, int]:
    """With the size of each."""
    found = {}
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):  # another DVC renames what it has copied
            state = path.stat()
            if state.st_ctime_ns > since:
                found[path] = state.st_size
    return found


def _is_damaged(path: Path) -> bool:
    """Whether it is an object of DVC's, and not what it is named by. What cannot be read DVC itself complains of."""
    name = _name(path)
    try:
        return _OBJECT.fullmatch(name) is not None and name != digest(path)
    except OSError:
        return False


def _name(path: Path) -> str:
    return path.parent.name + path.name.removesuffix(".dir")


def _boot() -> str:
    """Another one after every start of the machine; where Linux does not tell, never the same."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return f"unknown-{time.time_ns()}"
