"""DVC's cache: what a stage puts there, and what a power failure damaged of it."""

import errno
import hashlib
import json
import os
import re
from pathlib import Path

import clones
import mounts
import pytest

from src import durable, dvc_cache, recover
from src.faults import told
from src.paths import LOCK, dvc_objects, dvc_runs, synced


@pytest.fixture(autouse=True)
def _clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(durable, "_boot", lambda: "this")
    synced().parent.mkdir()


def kept(content: bytes, suffix: str = "") -> Path:
    """An object of DVC's cache."""
    name = hashlib.md5(content).hexdigest()
    path = dvc_objects() / name[:2] / f"{name[2:]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found() -> int:
    """How many objects are damaged; then a sync."""
    damaged = dvc_cache.damaged()
    durable.mark()
    return len(damaged)


def marked(boot: str, moment: int = 0) -> None:
    synced().write_text(f"{boot} {moment}")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_a_stage_keeps_dvc_does_not_write_again(tmp_path: Path, elsewhere: bool) -> None:
    clones.call(tmp_path, "dvc", "init", "--no-scm", "--quiet")
    cache = tmp_path / ".dvc/cache"
    if elsewhere:
        cache = tmp_path / "a cache"
        clones.call(tmp_path, "dvc", "cache", "dir", "--local", "a cache")
    contents = {"file": "1", "empty": "", "folder/a": "2", "folder/in/b": "3", "folder/in/c": "2"}
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    dvc_cache.keep(map(Path, ("file", "empty", "folder", "missing")))

    def stored() -> dict[Path, tuple[int, int, int]]:
        files = [path for path in cache.glob("files/md5/*/*") if path.is_file()]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_mode & 0o777) for path in files}

    before = stored()
    assert [mode for *_, mode in before.values()] == [0o444] * 5, "as many as there are contents, and a listing"
    clones.call(tmp_path, "dvc", "add", "file", "empty", "folder")
    assert stored() == before
    for name in contents:
        (tmp_path / name).unlink()
    clones.call(tmp_path, "dvc", "checkout")
    assert {name: (tmp_path / name).read_text() for name in contents} == contents


def test_what_a_kill_left_in_the_cache_is_not_taken_for_what_it_is_named_by() -> None:
    left = kept(b"content")
    os.truncate(left, 0)
    Path("file").write_bytes(b"content")
    dvc_cache.keep([Path("file")])
    assert left.read_bytes() == b"content"
    assert left.stat().st_mode & 0o777 == 0o444


def test_where_dvc_links_nothing_is_copied() -> None:
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[cache]\n    type = hardlink\n")
    Path("folder").mkdir()
    Path("folder/file").write_text("content")
    dvc_cache.keep([Path("folder")])
    assert (dvc_objects() / "9a/0364b9e99bb480dd25e1f0284c8555").samefile("folder/file")


def test_what_is_kept_is_there_after_a_power_failure(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    with mounts.disk(place) as disk:
        os.chdir(place)
        Path("folder").mkdir()
        for path in (Path("file"), Path("folder/a")):
            path.write_text(f"the content of {path}")
        dvc_cache.keep([Path("file"), Path("folder")])
        os.chdir(tmp_path)
        disk.fail()
        disk.restart()
        objects = list((place / ".dvc/cache/files/md5").glob("*/*"))
        assert len(objects) == 3
        for path in objects:
            name = path.parent.name + path.name.removesuffix(".dir")
            assert hashlib.md5(path.read_bytes()).hexdigest() == name


def test_a_cache_without_space_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / ".dvc/cache"
    cache.mkdir(parents=True)
    Path("file").write_bytes(os.urandom(2**20))
    with mounts.small_disk(cache, "512k"), pytest.raises(SystemExit) as ended, told():
        dvc_cache.keep([Path("file")])
    assert ended.value.code == 2
    told_line = capsys.readouterr().err
    assert re.fullmatch(rf"error: {cache}/.*: the disk is full: free some space and start again\n", told_line)


def test_damaged_objects_younger_than_the_mark_go_after_a_start_of_the_machine() -> None:
    old = kept(b"old")
    os.truncate(old, 0)
    moment = old.stat().st_ctime_ns + 1
    whole, listing, damaged, cut_listing = kept(b"whole"), kept(b"[]", ".dir"), kept(b"damaged"), kept(b"[{}]", ".dir")
    for path in (damaged, cut_listing):
        os.truncate(path, 2)
    copied = damaged.with_name("tmp")
    copied.write_bytes(b"what DVC is copying")
    for path in (whole, listing, damaged, cut_listing):
        while path.stat().st_ctime_ns < moment:
            path.touch()
    marked("this")
    assert found() == 0, "this machine has not lost power"
    marked("earlier", moment)
    assert set(dvc_cache.damaged()) == {damaged, cut_listing}


def test_with_damaged_objects_what_may_name_them_goes_too() -> None:
    entries = [dvc_runs() / "ab" / "abcd" / name for name in ("old", "young")]
    for path in entries:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("outs")
    moment = entries[0].stat().st_ctime_ns + 1
    while entries[1].stat().st_ctime_ns < moment:
        entries[1].touch()
    empty = kept(b"content")
    os.truncate(empty, 0)
    marked("earlier", moment)
    dvc_cache.remove([empty])
    assert [path.exists() for path in (*entries, empty)] == [True, False, False]


@pytest.mark.parametrize("named", ["itself", "in a folder", "in a lost folder", ""])
def test_recover_removes_and_tells(capsys: pytest.CaptureFixture[str], named: str) -> None:
    committed = "schema: '2.0'\n"
    LOCK.write_text(committed, encoding="utf-8")
    clones.committed(Path.cwd())
    empty = kept(b"content")
    name = empty.parent.name + empty.name
    folder = kept(json.dumps([{"md5": name, "relpath": "file"}]).encode(), ".dir")
    recorded = {"itself": name, "": "1a" * 16}.get(named, folder.parent.name + folder.name)
    LOCK.write_text(f"{committed}stages: {{a: {{cmd: a, outs: [{{path: a, md5: {recorded}}}]}}}}\n", encoding="utf-8")
    newer = LOCK.read_text(encoding="utf-8")
    os.truncate(empty, 0)
    if named == "in a lost folder":
        os.truncate(folder, 0)
    (dvc_runs() / "ab" / "abcd").mkdir(parents=True)
    recover.main()
    told = capsys.readouterr().out
    assert f"by a power failure: {2 if named == 'in a lost folder' else 1} file" in told
    assert ("names damaged files: the committed one is back" in told) == bool(named)
    assert LOCK.read_text(encoding="utf-8") == (committed if named else newer)
    assert not empty.exists()
    assert not any((dvc_runs() / "ab").iterdir()), "DVC fails at an empty folder of runs"
    recover.main()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("mark", [None, "", "one", "two words", "earlier 0", "earlier 99999999999999999999"])
def test_without_a_whole_mark_everything_is_looked_at(mark: str | None) -> None:
    if mark is not None:
        synced().write_text(mark)
    os.truncate(kept(b"content"), 3)
    assert found() == 1


def test_what_cannot_be_read_is_left_to_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    kept(b"content")
    monkeypatch.setattr(dvc_cache, "digest", refuses)
    assert found() == 0


def test_reading_much_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kept(b"content")
    dvc_cache.damaged()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(dvc_cache, "_LARGE", 6)
    dvc_cache.damaged()
    assert "0.0 GiB" in capsys.readouterr().out
