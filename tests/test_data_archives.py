"""Archives are read without extracting; whatever is wrong with one is one line."""

import contextlib
import gzip
import io
import lzma
import random
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from data_samples import pack_tar, pack_zip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.core.errors import UserError
from src.data import archives
from src.data.archives import Limits, gunzip, is_archive, members

FILES = {"a/1.bin": b"one", "a/2.bin": random.Random(0).randbytes(30_000), "ü b\n/3.bin": b""}


def contents(path: Path, limits: Limits | None = None) -> dict[str, bytes]:
    found = members(path, limits=limits) if limits else members(path)
    return {member.name: member.read() for member in found}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2", "zip"])
def test_every_kind_is_told_by_its_content_and_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "no-extension"
    if mode == "zip":
        pack_zip(path, FILES)
    else:
        pack_tar(path, FILES, mode)
    assert is_archive(path)
    assert contents(path) == FILES


def test_members_may_be_skipped_without_reading(tmp_path: Path) -> None:
    path = pack_tar(tmp_path / "x.tar.gz", FILES, "w:gz")
    assert [member.name for member in members(path)] == list(FILES)


def test_other_files_are_not_archives(tmp_path: Path) -> None:
    for name, data in {"empty": b"", "text": b"<html>" * 200, "short": b"PK"}.items():
        (tmp_path / name).write_bytes(data)
        assert not is_archive(tmp_path / name)


def test_xz_of_several_streams_is_read(tmp_path: Path) -> None:
    plain = pack_tar(tmp_path / "x.tar", FILES).read_bytes()
    path = tmp_path / "x.tar.xz"
    path.write_bytes(lzma.compress(plain[:1000]) + lzma.compress(plain[1000:]) + bytes(8))
    assert contents(path) == FILES


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/passwd", "C:\\outside", "C:/outside"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "x"
    (pack_tar if kind == "tar" else pack_zip)(path, {name: b"x"})
    with pytest.raises(UserError, match="leads outside"):
        contents(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("a/1.png")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UserError, match="link or a device"):
        contents(tmp_path / "x.tar")


