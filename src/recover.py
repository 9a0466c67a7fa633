"""Mends the two files of DVC that a kill or a power failure may leave half-written, which DVC itself refuses to read.

    python -m src.recover

`make repro` calls it first. Nothing of value is in them: `.dvc/tmp/rwlock` says which processes read and write what,
and stages that a damaged `dvc.lock` no longer knows come from DVC's cache of runs.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

from src.atomic import write_text
from src.documents import read_yaml
from src.faults import command
from src.paths import LOCK, RWLOCK
from src.tracking.source import git

_WRITING = 1.0  # seconds in which a living DVC has written its file


def main() -> None:
    if _stays(_broken_json, RWLOCK):
        RWLOCK.unlink()
        print(f"{RWLOCK} was half-written: removed")
    if _stays(_broken_lock, LOCK):
        committed = git("show", f"HEAD:./{LOCK}")
        if committed:
            write_text(LOCK, committed)
        else:
            LOCK.unlink()
        print(f"{LOCK} was half-written: {'the committed one is back' if committed else 'removed'}")


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
    """Whether DVC cannot read it, as a mapping with stages, each of which has a command."""
    try:
        content = path.read_bytes()
        return bool(content) and not all("cmd" in stage for stage in read_yaml(content)["stages"].values())
    except FileNotFoundError:
        return False
    except (ValueError, TypeError, KeyError, AttributeError):
        return True


if __name__ == "__main__":
    command(main)
