"""Archives are read without extracting; whatever is wrong with one is one line."""

import gzip
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
from data_samples import pack_tar, pack_zip

from src.core.errors import UserError
from src.data.archives import is_archive, members

FILES = {"a/1.bin": b"one", "a/2.bin": random.Random(0).randbytes(30_000), "ü b\n/3.bin": b""}
MODES = ["w", "w:gz", "w:xz", "w:bz2", "zip"]


def pack(path: Path, files: dict[str, bytes], mode: str) -> Path:
    return pack_zip(path, files) if mode == "zip" else pack_tar(path, files, mode)


def contents(path: Path, max_bytes: int = 2**30) -> dict[str, bytes]:
    return {member.name: member.read() for member in members(path, max_bytes, path.name)}


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_is_told_by_its_content_and_read(tmp_path: Path, mode: str) -> None:
    path = pack(tmp_path / "no-extension", FILES, mode)
    assert is_archive(path, "x")
    assert contents(path) == FILES
    assert [member.name for member in members(path, 2**30, "x")] == list(FILES), "without reading"


def test_other_files_are_not_archives(tmp_path: Path) -> None:
    for name, data in {"empty": b"", "text": b"<html>" * 200, "short": b"PK"}.items():
        (tmp_path / name).write_bytes(data)
        assert not is_archive(tmp_path / name, name)


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/passwd", "C:\\outside", "C:/outside"])
@pytest.mark.parametrize("mode", ["w", "zip"])
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str, mode: str) -> None:
    path = pack(tmp_path / "x", {name: b"x"}, mode)
    with pytest.raises(UserError, match="leads outside"):
        contents(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, "zip"])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes | str) -> None:
    if isinstance(kind, str):
        link = zipfile.ZipInfo("a/1.png")
        link.external_attr = 0o120777 << 16
        with zipfile.ZipFile(tmp_path / "x", "w") as archive:
            archive.writestr(link, "/etc/passwd")
    else:
        info = tarfile.TarInfo("a/1.png")
        info.type, info.linkname = kind, "/etc/passwd"
        with tarfile.open(tmp_path / "x", "w") as tar:
            tar.addfile(info)
    with pytest.raises(UserError, match="link or a device"):
        contents(tmp_path / "x")


@pytest.mark.parametrize(("field", "value", "message"), [(8, 1, "encrypted"), (10, 9, "compressed as by Explorer")])
def test_a_password_and_the_compression_of_large_zips_of_windows_are_named(
    tmp_path: Path, field: int, value: int, message: str
) -> None:
    data = bytearray(pack_zip(tmp_path / "x.zip", {"a": b"b"}).read_bytes())
    data[data.index(b"PK\1\2") + field] = value
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(UserError, match=message):
        contents(tmp_path / "x.zip")


@pytest.mark.parametrize("mode", MODES)
def test_what_an_archive_unpacks_to_is_bounded_in_total(tmp_path: Path, mode: str) -> None:
    path = pack(tmp_path / "x", {"a": bytes(50_000), "b": bytes(50_000)}, mode)
    with pytest.raises(UserError, match=r"^x unpacks to more than .* GiB: raise data\.max_gib if it should$"):
        contents(path, 99_999)
    assert len(contents(path, 100_000)) == 2


def test_a_bomb_is_stopped_before_it_is_unpacked(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a/bomb.bin")
    info.size = 2**40
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(info.tobuf()))
    with pytest.raises(UserError, match="unpacks to more than 1 GiB"):
        contents(tmp_path / "x.tar.gz")


@pytest.mark.parametrize("mode", MODES)
def test_a_truncated_archive_is_an_error_wherever_it_is_cut(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "x"
    complete = pack(path, FILES, mode).read_bytes()
    end = complete.rstrip(b"\0")  # of a plain tar the filling at the end may be missing but for one block
    for length in [600, 1024, 1536, len(end) // 2, len(end) - 1]:
        path.write_bytes(complete[: min(length, len(end) - 1)])
        with pytest.raises(UserError):
            contents(path)


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = pack_tar(tmp_path / "x.tar", FILES)
    data = bytearray(path.read_bytes())
    data[1024 + 3] ^= 255  # in the second member's name
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"x\.tar is truncated or damaged \(bad checksum\): fetch or pack it again"):
        contents(path)
