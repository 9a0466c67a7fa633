"""`.dvc/tmp/rwlock`, in which DVC notes which of its processes reads and writes what."""

import fcntl
import json

import psutil

from src.paths import RWLOCK

_SAME = 2.0  # seconds by which the start of a process may be told wrong: its clock is not that of files


def working() -> list[psutil.Process]:
    """The living processes that noted themselves. Raises `ValueError` where the file does not tell."""
    return [process for process in _existing() if _wrote(process)]


def abandoned() -> bool:
    """Whether processes are noted, and none of them started this one: DVC was killed before this one followed it."""
    try:
        noted = _numbers()
    except ValueError:
        return False
    return bool(noted) and noted.isdisjoint(process.pid for process in psutil.Process().parents())


def clear() -> str:
    """Removes it where it is half-written, which DVC does not read, and where DVC would wait for a process that never
    was DVC: after another start of the machine numbers are soon others'. Why it did; else "". Processes that are gone
    DVC itself takes out."""
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
        why = "names only other programs" if _existing() and not working() else ""
    except (json.JSONDecodeError, UnicodeDecodeError):
        why = "was half-written"
    except ValueError:
        why = ""
    if why:
        RWLOCK.unlink()
    return why


def _existing() -> list[psutil.Process]:
    """Processes that have the numbers now."""
    found = []
    for pid in _numbers():
        try:
            found.append(psutil.Process(pid))
        except (psutil.NoSuchProcess, ValueError, OverflowError):
            continue
    return found


def _wrote(process: psutil.Process) -> bool:
    """Whether it can have: it was there when the file was last written."""
    try:
        return process.create_time() < RWLOCK.stat().st_mtime + _SAME
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


def _numbers() -> set[int]:
    try:
        content = json.loads(RWLOCK.read_text(encoding="utf-8"))
        readers = [reader for several in content.get("read", {}).values() for reader in several]
        return {int(entry["pid"]) for entry in [*content.get("write", {}).values(), *readers]}
    except FileNotFoundError:
        return set()
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{RWLOCK} has another form: {error}") from None
