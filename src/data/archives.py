"""Safe reading of archives: members come as streams, nothing is ever extracted to disk.

.tar (plain or compressed by gzip, xz, bzip2) and .zip, told apart by their content. Archives are untrusted: absolute
names, `..`, links and devices are refused, and what they unpack to is bounded. Every fault of an archive is a
`UserError`.
"""

import bz2
import errno
import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from src.core.errors import UserError

MIB = 2**20
# xz -9 needs 65 MiB to unpack; without a bound a header of 20 bytes may demand 4 GiB.
XZ_MEMORY = 256 * MIB
# zipfile unpacks these piece by piece; bzip2, LZMA and Zstandard it unpacks whole, whatever the directory says.
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What a zip's directory may have; zipfile reads it whole. That of ImageNet's 1.3 million files has below 200 MiB.
DIRECTORY_BYTES = 256 * MIB
# Names and attributes of one tar member. Real ones take below 10 KiB; the reader holds them in memory.
HEADER_BYTES = MIB


class Limits(NamedTuple):
    """Bounds on what one archive may unpack to."""

    members: int = 2_000_000  # ImageNet has 1.4 million; names and digests of so many take about 0.5 GB of memory
    member_bytes: int = 256 * MIB  # read whole; the largest that occurs is CIFAR-100's `train`, 148 MiB
    unpacked_bytes: int = 256 * 2**30  # ImageNet has 150 GB
    ratio: int = 200  # beyond the first GiB: images compress 1 to 10 times, bombs 1,000 times


LIMITS = Limits()


class Member(NamedTuple):
    name: str  # with `/`, without a leading `./`
    size: int  # bytes, as the archive says
    read: Callable[[], bytes]  # whole; only before the next member is asked for


def is_archive(path: Path, called: str | None = None) -> bool:
    """Whether the file's content is that of an archive we read. A `UserError` names it as it is `called`."""
    with path.open("rb") as file:
        if file.read(4) in (b"PK\3\4", b"PK\5\6"):
            return True
    with _faults(called or str(path)), _unpacked(path) as stream:
        return _is_tar_header(stream.read(tarfile.BLOCKSIZE))


def members(path: Path, called: str | None = None, limits: Limits = LIMITS) -> Iterator[Member]:
    """Every regular file of the archive, in its order. Raises `UserError` where it is damaged, unsafe or too large.

    The `UserError` names the archive as it is `called`: where the user has it, if `path` is a temporary copy.
    """
    called = called or str(path)
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    size = path.stat().st_size
    limits = limits._replace(unpacked_bytes=min(limits.unpacked_bytes, 1024 * MIB + limits.ratio * size))
    with _faults(called):
        for count, member in enumerate((_zip if is_zip else _tar)(path, called, limits)):
            if count >= limits.members:
                raise UserError(f"{called} holds more than {limits.members:,} files")
            yield member


def gunzip(data: bytes, name: str, limit: int = LIMITS.member_bytes) -> bytes:
    """The content of one gzip file in memory. Raises `UserError` if it is damaged or longer than `limit` bytes."""
    decoder = zlib.decompressobj(wbits=31)
    try:
        content = decoder.decompress(data, limit + 1)
    except zlib.error as error:
        raise UserError(f"{name} is damaged: {error}") from None
    if len(content) > limit:
        raise UserError(f"{name} unpacks to more than {limit / MIB:,.0f} MiB")
    if not decoder.eof:
        raise UserError(f"{name} is truncated: fetch it again")
    return content


def _tar(path: Path, called: str, limits: Limits) -> Iterator[Member]:
    with _unpacked(path) as stream:
        reader = _Bounded(stream, called, min(limits.unpacked_bytes, HEADER_BYTES))
        # r|: forward only, so that a compressed archive is unpacked once. Opening reads the first header.
        with tarfile.open(fileobj=cast(IO[bytes], reader), mode="r|", encoding="utf-8") as tar:
            while True:
                reader.ceiling = min(limits.unpacked_bytes, tar.offset + HEADER_BYTES)
                info = tar.next()
                reader.ceiling = limits.unpacked_bytes
                if info is None:
                    break
                tar.members = []  # type: ignore[attr-defined]  # or its list of members grows with the archive
                name = _safe_name(called, info.name)
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    raise UserError(f"{called}: {info.name!r} is a link or a device: pack plain files only")
                content = cast(IO[bytes], tar.extractfile(info))
                yield Member(name, info.size, _reading(called, name, info.size, content.read, limits))
            # tarfile takes a damaged header for the end; a whole archive ends with zeros.
            end = reader.last[tar.offset - reader.start :][: tarfile.BLOCKSIZE]
            if end != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("a header is damaged or missing")
        while reader.read(MIB):  # the checksum stands at the end
            pass


