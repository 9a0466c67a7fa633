"""`.dvc/tmp/rwlock`, in which DVC notes which of its processes reads and writes what."""

import fcntl
import json
from pathlib import Path

import psutil

from src.paths import RWLOCK


def working() -> list[psutil.Process]:
    """The living DVC processes that it names. Raises `ValueError` where DVC would not read it."""
    found = [_process(pid, command) for pid, command in _named().items()]
    return [process for process in found if process is not None]


def clear() -> str:
    """Removes it where DVC would not read it, or only processes that are gone stand in it: after another start of the
    machine, or of a container, their numbers are soon others', for which DVC would wait. Why it did; else ""."""
    try:
        with RWLOCK.with_name("rwlock.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as DVC does while it writes
            return _clear()
    except FileNotFoundError:
        return _clear()
    except BlockingIOError:
        return ""  # somebody is alive


def _clear() -> str:
    try:
        why = "names only processes that are gone" if _named() and not working() else ""
    except ValueError:
        why = "was half-written"
    if why:
        RWLOCK.unlink()
    return why


def _named() -> dict[int, str]:
    """Commands by number of their process."""
    try:
        text = RWLOCK.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        content = json.loads(text)
        readers = [reader for several in content.get("read", {}).values() for reader in several]
        entries = [*content.get("write", {}).values(), *readers]
        return {int(entry["pid"]): str(entry["cmd"]) for entry in entries}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{RWLOCK} has another form: {error}") from None


def _process(pid: int, command: str) -> psutil.Process | None:
    """That of DVC, not one that was given its number later."""
    program = Path(command.split(" ")[0]).name
    try:
        process = psutil.Process(pid)
        words = process.cmdline()
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return None
    except psutil.AccessDenied:  # another user's, of which nothing can be known
        return process
    return process if any(program in word or "dvc" in word for word in words) else None
