"""What a program does first when DVC started it as a stage, and the process that stays beside DVC until it has ended.

    python -m src.guard GROUP CANARY        started by every stage; one of them stays

DVC syncs nothing that it writes, and a kill may leave its own files half-written. The guard brings to the disk what DVC
writes as soon as it has, and mends what DVC leaves behind. It has a session of its own: what kills DVC and its stages,
and Ctrl-C, spares it. It says nothing, since nobody may be there any more, and ends a moment after DVC.

DVC ignores Ctrl-C while a stage runs, which is to end by it. One that comes when the stage has ended, and DVC has not
seen that yet, would be forgotten: freeing the memory of a training takes the kernel 30 ms. So a canary stays in DVC's
process group, `cat`, which reads from the guard, and ends with it or by Ctrl-C. The guard then ends what DVC starts
next.
"""

import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from src import durable, dvc_cache, lifetime, rwlock
from src.faults import Fault, command
from src.paths import GUARD, LOCKS, PIPELINE, RWLOCK, synced

_LOOK = 0.25  # seconds between two looks at DVC; they take 0.3 % of a core
_TICK = 0.01  # seconds; two files that are written within have the same date, at most
_IN_CLOSE_WRITE, _IN_MOVED_TO = 0x8, 0x80  # linux/inotify.h
_BETWEEN = 2.0  # seconds between two stages of a pipeline, at most
_IDLE = 10.0  # seconds after which a program that used DVC, and lives on, does not any more


def begin() -> None:
    """Where DVC started this process: it ends when DVC does, and has a guard.

    Raises `lifetime.Ended` where DVC is gone already, `Fault` where it may have handed out what a power failure
    damaged, `OSError` where that cannot be mended.
    """
    if "DVC_STAGE" not in os.environ:
        return
    lifetime.follow_parent()
    if rwlock.abandoned():
        raise lifetime.Ended(signal.SIGTERM)
    if damaged := dvc_cache.damaged():
        from src import recover  # a quarter of a second

        if recover.restore(damaged):
            raise Fault("DVC may have taken damaged files for results: start it again")
    silent = subprocess.DEVNULL
    try:
        synced().parent.mkdir(exist_ok=True)
        ends = os.pipe()
        with os.fdopen(ends[0]) as read, os.fdopen(ends[1], "w") as canary:
            subprocess.Popen(["cat"], stdin=read, stdout=silent, stderr=silent)
            subprocess.Popen(
                [sys.executable, "-m", "src.guard", str(os.getpgrp()), str(canary.fileno())],
                stdin=silent,
                stdout=silent,
                stderr=silent,
                pass_fds=[canary.fileno()],
                start_new_session=True,
            )
    except OSError as error:
        print(f"warning: {error}: a power failure may cost what DVC writes", file=sys.stderr, flush=True)


def outputs() -> list[Path]:
    """What the stage writes that DVC started as this process; none if it did not."""
    if "DVC_STAGE" not in os.environ:
        return []
    from src.dvc_files import read_pipeline, written  # a tenth of a second, in which the guard starts

    name = os.environ["DVC_STAGE"].rpartition(":")[2]  # before it may stand a path, from where the user is
    try:
        return written(read_pipeline(PIPELINE.read_bytes()).get(name, {}))
    except (OSError, ValueError) as error:
        print(f"warning: {PIPELINE}: {error}: a power failure may cost what DVC writes", file=sys.stderr, flush=True)
        return []


def main() -> None:
    group, canary = map(int, sys.argv[1:])
    GUARD.parent.mkdir(parents=True, exist_ok=True)
    with GUARD.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another guard watches
            return
        durable.mark()
        from src import recover  # a quarter of a second

        _watch(group, canary)
    recover.mend()
    durable.mark()


def _watch(group: int, canary: int) -> None:
    """Until no DVC works here any more."""
    watched: set[psutil.Process] = set()
    marked = None
    events = select.poll()
    events.register(canary, 0)  # its death
    spared: set[psutil.Process] | None = None  # after it: what was sent the same, or is not known not to have been
    if events.poll(0):
        events.unregister(canary)
        spared = set()
    changes = _changes()
    if changes is not None:
        events.register(changes, select.POLLIN)
    seen = time.monotonic()
    while time.monotonic() < seen + _IDLE:
        with suppress(ValueError):  # half-written, for a moment or by a DVC that was killed
            if working := rwlock.working():
                seen = time.monotonic()
                watched |= set(working)
        watched = {process for process in watched if lifetime.lives(process)}
        if not watched:
            return
        running = None
        if time.monotonic() > seen + _BETWEEN:
            spared = None  # the pipeline has ended
        if spared is not None:
            if late := _stages(watched, group) - spared:
                spared = None
                _end(late)
        elif (written := _written()) != marked:
            running = _stages(watched, group)  # what begins during the sync does not count
            time.sleep(_TICK)
            if _written() == written and not _writes(watched):  # a sync puts on the disk what is half-written, too
                durable.mark()
                marked = written
        for descriptor, _ in events.poll(_LOOK * 1000):
            if descriptor == changes:
                os.read(changes, 2**16)
            else:
                events.unregister(canary)
                spared = running if running is not None else _stages(watched, group)


def _writes(dvc: set[psutil.Process]) -> bool:
    """Whether one of them writes a file of DVC's own: it empties a `dvc.lock` 60 ms before it is whole again."""
    own = {str(path.resolve()) for path in (RWLOCK, *LOCKS)}
    written: set[str] = set()
    for process in dvc:
        with suppress(psutil.Error):  # only Linux tells reading from writing
            written.update(file.path for file in process.open_files() if getattr(file, "mode", "w") != "r")
    return not own.isdisjoint(written)


def _stages(dvc: set[psutil.Process], group: int) -> set[psutil.Process]:
    """The living processes of the group that these started as stages."""
    found = set()
    for process in dvc:
        with suppress(psutil.Error):
            for child in process.children():
                with suppress(psutil.Error, ProcessLookupError):
                    if os.getpgid(child.pid) == group and lifetime.lives(child) and "DVC_STAGE" in child.environ():
                        found.add(child)
    return found


def _end(stages: set[psutil.Process]) -> None:
    for stage in stages:
        with suppress(psutil.Error):
            for process in [stage, *stage.children(recursive=True)]:  # the first may be a shell
                with suppress(psutil.Error):
                    process.terminate()  # not SIGINT, of which Python makes a traceback while it starts


def _changes() -> int | None:
    """A descriptor from which can be read once DVC has written, where the system has such: looks find the rest."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:  # the user has too many
        return None
    for path in (RWLOCK, *LOCKS):
        libc.inotify_add_watch(descriptor, os.fsencode(path.parent), _IN_CLOSE_WRITE | _IN_MOVED_TO)
    return descriptor


def _written() -> list[int | None]:
    """When DVC wrote each of its own files, in ns."""
    moments: list[int | None] = []
    for path in (RWLOCK, *LOCKS):
        try:
            moments.append(path.stat().st_mtime_ns)
        except OSError:
            moments.append(None)
    return moments


if __name__ == "__main__":
    command(main)
