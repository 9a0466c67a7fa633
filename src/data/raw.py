"""Fill `data/raw`: the published files of a data set, or the source that stands in for them, checked before it is read.

Archives stay archives, and a folder becomes one, or several if it is large: tens of thousands of files would be slow
for DVC, and a single archive would be stored whole again for every new photo.
"""

import hashlib
import math
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import IMAGES, MODEL, PREPARED, RAW, REPORTS, downloads, main_root, shown
from src.data.archives import is_archive, members, too_large
from src.data.fetch import fetch
from src.data.images import SUFFIXES
from src.data.known import PUBLISHED_SETS
from src.data.layout import is_generated

_PACK_BYTES = 2**28  # about the most that an archive of a folder's photos holds
_PLACE = "connect to the network, or put the file by hand at"


def fetch_raw(dataset: str, source: str | None, sha256: str | None, max_gib: float) -> None:
    """Do the work of the download stage. Raise `UserError`; then `data/raw` is as it was."""
    max_bytes = round(max_gib * 2**30)
    RAW.parent.mkdir(parents=True, exist_ok=True)
    for stale in RAW.parent.glob(f".{RAW.name}.*.tmp"):  # of a process that was killed
        shutil.rmtree(stale)
    with tempfile.TemporaryDirectory(dir=RAW.parent, prefix=f".{RAW.name}.", suffix=".tmp") as temporary:
        target = Path(temporary) / RAW.name
        target.mkdir()
        if source is not None or dataset == "image_folder":
            _copy_source(source, sha256, max_bytes, target)
        else:
            _copy_published_files(dataset, max_bytes, target)
        if RAW.exists():
            shutil.rmtree(RAW)
        target.rename(RAW)


def _copy_published_files(dataset: str, max_bytes: int, target: Path) -> None:
    """Copy the files of a known data set, which are fetched unless they were before, into the folder `target`."""
    if dataset == "digits":
        # Importing scikit-learn, which carries them, would take 1.5 s.
        digits = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
        shutil.copyfile(str(digits), target / "digits.csv.gz")
        return
    for name, md5 in PUBLISHED_SETS[dataset].files.items():
        path = downloads() / dataset / name
        urls = [mirror + name for mirror in PUBLISHED_SETS[dataset].mirrors]
        fetch(urls, path, f"md5:{md5}", max_bytes, f"{_PLACE} {shown(path)}, or set data.source")
        shutil.copyfile(path, target / name)


def _copy_source(source: str | None, sha256: str | None, max_bytes: int, target: Path) -> None:
    """Copy the user's archive, URL or folder, by default `data/images`, into the folder `target`.

    Raise `UserError` if it is another file than `sha256` says, or none that is read.
    """
    called = str(IMAGES) if source is None else f"data.source {without_credentials(source)}"
    path = _fetched(source, sha256, max_bytes) if source and "://" in source else _local(source, called)
    copies = _pack(path, target, max_bytes) if path.is_dir() else [shutil.copyfile(path, target / path.name)]
    found = _sha256(copies) if sha256 or source is not None else None
    if sha256 and found != sha256:
        raise UserError(
            f"{called} has sha256 {found}, but data.sha256 is {sha256}: it is another file or another version"
        )
    if path.is_file() and path.suffix.lower() != ".parquet":
        if not is_archive(path, called):
            kinds = ".tar, .tar.gz, .tar.xz, .zip"
            raise UserError(f"{called} is no folder, no .parquet and no complete archive ({kinds})")
        for _ in members(path, max_bytes, called):  # which raises if one is damaged or unsafe
            pass
    if found and not sha256:
        print(f"{called} has sha256 {found}; without data.sha256 later changes of it go unnoticed")


def _fetched(url: str, sha256: str | None, max_bytes: int) -> Path:
    """Return the file at `url`, which is fetched unless it was before."""
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    name = PurePosixPath(without_credentials(url)).name.lstrip(".") or "source"
    path = downloads() / "sources" / key / name
    if path.is_file() and sha256 is None:
        print(f"{without_credentials(url)} was fetched before: remove {shown(path)} to fetch it again")
    remedy = f"check the URL, {_PLACE} {shown(path)}, or set data.source to a file"
    fetch([url], path, f"sha256:{sha256}" if sha256 else None, max_bytes, remedy)
    return path


