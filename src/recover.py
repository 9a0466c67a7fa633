"""Mends what a kill or a power failure may leave half-written of DVC's own files, which DVC refuses or, worse, trusts.

    python -m src.recover

`make repro` calls it first. Nothing of value is lost: `.dvc/tmp/rwlock` says which processes read and write what,
stages that a damaged `dvc.lock` no longer knows come from DVC's cache of runs, and what is damaged in its cache of
results is made again. What DVC can read is left alone, and so are conflicts that git leaves to its user, and what
cannot be looked at, which is told.
"""

import fcntl
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from src import durable, dvc_cache, rwlock
from src.atomic import write_text
from src.faults import command
from src.paths import LOCK, LOCKS, MODEL, PREPARED, RAW, REPORTS, RWLOCK, dvc_runs, synced
from src.tracking import history

_WRITING = 1.0  # seconds in which a living DVC has written its file
_COPIED = re.compile(r"\.[\w-]{22}\.tmp")  # as DVC calls what it has not wholly copied
_CONFLICT = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)  # as git marks it


def main() -> None:
    if damaged := dvc_cache.damaged():
        restore(damaged)
    mend()
    synced().parent.mkdir(exist_ok=True)
    durable.mark()


def restore(damaged: list[Path]) -> bool:
    """After a power failure: removes what it damaged in DVC's cache. Whether DVC may have taken that for results: the
    committed `dvc.lock` is back then, and what stages read cannot be trusted until DVC has run again."""
    if in_use := dvc_cache.in_use(damaged):
        _put_back(LOCK, "names damaged files")
    dvc_cache.remove(damaged)
    files = f"{len(damaged)} file{'s' * (len(damaged) > 1)}"
    print(f"damaged in DVC's cache, as by a power failure: {files}, removed to be made again", flush=True)
    return in_use


def mend() -> None:
    """After a kill of DVC: what it refuses to read, or fails at. While one works here, that is its own."""
    if why := rwlock.clear():
        print(f"{RWLOCK} {why}: removed")
    try:
        if rwlock.working():
            return
    except ValueError:  # it is being written
        return
    for folder in dvc_runs().glob("??/*"):
        with suppress(OSError):
            folder.rmdir()  # a power failure took what was in it, and DVC fails at empty ones; the others stay
    for path in LOCKS:
        if _stays_broken(path):
            _put_back(path, "was half-written")
    with suppress(FileNotFoundError, BlockingIOError), RWLOCK.with_name("lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as `dvc checkout` does while it copies
        for folder in (RAW.parent, PREPARED, MODEL.parent, REPORTS):
            for path in folder.glob(".*.tmp"):
                if _COPIED.fullmatch(path.name):
                    path.unlink(missing_ok=True)


def _stays_broken(path: Path) -> bool:
    """Whether DVC's own reader refuses it, and not because a living DVC is writing it. Ours has bounds that DVC has
    not."""
    if not _broken(path):
        return False
    time.sleep(_WRITING)
    return _broken(path)


def _broken(path: Path) -> bool:
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils import strictyaml

    try:
        if _CONFLICT.search(path.read_bytes()):
            return False
        strictyaml.load(str(path), COMPILED_LOCKFILE_SCHEMA)
    except FileNotFoundError:
        return False
    except (DvcException, ValueError, RecursionError):
        return True
    return False


def _put_back(path: Path, why: str) -> None:
    """The committed one, or none. What was there is kept."""
    committed = _committed(path)
    if committed == path.read_bytes():
        return
    kept = RWLOCK.with_name(f"{'-'.join(path.parts)}.damaged")
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, kept)
    if committed is None:
        path.unlink()
    else:
        write_text(path, committed.decode("utf-8"))
    print(f"{path} {why}: {'removed' if committed is None else 'the committed one is back'}; it is kept in {kept}")


def _committed(path: Path) -> bytes | None:
    """The last commit's, if there is one that DVC can read."""
    head = history.resolve("HEAD")
    content = history.contents([head], path)[0] if head else None
    if not content:
        return None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(content)
        return None if _broken(copy) else content


if __name__ == "__main__":
    command(main)
