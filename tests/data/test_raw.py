"""`download` and `split` end to end: bad sources, and where a source comes from."""

import os
import tarfile
from pathlib import Path

import pytest
from clones import call, committed, copy_of_the_repository, git, set_params
from data_samples import (
    check_promises,
    class_folders,
    data_params,
    digests,
    pack_tar,
    png,
    run_stages,
    split_params,
    write_files,
)

import src.data.raw
from src.core.errors import UserError
from src.core.files import digest as file_digest
from src.core.paths import IMAGES, RAW
from src.data.archives import members
from src.data.prepare import prepare

pytestmark = pytest.mark.usefixtures("root")

TWO = {"cat": 10, "dog": 10}


def test_an_error_keeps_the_last_good_outputs() -> None:
    run_stages(pack_tar(Path("x.tar"), class_folders(TWO)))
    before = digests()
    with pytest.raises(UserError):
        run_stages("missing.tar")
    with pytest.raises(UserError):
        prepare(data_params(limit=1), split_params())
    assert digests() == before


def test_bad_sources_are_found_by_download() -> None:
    archive = pack_tar(Path("x.tar.gz"), class_folders(TWO), "w:gz").read_bytes()
    Path("cut.tar.gz").write_bytes(archive[:-100])
    pack_tar(Path("outside.tar"), {"../x.png": png(0)})
    for source, message in {
        "cut.tar.gz": "data.source cut.tar.gz is truncated or damaged",
        "outside.tar": "data.source outside.tar: .* leads outside",
    }.items():
        with pytest.raises(UserError, match=message):
            run_stages(source)
        assert not RAW.exists()
        assert not list(RAW.parent.glob(".*"))


def test_a_folder_is_packed_the_same_whatever_its_times_and_order(capsys: pytest.CaptureFixture[str]) -> None:
    files = class_folders(TWO)
    run_stages(write_files(Path("one"), files))
    digest = file_digest(RAW / "images.tar", "sha256")
    assert f"has sha256 {digest}; without data.sha256 later changes of it go unnoticed" in capsys.readouterr().out
    other = write_files(Path("two"), dict(reversed(files.items())) | {".hidden": b"x"})
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    run_stages(other, sha256=digest)
    assert "unnoticed" not in capsys.readouterr().out
    with tarfile.open(RAW / "images.tar") as tar:
        assert {(member.mtime, member.uid, member.mode) for member in tar} == {(0, 0, 0o644)}


def test_a_new_photo_changes_one_of_the_archives_that_a_large_folder_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.data.raw._PACK_BYTES", 2000)
    files = class_folders(TWO)
    folder = write_files(Path("photos"), files)
    check_promises(run_stages(folder))
    before = {path.name: path.read_bytes() for path in RAW.iterdir()}
    assert len(before) == 4
    write_files(folder, {"cat/new.png": b"another photo"})
    src.data.raw.fetch_raw("image_folder", str(folder), None, 1.0)
    after = {path.name: path.read_bytes() for path in RAW.iterdir()}
    assert after.keys() == before.keys()
    assert sum(content != before[name] for name, content in after.items()) == 1
    packed = [member.name for path in RAW.iterdir() for member in members(path, 2**20, path.name)]
    assert sorted(packed) == sorted([*files, "cat/new.png"])
    with pytest.raises(UserError, match=r"photos unpacks to more than .* GiB: raise data.max_gib"):
        src.data.raw.fetch_raw("image_folder", str(folder), None, 1e-6)


def test_photos_are_taken_from_data_images(capsys: pytest.CaptureFixture[str]) -> None:
    write_files(IMAGES, {".gitkeep": b""})
    with pytest.raises(UserError, match=r"data/images holds no photos: .*docs/machines\.md says how they .* --queue"):
        run_stages(None)
    write_files(IMAGES, class_folders(TWO) | class_folders({".NET": 5}))
    check_promises(run_stages(None))
    with pytest.raises(UserError, match=r"data\.source must be empty for data/images"):
        run_stages("data/images")
    assert "data/images/.NET is hidden and left out" in capsys.readouterr().out


def test_no_network_names_the_place_for_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(urls: list[str], path: Path, checksum: object, max_bytes: int, remedy: str) -> None:
        raise UserError(f"{path.name}: {remedy}")

    monkeypatch.setattr(src.data.raw, "fetch", unreachable)
    with pytest.raises(
        UserError, match=r"put the file by hand at \.cache/downloads/cifar10/cifar-10-python.tar.gz, or set"
    ):
        run_stages(None, "cifar10")


@pytest.mark.slow
def test_photos_that_dvc_tracks_need_no_work_on_another_machine(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's route for one's own images, with real git and DVC, up to the prepared arrays."""
    monkeypatch.setenv("HOME", str(root))
    here, there = copy_of_the_repository(root / "here"), root / "there"
    set_params(here, {"data.name": "image_folder"})
    committed(here)
    write_files(here / IMAGES, class_folders(TWO))
    call(here, "dvc", "remote", "add", "-q", "--default", "storage", str(root / "storage"))

    git(here, "rm", "-q", f"{IMAGES}/.gitkeep")
    call(here, "dvc", "add", "-q", str(IMAGES))
    call(here, "dvc", "repro", "-q", "split")
    git(here, "add", "-A")
    git(here, "commit", "-qm", "photos")
    call(here, "dvc", "push", "-q", "split", "download", f"{IMAGES}.dvc")

    git(root, "clone", "-q", str(here), str(there))
    call(there, "dvc", "pull", "-q", "split", "download", f"{IMAGES}.dvc")
    assert "Running stage" not in call(there, "dvc", "repro", "split")
    assert git(there, "status", "--porcelain") == ""
    write_files(there / IMAGES, class_folders({"cat": 2}, start=900))  # two photos change
    assert "Running stage 'download'" in call(there, "dvc", "repro", "split")