def test_links_and_passwords_in_zip_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="link or a device"):
        contents(tmp_path / "x.zip")
    data = bytearray(pack_zip(tmp_path / "y.zip", {"a": b"b"}).read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # the flag for encryption
    (tmp_path / "y.zip").write_bytes(data)
    with pytest.raises(UserError, match="encrypted"):
        contents(tmp_path / "y.zip")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_bounds_hold(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    (pack_tar if kind == "tar" else pack_zip)(path, {"a": bytes(50_000), "b": bytes(50_000)})
    with pytest.raises(UserError, match="more than 1 files"):
        contents(path, Limits(members=1))
    with pytest.raises(UserError, match="'a' has more than"):
        contents(path, Limits(member_bytes=49_999))
    with pytest.raises(UserError, match="bomb"):
        contents(path, Limits(unpacked_bytes=90_000))
    assert len(contents(path, Limits(members=2, member_bytes=50_000))) == 2


def test_a_bomb_is_stopped_early_although_its_member_is_skipped(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a/bomb.bin")
    info.size = 2**31
    with gzip.open(tmp_path / "x.tar.gz", "wb") as file:
        file.write(info.tobuf())
        for _ in range(80):
            file.write(bytes(2**20))
    with pytest.raises(UserError, match="bomb"):
        sum(1 for _ in members(tmp_path / "x.tar.gz", limits=Limits(unpacked_bytes=2**26)))


def test_a_header_that_demands_memory_is_refused(tmp_path: Path) -> None:
    """A long name (type L) is held in memory; here it claims 1 GiB, which gzip gives in 1 MB."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = b"L", 2**30
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        assert tar.fileobj is not None
        tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(20 * 2**20))
    with pytest.raises(UserError, match="bomb"):
        contents(tmp_path / "x.tar.gz")


def test_xz_that_demands_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**29}]
    plain = pack_tar(tmp_path / "x.tar", FILES).read_bytes()
    encoder = lzma.LZMACompressor(filters=filters)
    data = bytearray(encoder.compress(plain) + encoder.flush())
    (tmp_path / "x.tar.xz").write_bytes(data)
    with pytest.raises(UserError, match=r"[Mm]emory"):
        contents(tmp_path / "x.tar.xz")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2", "zip"])
def test_a_truncated_archive_is_a_fault_wherever_it_is_cut(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "whole"
    whole = (pack_zip(path, FILES) if mode == "zip" else pack_tar(path, FILES, mode)).read_bytes()
    end = whole.rstrip(b"\0")  # of a plain tar the filling at the end may be missing but for one block
    for length in [600, 1024, 1536, len(end) // 2, len(end) - 1]:
        path.write_bytes(whole[: min(length, len(end) - 1)])
        with pytest.raises(UserError):
            contents(path)


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = pack_tar(tmp_path / "x.tar", FILES)
    data = bytearray(path.read_bytes())
    data[1024 + 3] ^= 255  # in the second member's name
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        contents(path)


def test_gunzip_is_bounded_and_checked() -> None:
    data = gzip.compress(bytes(1000))
    assert gunzip(data, "x") == bytes(1000)
    with pytest.raises(UserError, match="more than"):
        gunzip(data, "x", limit=999)
    with pytest.raises(UserError, match="truncated"):
        gunzip(data[:-1], "x")
    with pytest.raises(UserError, match="damaged"):
        gunzip(b"nonsense", "x")


def _samples() -> list[bytes]:
    samples = []
    for mode in ("w", "w:gz", "w:xz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as tar:
            for name, data in FILES.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        samples.append(buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    return [*samples, buffer.getvalue()]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_that_are_unpacked_whole_are_refused(tmp_path: Path, method: int) -> None:
    """zipfile asks these for all that a piece unpacks to, gigabytes of 100 KiB, before the length it knows counts."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        archive.writestr("a/1.png", bytes(1000))
    with pytest.raises(UserError, match="pack it by the usual one, deflate"):
        contents(tmp_path / "x.zip")


@pytest.mark.parametrize(("place", "value"), [(16, 2**31), (28, 0)])
def test_a_zip_whose_directory_lies_is_a_fault(tmp_path: Path, place: int, value: int) -> None:
    """A directory that would begin before the file; an entry without a name."""
    path = pack_zip(tmp_path / "x.zip", {"a/1.png": b"x"})
    data = bytearray(path.read_bytes())
    mark = b"PK\5\6" if place == 16 else b"PK\1\2"
    at = data.index(mark) + (12 if place == 16 else place)  # the directory's size, the name's length
    data[at : at + 4 if place == 16 else at + 2] = value.to_bytes(4 if place == 16 else 2, "little")
    path.write_bytes(data)
    with pytest.raises(UserError):
        contents(path)


def test_a_message_about_damage_is_short(tmp_path: Path) -> None:
    path = pack_zip(tmp_path / "x.zip", {"a/1.png": random.Random(0).randbytes(9000)})
    data = bytearray(path.read_bytes())
    data[26:28] = (5000).to_bytes(2, "little")  # the name's length in the local header; the message would hold it all
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        contents(path)
    assert len(str(caught.value)) < 400


@given(st.sampled_from(_samples()), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255))))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_archives_are_read_or_refused(tmp_path: Path, sample: bytes, changes: list[tuple[float, int]]) -> None:
    data = bytearray(sample)
    for place, value in changes:
        data[int(place * len(data))] = value
    path = tmp_path / "mutated"
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        if is_archive(path):
            contents(path)


def directory(path: Path, entries: int, name: int, *, zip64: bool) -> None:
    """A zip of hardly more than its directory, whose end says that it has a single entry."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, *[0] * 8, name, *[0] * 6) + b"x" * name
    size, start = len(entry) * entries, 30
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, *([2**32 - 1] * 2 if zip64 else [size, start]), 0)
    if zip64:
        where = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, start)
        end = where + struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1) + end
    path.write_bytes(b"PK\3\4" + bytes(26) + entry * entries + end)


@pytest.mark.parametrize("zip64", [False, True])
def test_a_zips_directory_is_bounded_before_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zip64: bool
) -> None:
    path = tmp_path / "x.zip"
    directory(path, 100_000, 7, zip64=zip64)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"x\.zip holds more than 1,000 files$"):
            contents(path, Limits(members=1000))
        assert tracemalloc.get_traced_memory()[1] < 2 * path.stat().st_size, "listed, they take ten times as much"
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(archives, "DIRECTORY_BYTES", 5_000_000)
    with pytest.raises(UserError, match=r"x\.zip has a directory of more than 5 MiB: pack it as \.tar$"):
        contents(path)


def test_a_zip_of_zips_is_not_counted_by_what_they_hold(tmp_path: Path) -> None:
    inner = {f"{number}.bin": b"" for number in range(50)}
    packed = pack_zip(tmp_path / "inner.zip", inner).read_bytes()
    outer = {"a.zip": packed, "b.zip": packed}
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        for name, content in outer.items():
            archive.writestr(name, content)
    assert contents(tmp_path / "outer.zip", Limits(members=2)) == outer
