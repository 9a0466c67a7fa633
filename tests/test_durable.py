"""What survives a power failure, on a disk whose power really fails, and the mark of up to when all does."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import mounts
import pytest

from src import durable
from src.atomic import write_text
from src.paths import synced


@pytest.fixture(autouse=True)
def _clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(durable, "_boot", lambda: "this")
    synced().parent.mkdir()


def test_what_is_replaced_or_synced_is_there_after_a_power_failure(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    with mounts.disk(place) as disk:
        for number in range(3):
            write_text(place / "replaced", f"{number} " * 10_000)
        (place / "written").write_text("written")
        os.chdir(place)
        durable.sync()
        (place / "later").write_text("later")
        os.chdir(tmp_path)
        disk.fail()
        disk.restart()
        assert (place / "replaced").read_text() == "2 " * 10_000
        assert (place / "written").read_text() == "written"
        assert not (place / "later").exists() or not (place / "later").read_text(), "else no power failed"


def test_a_file_is_replaced_for_good_without_another_sync(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    with mounts.disk(place) as disk:
        write_text(place / "name", "new")
        disk.fail()
        disk.restart()
        assert (place / "name").read_text() == "new"


def test_what_killed_processes_left_beside_a_file_goes_when_it_is_written_again(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = f".a[1].{dead.pid}.tmp", f".a[1].{os.getppid()}.tmp", ".a[1].b.tmp", f".a1.{dead.pid}.tmp"
    left = [tmp_path / name for name in names]
    for path in left:
        path.touch()
    write_text(tmp_path / "a[1]", "new")
    assert [path.exists() for path in left] == [False, True, True, True]


def test_the_mark_is_of_this_start_and_of_before_the_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    before, during = Path("before"), Path("during")
    before.touch()
    time.sleep(0.02)
    monkeypatch.setattr(durable, "_sync", during.touch)
    durable.mark()
    assert not durable.restarted()
    assert before.stat().st_ctime_ns < durable.marked() <= during.stat().st_ctime_ns


def test_a_sync_that_fails_leaves_no_mark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durable, "_sync", fails)
    durable.mark()
    assert not synced().exists()
    assert "Input/output error" in capsys.readouterr().err


def test_a_start_of_the_machine_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if sys.platform == "linux":
        assert durable._boot() == durable._boot() != ""
    else:
        assert durable._boot() != durable._boot()