def _local(source: str | None, called: str) -> Path:
    """Return the file or folder `source`, by default `data/images`. Raise `UserError` if it cannot be one."""
    path = IMAGES
    if source is not None:
        path = Path(os.path.normpath(main_root() / Path(source).expanduser()))  # without following links
    if path == main_root() / IMAGES:
        raise UserError(f"data.source must be empty for {IMAGES}, or DVC would not look there for new photos")
    for written in (RAW, PREPARED, MODEL.parent, REPORTS):
        ours = main_root() / written
        if path.is_relative_to(ours) or ours.is_relative_to(path):
            # DVC deletes it before the stage that would read it.
            raise UserError(f"{called} lies in or holds {written}, which the pipeline writes: name a place outside")
    if path.is_file() or (path.is_dir() and any(_visible(path))):
        return path
    if source is None:
        raise UserError(
            f"{IMAGES} holds no photos: put one folder for each class there, or set data.source; git ignores them: "
            "docs/machines.md says how they reach other machines, and --temp and --queue experiments"
        )
    state = "is an empty folder" if path.is_dir() else "does not exist"
    raise UserError(f"{called} {state}: name an archive, a URL, or a folder that holds class folders")


def _sha256(files: Sequence[Path]) -> str:
    """Return the digest of a file; of several, that of their digests and names, as `sha256sum` writes them."""
    digests = [digest(file, "sha256") for file in files]
    lines = "".join(f"{each}  {file.name}\n" for each, file in zip(digests, files, strict=True))
    return digests[0] if len(files) == 1 else hashlib.sha256(lines.encode()).hexdigest()


def _pack(folder: Path, target: Path, max_bytes: int) -> list[Path]:
    """Pack a folder's files, without hidden ones, into tars that depend on their names and contents only.

    Which one a file is in follows from its name, so that a new one changes one of them.
    """
    files = [(name, path, path.stat().st_size) for name, path in sorted(_walk(folder, folder))]
    total = sum(size for *_, size in files)
    if total > max_bytes:
        raise too_large(str(folder), max_bytes)
    count = 2 ** max(0, math.ceil(math.log2(max(1, total) / (0.75 * _PACK_BYTES))))
    packs: list[list[tuple[str, Path]]] = [[] for _ in range(count)]
    for name, path, _ in files:
        packs[int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:4]) % count].append((name, path))
    copies = [target / ("images.tar" if count == 1 else f"images-{number:05d}.tar") for number in range(count)]
    for copy, pack in zip(copies, packs, strict=True):
        with tarfile.open(copy, "w", format=tarfile.PAX_FORMAT) as tar:
            for name, path in pack:
                info = tarfile.TarInfo(name)
                with path.open("rb") as file:
                    info.size = os.fstat(file.fileno()).st_size
                    tar.addfile(info, file)
    return copies


def _walk(root: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield name in `root` and path of every regular file below `folder`, also behind links."""
    if folder != root and not _visible(folder):  # a class whose photos were forgotten
        raise UserError(f"{folder} is an empty folder: put photos there, or remove it")
    for path in folder.iterdir():
        hidden = path.name.startswith(".") and path.is_dir()
        if hidden and any(file.suffix.lower() in SUFFIXES for file in path.iterdir()):
            print(f"{path} is hidden and left out: rename it if it is a class")
    for path in _visible(folder):
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path} is a link that leads nowhere: remove it")
        if path.is_dir():
            if path.is_symlink() and root == IMAGES:
                raise UserError(f"{path} is a link, behind which DVC would not notice new photos: put its folder there")
            yield from _walk(root, path)
        elif path.is_file():
            yield path.relative_to(root).as_posix(), path


def _visible(folder: Path) -> list[Path]:
    """Return what a folder holds, without what is hidden or made by a system."""
    return [path for path in folder.iterdir() if not is_generated(path.name)]
