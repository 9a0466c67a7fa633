"""Write files that are complete or absent, after a power failure too: fsync of a temporary file, rename, fsync."""

import glob
import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_writable(*folders: Path) -> None:
    """Make the folders where they are missing, and raise `OSError` if one cannot be written to.

    It is better to learn that before hours of work than after them.
    """
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; at the end of the block it is synced and renamed to `path`.

    If the block raises, the temporary file is removed and `path` is as it was. Temporary files of killed processes are
    removed, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        import psutil  # is needed so rarely that not every program should load it

        pid = left.name.split(".")[-2]
        if pid.isdecimal() and len(pid) < 10 and not psutil.pid_exists(int(pid)):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)  # which holds the name
    except OSError as error:
        error.filename = error.filename or str(path)  # writing to an open file names none
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends on every system, so that checksums agree between machines."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON in the order given. NaN and infinity are refused with `ValueError`: they are not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(path: Path, **arrays: "NDArray[Any]") -> None:
    """Write an .npz whose bytes depend on the arrays alone: those of `numpy.savez` depend on the version of Python.

    It is not compressed, since versions of zlib compress to different bytes.
    """
    import numpy as np  # not every stage that writes text needs it

    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())


def digest(path: Path, algorithm: str = "md5") -> str:
    """Return the hexadecimal digest of a file. MD5 by default, since it is what `dvc.lock` records."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
