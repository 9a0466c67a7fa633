"""What is written is on the disk, and not in memory alone, before anything builds on it.

Neither DVC nor MLflow syncs its files. So the clone's file system is synced as soon as DVC has written (`src.guard`),
and a mark tells up to when that is done: after another start of the machine, what is younger may be damaged.
"""

import ctypes
import errno
import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from src.atomic import write_text
from src.paths import main_root, synced


def sync() -> bool:
    """Waits until what was written so far is on the disk, in the clone's file system. Whether it is: else says so."""
    try:
        _sync()
    except OSError as error:
        print(f"warning: {error}: a power failure may cost what was written", file=sys.stderr, flush=True)
        return False
    return True


def mark() -> None:
    """Syncs, and marks up to when all is on the disk: after it was looked what the last power failure damaged."""
    now = _clock()
    if sync() and now is not None:
        with suppress(OSError):  # a full disk, say: without the mark more is looked at later
            write_text(synced(), f"{_boot()} {now}\n")


def restarted() -> bool:
    """Whether the machine, and what it had not written yet, went down after the mark was made."""
    return _read_mark()[0] != _boot()


def marked() -> int:
    """All that the file system dates before this moment, in ns, is on the disk."""
    return _read_mark()[1]


def _clock() -> int | None:
    """By which the file system dates files now: it may be a server's. None where none can be written, or the clone was
    removed meanwhile."""
    try:
        with tempfile.TemporaryFile(dir=synced().parent) as file:
            return os.fstat(file.fileno()).st_ctime_ns
    except OSError:
        return None


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
    if boot != _boot() and since > time.time_ns():
        return "never", 0  # a clock that was set back tells nothing
    return boot, since


def _boot() -> str:
    """Another one after every start of the machine; where Linux does not tell, never the same."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return f"unknown-{time.time_ns()}"
