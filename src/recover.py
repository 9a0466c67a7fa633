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
        if LOCK.is_file():  # what DVC recorded since the failure may be of damaged files
            _put_back("may name damaged files")
        durable.remove(damaged)
        print(f"{durable.told(damaged)}: removed, to be made again")
    mend()
    durable.settle()


def mend() -> None:
    """After a kill of DVC: what it refuses to read, or fails at."""
    for folder in dvc_runs().glob("??/*"):
        if not any(folder.iterdir()):
            folder.rmdir()  # DVC fails at empty ones
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
