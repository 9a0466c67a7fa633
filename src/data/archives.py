"""Read archives without unpacking them: members come as bytes, in their order.

.tar (plain or compressed by gzip, xz, bzip2) and .zip are known by their content. Names that lead outside, links
and devices are refused, and so is an archive that unpacks to more bytes than the reader allows.
"""

import errno
import lzma
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

from src.core.errors import UserError

# What the standard library raises for damaged archives.
_DAMAGE = (
    *(ArithmeticError, EOFError, LookupError, OSError, RuntimeError, ValueError, struct.error),
    *(lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error),
)
_DEFLATE64 = 9  # a compression that zipfile does not know


class Member(NamedTuple):
    name: str  # with `/`, without a leading `./`, in Unicode's form NFC
    size: int  # bytes, as the archive says
    read: Callable[[], bytes]  # only until the next member is asked for


def is_archive(path: Path, called: str) -> bool:
    """Tell by its content if a file is an archive that `members` reads; errors name it as it is `called`."""
    with damage_reported(called):
        return tarfile.is_tarfile(path) or zipfile.is_zipfile(path)


def members(path: Path, max_bytes: int, called: str) -> Iterator[Member]:
    """Yield every regular file of an archive; its members may have `max_bytes` in total.

    Folders come too, as empty members whose names end in `/`: one without files may be a class whose photos are lost.
    Raise `UserError`, which names the archive as the user `called` it, if it is damaged, unsafe or larger.
    """
    total = 0
    with damage_reported(called):
        for name, size, read in _tar(path) if tarfile.is_tarfile(path) else _zip(path, called):
            if (total := total + size) > max_bytes:
                raise too_large(called, max_bytes)
            name = name.replace("\\", "/")
            if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:/", name):
                raise UserError(f"{called}: refused, since {name!r} leads outside of the archive: pack relative names")
            if read is None:
                raise UserError(f"{called}: {name!r} is a link or a device: pack plain files only")
            # Bytes that are not UTF-8 arrive as lone surrogates, which no text file can hold.
            name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            plain = "/".join(part for part in name.split("/") if part not in ("", "."))
            # macOS writes é as two characters, others as one: folders of both are one class.
            plain = unicodedata.normalize("NFC", plain) + ("/" if name.endswith("/") else "")
            if plain not in ("", "/"):
                yield Member(plain, size, damage_reported(called)(read))


def too_large(called: str, max_bytes: int) -> UserError:
    """Return the error of a source that unpacks to more than `max_bytes`."""
    return UserError(f"{called} unpacks to more than {max_bytes / 2**30:,.3g} GiB: raise data.max_gib if it should")


Entry = tuple[str, int, Callable[[], bytes] | None]  # name, bytes, reader; a link or a device has none


def _tar(path: Path) -> Iterator[Entry]:
    with tarfile.open(path, encoding="utf-8", tarinfo=_Header) as tar:
        for info in tar:
            tar.members = []  # type: ignore[attr-defined]  # or this list would grow with the archive
            if info.isdir():
                yield f"{info.name}/", 0, bytes
            else:
                content = tar.extractfile(info) if info.isreg() and not info.issparse() else None
                yield info.name, info.size, content.read if content else None
        assert tar.fileobj is not None
        while tar.fileobj.read(2**20):  # the checksum of compressed data stands at their end
            pass


class _Header(tarfile.TarInfo):
    """Read the header of a member; a damaged or missing one is an error, which tarfile alone takes for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):  # the end
                raise
            raise tarfile.ReadError(str(error)) from None


def _zip(path: Path, called: str) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise UserError(f"{called} is encrypted: pack it without a password")
            if info.compress_type == _DEFLATE64:
                raise UserError(f"{called} is compressed as by Explorer above 2 GB: pack it by 7-Zip, or as .tar")
            plain = info.is_dir() or stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
            yield _zip_name(info, called), info.file_size, partial(archive.read, info) if plain else None


def _zip_name(info: zipfile.ZipInfo, called: str) -> str:
    """Return a member's name. Raise `UserError` if its encoding is not known: guessed, it might merge two classes.

    Without the flag for UTF-8 the format means code page 437, and so `zipfile` reads it. Windows writes names in the
    code page of its language instead: read as 437, Japanese names hold box-drawing characters, Greek and backslashes.
    """
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    with suppress(UnicodeDecodeError):
        return info.filename.encode("cp437").decode()  # macOS writes UTF-8, and no flag
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7eÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜáíóúñÑß]+", info.filename):
        raise UserError(
            f"{called}: the file names, such as {info.filename!r}, are in an encoding that the zip does not name: pack "
            "the folder again as .tar, or by 7-Zip, which writes UTF-8"
        )
    return info.filename


@contextmanager
def damage_reported(called: str) -> Iterator[None]:
    """Raise `UserError`, which names the file as the user `called` it, for what readers of damaged files raise."""
    try:
        yield
    except _DAMAGE as error:
        # gzip and bzip2 report damage by an OSError without number, a place before the file's start is EINVAL.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise UserError(f"{called} is truncated or damaged ({str(error)[:200]}): fetch or pack it again") from None
