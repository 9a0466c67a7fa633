"""Fills `data/raw`: the data set's own files, or the source that stands in for them, checked before anything is read.

Archives stay archives, and a folder becomes one: tens of thousands of files would be slow for DVC.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.files import digest, naming, replacing
from src.core.paths import IMAGES, MODEL, PREPARED, RAW, REPORTS, downloads, main_root
from src.data.archives import is_archive, members
from src.data.fetch import Checksum, fetch
from src.data.sources import SOURCES

_PLACE = "connect to the network, or put the file by hand at"


def fetch_raw(dataset: str, source: str | None, sha256: str | None) -> None:
    """Everything of the download stage. Raises `UserError`; then `data/raw` is as it was."""
    if sha256 and source is None and dataset != "image_folder":
        raise UserError(f"data.sha256 pins data.source, which is null: the files of {dataset} have their own checksums")
    RAW.parent.mkdir(parents=True, exist_ok=True)
    for stale in RAW.parent.glob(f".{RAW.name}.*.tmp"):  # of a process that was killed
        shutil.rmtree(stale)
    temporary = RAW.with_name(f".{RAW.name}.{os.getpid()}.tmp")
    try:
        with naming(RAW, temporary):
            temporary.mkdir()
            if source is None and dataset == "digits":
                _copy(_digits(), temporary / "digits.csv.gz")
            elif source is None and dataset != "image_folder":
                for file in SOURCES[dataset].files:
                    path = downloads() / dataset / file.name
                    fetch(file.urls, path, Checksum("md5", file.md5), f"{_PLACE} {_near(path)}, or set data.source")
                    _copy(path, temporary / file.name)
            else:
                _fill_from_source(source, sha256, temporary)
            if RAW.exists():
                shutil.rmtree(RAW)
            temporary.rename(RAW)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _digits() -> Path:
    """The digits that scikit-learn carries, found without importing it, which would take 1.5 s."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise UserError("scikit-learn, which carries the digits, is not installed: make env")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _fill_from_source(source: str | None, sha256: str | None, target: Path) -> None:
    if source is not None and re.match(r"(?i)https?://", source):
        where = without_credentials(source)
        archive = _fetch_source(source, sha256)
        copy = target / _plain_name(archive.name)
        _copy(archive, copy)
    elif source is not None and "://" in source:
        raise UserError(
            f"data.source {without_credentials(source)}: only http and https are read: fetch it, and name the file"
        )
    else:
        path = IMAGES if source is None else main_root() / source
        where = str(IMAGES) if source is None else f"data.source {source}"
        _check_place(path, where)
        if not _exists(path):
            raise UserError(
                _no_photos() if source is None else f"{where} does not exist: name a folder, archive or URL"
            )
        if path.is_dir():
            copy = target / "images.tar"
            if not _pack(path, copy):
                raise UserError(
                    _no_photos() if source is None else f"{where} is an empty folder: put class folders there"
                )
        elif path.is_file():
            copy = target / _plain_name(path.name)
            _copy(path, copy)
        else:
            raise UserError(f"{where} is neither a folder nor a file")
    found = digest(copy, "sha256")
    if sha256 and found != sha256:
        raise UserError(
            f"{where} has sha256 {found}, but data.sha256 is {sha256}: it is another file or another version"
        )
    if not is_archive(copy, where):
        raise UserError(f"{where} is neither a folder nor an archive (.tar, .tar.gz, .tar.xz, .zip)")
    if not sum(1 for _ in members(copy, where)):
        raise UserError(f"{where} is an empty archive")
    if sha256 is None and source is not None:
        print(f"{where} has sha256 {found}; without data.sha256 later changes of it go unnoticed")


def _check_place(path: Path, where: str) -> None:
    """What the pipeline itself writes is no source: DVC deletes it before the stage that would read it."""
    for written in (RAW, PREPARED, MODEL.parent, REPORTS):
        if Path(os.path.abspath(path)).is_relative_to((main_root() / written).absolute()):  # noqa: PTH100 (no look-up)
            raise UserError(f"{where} lies in {written}, which the pipeline writes: name a place outside")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # such as a name that is too long
        raise UserError(f"data.source {str(path)!r}: {error.strerror}") from None


def _fetch_source(url: str, sha256: str | None) -> Path:
    name = _plain_name(urlsplit(url).path.rsplit("/", 1)[-1])
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    path = downloads() / "sources" / key / name
    checksum = Checksum("sha256", sha256) if sha256 else None
    known = path.is_file() and checksum is None
    fetch([url], path, checksum, f"check the URL, {_PLACE} {_near(path)}, or set data.source to a file")
    if known:
        print(f"{without_credentials(url)} was fetched before: remove {_near(path)} to fetch it again")
    return path


def _plain_name(name: str) -> str:
    """A file name that is harmless on every system."""
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII).lstrip(".-") or "source"


def _near(path: Path) -> Path:
    """Relative to where commands run, if it is below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _no_photos() -> str:
    if main_root() != Path.cwd():
        return (
            f"{IMAGES} is empty here: files that git ignores are not carried into --temp and --queue experiments; "
            f"set data.source to a path, such as {IMAGES}, which is then looked up in {main_root()}"
        )
    return (
        f"{IMAGES} holds no photos: put one folder for each class there, or set data.source; photos of another machine "
        f"come with `dvc pull` once `dvc add {IMAGES}` was done there (README: Data and models on several machines)"
    )


def _copy(source: Path, target: Path) -> None:
    with _unchanged(source), replacing(target) as temporary:
        shutil.copyfile(source, temporary)


@contextmanager
def _unchanged(path: Path) -> Iterator[IO[bytes]]:
    """The open file. Raises `UserError` at the end of the block if it was written to meanwhile: what was read may be
    of two versions. Another file under its name does no harm, the open one is whole."""
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        yield file
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UserError(_changed(path))


def _changed(path: Path) -> str:
    return f"{path} changed while it was read: start again"


def _pack(folder: Path, target: Path) -> int:
    """Packs the folder's files, without hidden ones, into a tar that depends on their names and contents only."""
    if RAW.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"data.source must not contain {RAW}: give the folder of the images")
    files = sorted(_walk(folder, folder, (folder.resolve(),)))
    with replacing(target) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in files:
            info = tarfile.TarInfo(name)
            with _unchanged(path) as file:
                info.size = os.fstat(file.fileno()).st_size
                try:
                    tar.addfile(info, file)
                except OSError as error:
                    if error.errno is not None:
                        raise
                    raise UserError(_changed(path)) from None
    return len(files)


def _walk(root: Path, folder: Path, above: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """(name within `root`, path) of every regular file, also behind links; `above` are the real paths walked down."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path} is a link that leads nowhere: remove it")
        if path.is_dir():
            real = path.resolve()
            if real in above:
                raise UserError(f"{path} is a link to a folder that holds it: remove it")
            if next(path.iterdir(), None) is None:  # a class whose photos were forgotten
                raise UserError(f"{path} is an empty folder: put photos there, or remove it")
            yield from _walk(root, path, (*above, real))
        elif path.is_file():
            yield path.relative_to(root).as_posix(), path