def _zip(path: Path, called: str, limits: Limits) -> Iterator[Member]:
    with _Listed(path, called, limits.members) as file, zipfile.ZipFile(file) as archive:
        file.listed = True
        if sum(info.file_size for info in archive.infolist()) > limits.unpacked_bytes:
            raise _too_large(called, limits.unpacked_bytes)
        for info in archive.infolist():
            name = _safe_name(called, info.filename.replace("\\", "/"))
            if info.is_dir():
                continue
            mode = info.external_attr >> 16
            if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
                raise UserError(f"{called}: {name!r} is a link or a device: pack plain files only")
            if info.flag_bits & 1:
                raise UserError(f"{called} is encrypted: pack it without a password")
            if info.compress_type not in _ZIP_METHODS:
                raise UserError(
                    f"{called} is compressed by a method that is not read: pack it by the usual one, deflate"
                )
            with archive.open(info) as content:
                yield Member(name, info.file_size, _reading(called, name, info.file_size, content.read, limits))


def _reading(called: str, name: str, size: int, read: Callable[[int], bytes], limits: Limits) -> Callable[[], bytes]:
    def whole() -> bytes:
        if size > limits.member_bytes:
            raise UserError(f"{called}: {name!r} has more than {limits.member_bytes / MIB:,.0f} MiB")
        with _faults(called):
            data = read(size)
            if len(data) < size or read(1):
                raise EOFError(f"{name} has not the length that the archive says")
            return data

    return whole


class _Listed(io.BufferedReader):
    """A zip as zipfile reads it, which refuses to give out a directory of too many bytes or entries.

    zipfile holds 0.5 KiB for each entry before any can be counted, and how many there are only the archive says. So
    what zipfile itself reads, wherever and however often it looks for its directory, is counted here.
    """

    _ENTRY = b"PK\1\2"  # begins each; a name may hold it too, but not by the million

    def __init__(self, path: Path, called: str, most: int) -> None:
        super().__init__(io.FileIO(path))
        self.called, self.most, self.listed = called, most, False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.listed:
            return super().read(size)
        if size is not None and size > DIRECTORY_BYTES:
            raise UserError(
                f"{self.called} has a directory of more than {DIRECTORY_BYTES / MIB:,.0f} MiB: pack it as .tar"
            )
        data = super().read(size)
        if data.count(self._ENTRY) > self.most:
            raise UserError(f"{self.called} holds more than {self.most:,} files")
        return data


class _Bounded:
    """A stream that refuses to give more than `ceiling` bytes in all; knows the last piece and where it started."""

    def __init__(self, stream: IO[bytes], called: str, ceiling: int) -> None:
        self.stream, self.called, self.ceiling = stream, called, ceiling
        self.start, self.last = 0, b""

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        if data:
            self.start += len(self.last)
            self.last = data
        if self.start + len(self.last) > self.ceiling:
            raise _too_large(self.called, self.ceiling)
        return data


class _Xz(io.RawIOBase):
    """Unpacks xz with bounded memory, which `lzma.open` does not offer. Several streams may follow each other."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.rest = b""
        self.decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        while True:
            if self.decoder.eof:
                rest = self.decoder.unused_data.lstrip(b"\0")
                while not rest:
                    if not (piece := self.file.read(MIB)):
                        return 0
                    rest = piece.lstrip(b"\0")
                self.rest = rest
                self.decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
            data, self.rest = self.rest, b""
            if self.decoder.needs_input and not data and not (data := self.file.read(MIB)):
                raise EOFError("the compressed data ends early")
            out = self.decoder.decompress(data, len(view))
            if out:
                view[: len(out)] = out
                return len(out)


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        head = file.read(6)
        file.seek(0)
        if head.startswith(b"\x1f\x8b"):
            yield cast(IO[bytes], gzip.GzipFile(fileobj=file))
        elif head == b"\xfd7zXZ\0":
            yield cast(IO[bytes], io.BufferedReader(_Xz(file), MIB))
        elif head.startswith(b"BZh"):
            yield cast(IO[bytes], bz2.BZ2File(file))
        else:
            yield file


def _is_tar_header(block: bytes) -> bool:
    if block == bytes(tarfile.BLOCKSIZE):
        return True  # an empty archive
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _safe_name(called: str, name: str) -> str:
    if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:[/\\]", name):
        raise UserError(f"{called}: refused, since the name {name!r} leads outside of the archive")
    # Bytes that are not UTF-8 arrive as lone surrogates, which no text file can hold.
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _too_large(called: str, limit: int) -> UserError:
    return UserError(f"{called} unpacks to more than {limit / MIB:,.0f} MiB: refused as a likely archive bomb")


@contextmanager
def _faults(called: str) -> Iterator[None]:
    try:
        yield
    except (
        EOFError,
        IndexError,
        MemoryError,
        NotImplementedError,
        OverflowError,
        RuntimeError,
        ValueError,
        struct.error,
        lzma.LZMAError,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise _damaged(called, error) from None
    except OSError as error:
        # gzip and bz2 report damage by one without a number; places before the file's start are refused by the system.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged(called, error) from None


def _damaged(called: str, error: Exception) -> UserError:
    return UserError(f"{called} is truncated or damaged ({str(error)[:200]}): fetch or pack it again")
