"""Mends what a kill or a power failure may leave half-written of DVC's own files, which DVC refuses or, worse, trusts.

    python -m src.recover

`make repro` calls it first. Nothing of value is lost: `.dvc/tmp/rwlock` says which processes read and write what,
stages that a damaged `dvc.lock` no longer knows come from DVC's cache of runs, and what is damaged in its cache of
results is made again. What DVC can read is left alone, and so is what cannot be looked at, which is told.
"""

import tempfile
import time
from pathlib import Path

from src import durable, rwlock
from src.atomic import write_text
from src.faults import command
from src.paths import LOCK, RWLOCK, dvc_runs
from src.tracking import history

_WRITING = 1.0  # seconds in which a living DVC has written its file


def main() -> None:
    if damaged := durable.damaged():
        restore(damaged)
    mend()
    durable.settle()


def restore(damaged: list[Path]) -> bool:
    """After a power failure: removes what it damaged in DVC's cache. Whether DVC may have taken that for results: the
    committed `dvc.lock` is back then, and what stages read cannot be trusted until DVC has run again."""
    if in_use := durable.in_use(damaged):
        _put_back("names damaged files")
    durable.remove(damaged)
    files = f"{len(damaged)} file{'s' * (len(damaged) > 1)}"
    print(f"damaged in DVC's cache, as by a power failure: {files}, removed to be made again", flush=True)
    return in_use


def mend() -> None:
    """After a kill of DVC: what it refuses to read, or fails at."""
    for folder in dvc_runs().glob("??/*"):
        if not any(folder.iterdir()):
            folder.rmdir()  # a power failure took what was in it
    if why := rwlock.clear():
        print(f"{RWLOCK} {why}: removed")
    if _stays_broken():
        _put_back("was half-written")


def _stays_broken() -> bool:
    """Whether `dvc.lock` is broken, and not because a living DVC is writing it."""
    if not _broken(LOCK):
        return False
    time.sleep(_WRITING)
    return _broken(LOCK)


def _broken(path: Path) -> bool:
    """Whether DVC's own reader refuses it. Ours has bounds that DVC has not."""
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils import strictyaml

    try:
        strictyaml.load(str(path), COMPILED_LOCKFILE_SCHEMA)
    except FileNotFoundError:
        return False
    except (DvcException, ValueError):
        return True
    return False


def _put_back(why: str) -> None:
    """The committed `dvc.lock`, or none."""
    committed = _committed()
    if committed is None:
        LOCK.unlink()
    elif committed == LOCK.read_bytes():
        return
    else:
        write_text(LOCK, committed.decode("utf-8"))
    print(f"{LOCK} {why}: {'removed' if committed is None else 'the committed one is back'}")


def _committed() -> bytes | None:
    """The last commit's `dvc.lock`, if there is one that DVC can read."""
    head = history.resolve("HEAD")
    content = history.contents([head], LOCK)[0] if head else None
    if not content:
        return None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / LOCK.name
        copy.write_bytes(content)
        return None if _broken(copy) else content


if __name__ == "__main__":
    command(main)
