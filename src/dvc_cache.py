"""DVC's cache: what it keeps of every version of every output, by MD5, and which outputs came of which dependencies.

DVC trusts it, and hands out whatever has the name. But it syncs nothing that it puts there: for half a minute
`dvc.lock` may name results whose copies are empty after a power failure. So a stage puts its outputs there before DVC
does, and on the disk. What is damaged nevertheless goes before anything builds on it.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from src import durable
from src.atomic import digest, on_disk
from src.paths import LOCK, dvc_objects, dvc_runs, main_root

_OBJECT = re.compile("[0-9a-f]{32}")  # named by the MD5 of what it holds
_LARGE = 2**30  # bytes; they take some 2 s


def keep(outputs: Iterable[Path]) -> None:
    """Puts files and folders there as DVC does, which then need not, and waits until they are on the disk.

    What does not exist is left out; what `.dvcignore` names in a folder is, unlike by DVC, not. Raises `OSError`.
    """
    from dvc.config import Config, ConfigError
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from dvc_objects.fs.local import localfs

    try:
        settings = Config(str(main_root() / ".dvc"))["cache"]
    except ConfigError:  # DVC itself says why
        return
    place = Path(settings["dir"], "files", "md5") if "dir" in settings else dvc_objects()
    database = LocalHashFileDB(localfs, str(place), **settings)
    for path in filter(Path.exists, outputs):
        _, _, built = build(database, str(path), localfs, "md5", dry_run=True)
        sources = {}
        if path.is_dir():
            sources = {entry.value: (str(path.joinpath(*name)), localfs) for name, _, entry in built}
        sources[built.oid] = (built.path, built.fs)  # the file, or the folder's listing
        whole = database.oids_exist([*sources])  # which removes what is damaged and was not finished
        for name, (source, files) in sources.items():
            if name not in whole:
                database.add(source, files, name, hardlink=database.cache_types[0] == "hardlink")
            on_disk(Path(database.oid_to_path(name)))


def damaged() -> list[Path]:
    """The objects that a power failure damaged: younger than the mark, which is of an earlier start of the machine."""
    if not durable.restarted():
        return []
    young = _young(dvc_objects(), "??/*")
    if (size := sum(young.values())) > _LARGE:
        print(f"looking whether a power failure damaged DVC's cache: {size / 2**30:.1f} GiB", flush=True)
    return [path for path in young if _is_damaged(path)]


def in_use(damaged: list[Path]) -> bool:
    """Whether `dvc.lock` names one of them, itself or in a folder: then DVC may have handed it out for a result."""
    known = LOCK.read_text(encoding="utf-8", errors="replace") if LOCK.is_file() else ""
    for name in re.findall(rf"({_OBJECT.pattern})\.dir", known):
        folder = dvc_objects() / name[:2] / f"{name[2:]}.dir"
        known += folder.read_text(encoding="utf-8", errors="replace") if folder.is_file() else ""
    return any(_name(path) in known for path in damaged)


def remove(damaged: list[Path]) -> None:
    """Removes these objects, and the records of runs that are younger than the mark, which may name them."""
    for path in damaged:
        path.unlink(missing_ok=True)
    for path in _young(dvc_runs(), "??/*/*"):
        path.unlink(missing_ok=True)
        with suppress(OSError):  # it holds others
            path.parent.rmdir()  # DVC fails at empty ones


def _young(folder: Path, pattern: str) -> dict[Path, int]:
    """Younger than the mark, with the size of each."""
    found = {}
    since = durable.marked()
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):  # another DVC renames what it has copied
            state = path.stat()
            if state.st_ctime_ns >= since:
                found[path] = state.st_size
    return found


def _is_damaged(path: Path) -> bool:
    """Whether it is an object of DVC's, and not what it is named by. What cannot be read DVC itself complains of."""
    name = _name(path)
    try:
        return _OBJECT.fullmatch(name) is not None and name != digest(path)
    except OSError:
        return False


def _name(path: Path) -> str:
    return path.parent.name + path.name.removesuffix(".dir")
