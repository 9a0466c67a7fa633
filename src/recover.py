"""Mends what a kill or a power failure may leave half-written of DVC's own files, which DVC refuses or, worse, trusts.

    python -m src.recover

`make repro` calls it first. Nothing of value is lost: `.dvc/tmp/rwlock` says which processes read and write what,
stages that a damaged `dvc.lock` no longer knows come from DVC's cache of runs, and what is damaged in its cache of
results is made again. What DVC can read is left alone, and so is what cannot be looked at, which is told.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from src import durable
from src.atomic import write_text
from src.faults import command
from src.paths import LOCK, RWLOCK, dvc_runs
from src.tracking import history

_WRITING = 1.0  # seconds in which a living DVC has written its file


def main() -> None:
    damaged = durable.damaged()
    if damaged:
        durable.remove(damaged)
        print(f"{durable.told(damaged)}: removed, to be made again")
    durable.sync_beside()
    for folder in dvc_runs().glob("??/*"):
        if not any(folder.iterdir()):
            folder.rmdir()  # DVC fails at empty ones
    if _stays(_broken_json, RWLOCK):
        RWLOCK.unlink()
        print(f"{RWLOCK} was half-written: removed")
    broken = _stays(_broken_lock, LOCK)
    committed = _committed() if broken or damaged else None
    # What DVC recorded since the failure may be of damaged files.
    if broken or (damaged and LOCK.is_file() and LOCK.read_text(encoding="utf-8") != committed):
        if committed is not None:
            write_text(LOCK, committed)
        else:
            LOCK.unlink()
        why = "was half-written" if broken else "may name them"
        print(f"{LOCK} {why}: {'removed' if committed is None else 'the committed one is back'}")


def _stays(broken: Callable[[Path], bool], path: Path) -> bool:
    """Whether the file is broken, and not because a living DVC is writing it."""
    if not broken(path):
        return False
    time.sleep(_WRITING)
    return broken(path)


def _broken_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False


def _broken_lock(path: Path) -> bool:
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


def _committed() -> str | None:
    """The last commit's `dvc.lock`, if there is one that DVC can read."""
    head = history.resolve("HEAD")
    content = history.contents([head], LOCK)[0] if head else None
    if not content:
        return None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / LOCK.name
        copy.write_bytes(content)
        return None if _broken_lock(copy) else content.decode("utf-8")


if __name__ == "__main__":
    command(main)
