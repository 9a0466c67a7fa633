"""What DVC and MLflow write is on the disk, and not in memory alone, before anything builds on it.

They sync no files: for half a minute `dvc.lock` may name results whose copies in DVC's cache are empty after a power
failure, and DVC trusts its cache. So every stage begins to sync what the ones before it left, and a mark tells up to
when that is done. After a start of the machine, what is younger than the mark is looked at first.
"""

import ctypes
import os
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from src.atomic import digest, write_text
from src.paths import dvc_cache, main_root, synced

_OBJECT = re.compile(r"[0-9a-f]{30}(\.dir)?")  # in a folder of the first two digits: named by the MD5 of what it holds
_MARGIN = 20_000_000  # ns; the clock by which files are dated is up to 10 ms behind


def sync() -> bool:
    """Waits until what was written so far is on the disk, in the clone's file system. Whether it is: else says so."""
    try:
        _sync()
    except OSError as error:
        print(f"warning: {error}: a power failure may cost what was written", file=sys.stderr, flush=True)
        return False
    return True


def settle() -> int:
    """Removes from DVC's cache what a power failure damaged, and begins to sync what is there. Returns how many objects
    it removed."""
    now = time.time_ns() - _MARGIN
    mark = _read_mark()
    boot = _boot()
    damaged = [] if mark is not None and mark[0] == boot else _damaged(0 if mark is None else mark[1])
    for path in damaged:
        path.unlink()
    threading.Thread(target=_sync_and_mark, args=(boot, now), name="sync").start()
    return len(damaged)


def told(damaged: int) -> str:
    return f"{damaged} files of DVC's cache were damaged by a power failure: removed, to be made again"


def _sync() -> None:
    if sys.platform != "linux":
        os.sync()
        return
    folder = os.open(main_root(), os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(folder):  # of all mounted file systems, as by `os.sync`, the slowest would be waited for
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(main_root()))
    finally:
        os.close(folder)


def _sync_and_mark(boot: str, now: int) -> None:
    if sync():
        with suppress(OSError):  # a full disk, say: without the mark more is looked at later
            write_text(synced(), f"{boot} {now}\n")


def _read_mark() -> tuple[str, int] | None:
    try:
        boot, moment = synced().read_text(encoding="utf-8").split()
        return boot, int(moment)
    except (FileNotFoundError, ValueError):
        return None


def _damaged(since: int) -> list[Path]:
    """Those of the objects younger than the moment that are not what they are named by."""
    objects = (path for path in dvc_cache().glob("??/*") if _OBJECT.fullmatch(path.name))
    young = [path for path in objects if path.stat().st_ctime_ns > since]
    return [path for path in young if path.parent.name + path.name.removesuffix(".dir") != digest(path)]


def _boot() -> str:
    """Another one after every start of the machine; elsewhere than on Linux never the same."""
    if sys.platform != "linux":
        return f"unknown-{time.time_ns()}"
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
