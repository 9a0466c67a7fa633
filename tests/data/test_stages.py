"""`download` and `split` end to end on small sources, good and bad, and on the real archives where they lie."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mounts
import numpy as np
import pytest
from clones import ROOT, call, committed, git
from data_samples import (
    REAL,
    class_folders,
    data_params,
    encoded,
    mnist_files,
    pack_tar,
    pack_zip,
    picture,
    png,
    run_stages,
    split_params,
    write_files,
)
from PIL import Image

import src.data.raw
from src.core.errors import UserError
from src.core.files import digest as file_digest
from src.core.paths import IMAGES, PREPARED, RAW
from src.data.archives import members
from src.data.layout import read_layout
from src.data.prepare import prepare
from src.data.prepared import SPLITS, Dataset, open_split, read_dataset
from src.data.sources import SOURCES
from src.params.writing import changed, recipe

TWO = {"cat": 10, "dog": 10}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository: every path is relative to the current folder."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_promises(dataset: Dataset) -> None:
    """What is promised of every prepared data set."""
    assert read_dataset() == dataset
    assert not list(PREPARED.glob(".*"))
    everything: list[str] = []
    for name in SPLITS:
        images, labels = open_split(name)
        record = dataset.splits[name]
        shape = (record.count, dataset.image.height, dataset.image.width, dataset.image.channels)
        assert images.shape == shape
        assert images.dtype == np.uint8
        assert labels.shape == (record.count,)
        assert labels.dtype == np.int64
        assert record.images_md5 == file_digest(PREPARED / f"{name}.images.npy")
        assert record.labels_md5 == file_digest(PREPARED / f"{name}.labels.npy")
        counts = np.bincount(labels, minlength=len(dataset.classes)).tolist()
        assert record.per_class == dict(zip(dataset.classes, counts, strict=True))
        everything += record.names
    assert len(set(everything)) == len(everything)
    train = open_split("train").images / 255
    assert np.allclose(train.mean((0, 1, 2)), dataset.mean)
    assert np.allclose(train.std((0, 1, 2)), dataset.std)


def digests() -> dict[str, str]:
    return {str(path): file_digest(path) for folder in (RAW, PREPARED) for path in sorted(folder.iterdir())}


def test_digits_are_complete_and_the_same_again() -> None:
    dataset = run_stages(None, "digits")
    check_promises(dataset)
    assert [dataset.splits[name].count for name in SPLITS] == [1079, 359, 359]
    assert dataset.splits["train"].names[0].startswith("digits/0")
    first = digests()
    run_stages(None, "digits")
    assert digests() == first


def test_digits_pixels_are_scaled_to_bytes() -> None:
    from sklearn.datasets import load_digits

    dataset = run_stages(None, "digits")
    reference = load_digits()
    images, labels = open_split("test")
    numbers = [int(name.split("/")[1]) for name in dataset.splits["test"].names]
    assert (images[..., 0] == np.round(reference.images[numbers] * 255 / 16)).all()
    assert (labels == reference.target[numbers]).all()


def test_mnist_files_keep_their_test_set() -> None:
    source = pack_tar(Path("mnist.tar.gz"), mnist_files(200, 50), "w:gz")
    dataset = run_stages(source, "mnist")
    check_promises(dataset)
    assert [dataset.splits[name].count for name in SPLITS] == [160, 40, 50]
    assert dataset.splits["test"].names == [f"test/{number:05d}" for number in range(50)]
    assert dataset.classes == list("0123456789")
    folder = write_files(Path("folder"), mnist_files(200, 50, compress=False))
    again = run_stages(folder, "mnist")
    assert again == dataset


def test_the_first_test_images_become_validation(capsys: pytest.CaptureFixture[str]) -> None:
    source = pack_tar(Path("mnist.tar"), mnist_files(100, 50))
    dataset = run_stages(source, "mnist", validation=0.0, validation_from_test=20)
    assert [dataset.splits[name].count for name in SPLITS] == [100, 20, 30]
    assert dataset.splits["validation"].names == [f"test/{number:05d}" for number in range(20)]
    with pytest.raises(UserError, match="only 50 test images"):
        run_stages(source, "mnist", validation=0.0, validation_from_test=50)
    with pytest.raises(UserError, match="no test images of its own"):
        run_stages(None, "digits", validation=0.0, validation_from_test=50)


def test_own_files_can_be_enlarged() -> None:
    dataset = run_stages(pack_tar(Path("x.tar"), mnist_files(100, 50)), "mnist", image_size=32)
    check_promises(dataset)
    assert (dataset.image.height, dataset.image.width, dataset.image.channels) == (32, 32, 1)


@pytest.mark.parametrize("top", ["", "photos/", "a/b/"])
@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_class_folders(top: str, kind: str) -> None:
    files = class_folders({"dog": 10, "cat": 10, "10": 10, "9": 10}, top)
    files |= {f"{top}README.txt": b"x", f"{top}cat/.DS_Store": b"x", f"__MACOSX/{top}cat/._1.png": b"x"}
    if kind == "folder":
        source = write_files(Path("source"), files)
    else:
        source = pack_tar(Path("source.tar"), files) if kind == "tar" else pack_zip(Path("source.zip"), files)
    dataset = run_stages(source)
    check_promises(dataset)
    assert dataset.classes == ["9", "10", "cat", "dog"]
    assert [dataset.splits[name].count for name in SPLITS] == [24, 8, 8]
    images, labels = open_split("train")
    for image, label, name in zip(images, labels, dataset.splits["train"].names, strict=True):
        assert dataset.classes[label] == name.split("/")[-2]
        assert encoded(Image.fromarray(image)) == files[name]


@pytest.mark.parametrize("top", ["", "photos/"])
def test_flat_folders(top: str) -> None:
    files = {
        f"{top}{name}.{number}.png": png(number + seed)
        for seed, name in ((0, "cat"), (50, "dog"))
        for number in range(10)
    }
    dataset = run_stages(pack_tar(Path("x.tar"), files))
    assert dataset.classes == ["cat", "dog"]
    assert sum(split.count for split in dataset.splits.values()) == 20


@pytest.mark.parametrize("validation_folder", ["val", "valid", "validation", "Validation"])
def test_the_sources_own_splits_are_kept(validation_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = class_folders(TWO, "top/train/") | class_folders({"cat": 2, "dog": 3}, f"top/{validation_folder}/", 100)
    files |= class_folders({"cat": 4, "dog": 5}, "top/test/", 200)
    dataset = run_stages(pack_tar(Path("x.tar"), files))
    check_promises(dataset)
    assert [dataset.splits[name].count for name in SPLITS] == [20, 5, 9]
    out = capsys.readouterr().out
    assert "split.validation is not used" in out
    assert "split.test is not used" in out
    assert all(name.startswith("top/test/") for name in dataset.splits["test"].names)


def test_a_lone_class_train_is_a_class() -> None:
    assert run_stages(pack_tar(Path("x.tar"), class_folders({"train": 9, "car": 9}))).classes == ["car", "train"]


def test_known_classes_keep_their_order_and_must_match() -> None:
    names = ["t-shirt_top", "Trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
    dataset = run_stages(pack_tar(Path("x.tar"), class_folders(dict.fromkeys(names, 5))), "fashion_mnist")
    assert dataset.classes[0] == "T-shirt/top"
    assert dataset.classes[9] == "Ankle boot"
    with pytest.raises(UserError, match="'zebra' is not among the data set's classes"):
        run_stages(pack_tar(Path("x.tar"), class_folders(dict.fromkeys([*names, "zebra"], 5))), "fashion_mnist")
    with pytest.raises(UserError, match="class 'Ankle boot' has 0 images"):
        run_stages(pack_tar(Path("x.tar"), class_folders(dict.fromkeys(names[:9], 5))), "fashion_mnist")


def test_grey_stays_one_channel_unless_one_image_is_colour() -> None:
    files = {
        f"{name}/{number}.png": png(number + 50 * len(name), mode="L") for name in ("a", "bb") for number in range(9)
    }
    assert run_stages(pack_tar(Path("x.tar"), files)).image.channels == 1
    dataset = run_stages(pack_tar(Path("x.tar"), files | {"a/9.png": png(999)}))
    check_promises(dataset)
    assert dataset.image.channels == 3


def test_mixed_sizes_need_an_image_size() -> None:
    files = class_folders(TWO) | {"cat/x.png": png(70, 8), "cat/y.jpg": encoded(Image.new("L", (9, 5)), "JPEG")}
    source = pack_tar(Path("x.tar"), files)
    with pytest.raises(UserError, match=r"3 different sizes .*6×6 \(20\), 8×8 \(1\), 9×5 \(1\).*set data.image_size"):
        run_stages(source)
    assert run_stages(source, image_size=12).image.height == 12


def test_content_decides_not_the_extension(capsys: pytest.CaptureFixture[str]) -> None:
    files = class_folders(TWO) | {"cat/x.jpg": png(80), "cat/y.dat": png(81), "cat/z": png(82), "notes.csv": b"1,2"}
    dataset = run_stages(pack_tar(Path("x.tar"), files))
    assert sum(split.per_class["cat"] for split in dataset.splits.values()) == 13
    assert "ignored 1 other file" in capsys.readouterr().out


def test_unreadable_images_are_all_named_or_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    files = class_folders(TWO) | {f"cat/bad{number:02}.png": png(number)[:60] for number in range(12)}
    source = pack_tar(Path("x.tar"), files)
    with pytest.raises(UserError, match=r"'cat/bad00.png' \(.*'cat/bad09.png' \(.* and 2 more.*skip_unreadable: true"):
        run_stages(source)
    dataset = run_stages(source, skip_unreadable=True)
    assert dataset.unreadable == [f"cat/bad{number:02}.png" for number in range(12)]
    assert "left out 12" in capsys.readouterr().out


def test_duplicates_stay_in_one_split_and_are_dropped_from_train(capsys: pytest.CaptureFixture[str]) -> None:
    files = class_folders(TWO, "train/") | class_folders({"cat": 5, "dog": 5}, "test/", 500)
    files["train/cat/equal.bmp"] = encoded(picture(500), "BMP")  # pixels of test/cat/0.png in another format
    files |= {f"train/dog/same{number}.png": png(600) for number in range(4)}
    files["train/cat/wrong label.png"] = png(600)
    dataset = run_stages(pack_tar(Path("x.tar"), files))
    check_promises(dataset)
    duplicates = dataset.duplicates
    assert duplicates.dropped == ["train/cat/equal.bmp"]
    same = [f"train/dog/same{number}.png" for number in range(4)] + ["train/cat/wrong label.png"]
    assert duplicates.together == [same]
    assert duplicates.conflicting == [same]
    assert sum(set(same) <= set(split.names) for split in dataset.splits.values()) == 1
    assert "'train/cat/wrong label.png'" in capsys.readouterr().out


def test_grey_and_rgb_copies_are_equal() -> None:
    grey = picture(700, mode="L")
    files = class_folders(TWO) | {"cat/a.png": encoded(grey), "dog/b.png": encoded(grey.convert("RGB"))}
    assert run_stages(pack_tar(Path("x.tar"), files)).duplicates.conflicting == [["cat/a.png", "dog/b.png"]]


def test_groups_stay_together(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{name}/p{patient}_{number}.png" for name in TWO for patient in range(8) for number in range(3)]
    files = {name: png(seed + 2) for seed, name in enumerate(names)}
    dataset = run_stages(pack_tar(Path("x.tar"), files | {"cat/x.png": png(1)}), groups=r"/(p\d+)_")
    found: dict[str, set[str]] = {}
    for name in SPLITS:
        groups = dataset.splits[name].groups
        assert groups is not None
        for group in groups:
            found.setdefault(group, set()).add(name)
    assert all(len(splits) == 1 for splits in found.values())
    assert "groups: 8 in 48 images; 1 image without a match" in capsys.readouterr().out
    with pytest.raises(UserError, match="found in none of the names"):
        run_stages("x.tar", groups="patient")


def test_limit_is_a_stratified_part() -> None:
    source = pack_tar(Path("x.tar"), class_folders({"cat": 40, "dog": 60}))
    dataset = run_stages(source, limit=30)
    check_promises(dataset)
    assert [dataset.splits[name].per_class for name in SPLITS] == [
        {"cat": 12, "dog": 18},
        {"cat": 4, "dog": 6},
        {"cat": 4, "dog": 6},
    ]
    with pytest.raises(UserError, match="is 1, below one image for each"):
        run_stages(source, limit=1)


def test_duplicates_that_the_limit_leaves_out_are_not_listed() -> None:
    files = class_folders({"cat": 40, "dog": 40}) | {f"cat/again {number}.png": png(number) for number in range(20)}
    files |= {f"dog/wrong {number}.png": png(number) for number in range(5)}
    dataset = run_stages(pack_tar(Path("x.tar"), files), limit=30)
    kept = {name for split in dataset.splits.values() for name in split.names}
    listed = [*dataset.duplicates.together, *dataset.duplicates.conflicting]
    assert 0 < len(dataset.duplicates.together) < 20
    assert all(len(names) > 1 and kept.issuperset(names) for names in listed)


def test_no_validation_is_possible() -> None:
    dataset = run_stages(pack_tar(Path("x.tar"), class_folders(TWO)), validation=0.0)
    check_promises(dataset)
    assert dataset.splits["validation"].count == 0


def test_imbalance_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    run_stages(pack_tar(Path("x.tar"), class_folders({"cat": 100, "dog": 10})))
    assert "strong class imbalance in train: 60 × 'cat' but 6 × 'dog'" in capsys.readouterr().out


def test_odd_names_are_kept() -> None:
    names = ["a b", "quote'\"", "line\nbreak", "猫", "-rf"]
    dataset = run_stages(write_files(Path("source"), class_folders(dict.fromkeys(names, 5))))
    check_promises(dataset)
    assert set(dataset.classes) == set(names)
    folder = Path(os.fsdecode(b"source/\xff\xfe"))  # not UTF-8
    write_files(folder, {f"{number}.png": png(number + 900) for number in range(5)})
    check_promises(run_stages(Path("source")))


BAD = {
    "one class": (class_folders({"cat": 9}), "only one class, 'cat'"),
    "one image": (class_folders({"cat": 9, "dog": 1}), "class 'dog' has 1 image in the source"),
    "two images for three splits": (class_folders({"cat": 9, "dog": 2}), "class 'dog' gets no test image"),
    "all equal": ({f"{name}/{n}.png": png(len(name)) for name in ("a", "bb") for n in range(9)}, "gets no validation"),
    "no images": ({"README.txt": b"x"}, "no images that can be read"),
    "beside": (class_folders(TWO) | {"x.png": png(0, 6)}, "'x.png' lies beside the class folders"),
    "no class": ({f"{number}.png": png(number) for number in range(9)}, "no class can be told for '0.png'"),
    "unlabelled test": (class_folders(TWO, "train/") | {"test/1.png": png(999)}, "'test/1.png' lies beside"),
    "no train": (class_folders(TWO, "test/") | class_folders(TWO, "val/", 50), "no train folder"),
    "third": (class_folders(TWO, "train/") | class_folders(TWO, "test/", 50) | class_folders(TWO, "x/", 90), "has 'x'"),
    "both kinds": (class_folders(TWO) | mnist_files(10, 10), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_source_is_one_line_and_leaves_nothing(case: str) -> None:
    files, message = BAD[case]
    source = pack_tar(Path("x.tar"), files)
    with pytest.raises(UserError, match=message or "own files and images"):
        run_stages(source, "mnist" if case == "both kinds" else "image_folder")
    assert not list(PREPARED.iterdir())


def test_files_of_another_data_set_are_told_what_is_expected() -> None:
    source = pack_tar(Path("x.tar"), mnist_files(20, 20))
    with pytest.raises(UserError, match=r"none of cifar10's own files \(data_batch_1, .*, test_batch\)"):
        run_stages(source, "cifar10")


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
    Path("page.html").write_text("<html>")
    Path("empty").mkdir()
    pack_tar(Path("empty.tar"), {})
    pack_tar(Path("outside.tar"), {"../x.png": png(0)})
    pack_zip(Path("absolute.zip"), {"/x.png": png(0)})
    with tarfile.open("link.tar", "w") as tar:
        link = tarfile.TarInfo("a/1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    Path("loop/cat").mkdir(parents=True)
    Path("loop/cat/again").symlink_to(Path("loop").resolve())
    Path("lost").mkdir()
    Path("lost/x.png").symlink_to("nowhere")
    for source, message in {
        "missing": "data.source missing does not exist",
        "cut.tar.gz": "data.source cut.tar.gz is truncated or damaged",
        "page.html": "data.source page.html is neither a folder nor a complete archive",
        "empty": "empty folder",
        "empty.tar": "empty archive",
        "outside.tar": "data.source outside.tar: .* leads outside",
        "absolute.zip": "data.source absolute.zip: .* leads outside",
        "link.tar": "data.source link.tar: 'a/1.png' is a link",
        "loop": "loop/cat/again is a link to a folder that holds it",
        "lost": "leads nowhere",
        ".": "must not contain data/raw",
    }.items():
        with pytest.raises(UserError, match=f"(?i){message}"):
            run_stages(source)
        assert not RAW.exists()
        assert not list(RAW.parent.glob(".*"))
    with pytest.raises(UserError, match=r"but data\.sha256 is 0000"):
        run_stages("x.tar.gz", sha256="0" * 64)
    with pytest.raises(UserError, match=r"data\.source, which is null"):
        run_stages(None, "mnist", sha256="0" * 64)


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


def test_photos_are_taken_from_data_images() -> None:
    write_files(IMAGES, {".gitkeep": b""})
    with pytest.raises(
        UserError, match=r"data/images holds no photos: .*dvc pull.*README: Data and models on several m"
    ):
        run_stages(None)
    write_files(IMAGES, class_folders(TWO))
    check_promises(run_stages(None))


def test_a_temporary_experiment_explains_where_the_photos_are(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(IMAGES, class_folders(TWO))
    copy = write_files(root / ".dvc/tmp/exps/x", {"data/images/.gitkeep": b""})
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.chdir(copy)
    with pytest.raises(UserError, match=r"not carried into --temp and --queue experiments; set data\.source to a path"):
        run_stages(None)
    check_promises(run_stages("data/images"))


def test_no_network_names_the_place_for_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(urls: list[str], path: Path, checksum: object, max_bytes: int, remedy: str) -> None:
        raise UserError(f"{path.name}: {remedy}")

    monkeypatch.setattr(src.data.raw, "fetch", unreachable)
    with pytest.raises(
        UserError, match=r"put the file by hand at \.cache/downloads/cifar10/cifar-10-python.tar.gz, or set"
    ):
        run_stages(None, "cifar10")


@pytest.fixture
def small_disk(root: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    disk = root / "small"
    disk.mkdir()
    with mounts.small_disk(disk, "1m"):
        yield disk


def run_stage(stage: str, folder: Path, params: str) -> subprocess.CompletedProcess[str]:
    for name in ("src", "stages"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    (folder / "params.yaml").write_text(params)
    return subprocess.run([sys.executable, "-m", stage], cwd=folder, capture_output=True, text=True, check=False)


def changed_recipe(**data: Any) -> str:
    """The digits recipe with other values in its section `data`."""
    return changed(recipe("digits"), {f"data.{key}": value for key, value in data.items()})


@pytest.mark.parametrize(
    ("kilobytes", "target"), [(0, "data/raw/x.tar"), (100, "data/raw/x.tar"), (400, "data/prepared"), (800, PREPARED)]
)
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    small_disk: Path, root: Path, kilobytes: int, target: str
) -> None:
    """Full already for the copy of the source, for the decoded images, or for the arrays."""
    files = {f"{name}/{n}.jpg": encoded(picture(n + 9 * len(name), 64), "JPEG") for name in TWO for n in range(30)}
    source = pack_tar(root / "x.tar", files)
    params = changed_recipe(name="image_folder", source=str(source))
    assert 2**17 < source.stat().st_size < 2**18
    filler = small_disk / "filler"
    filler.write_bytes(bytes((900 - kilobytes) * 1024))
    first = run_stage("stages.download", small_disk, params)
    last = first if first.returncode else run_stage("stages.split", small_disk, params)
    assert last.returncode == 2
    assert last.stderr.count("\n") == 1
    assert last.stderr.startswith(f"error: {target}")
    assert "disk is full" in last.stderr
    assert not list((small_disk / PREPARED).glob("*"))
    assert not list((small_disk / "data").glob(".*"))


def test_a_full_disk_is_not_blamed_on_what_is_copied(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(1000 * 1024))
    run = run_stage("stages.download", small_disk, changed_recipe())
    assert run.stderr == "error: data/raw/digits.csv.gz: the disk is full: free some space and start again\n"


def test_a_read_only_folder_is_one_line(small_disk: Path) -> None:
    params = changed_recipe()
    assert run_stage("stages.download", small_disk, params).returncode == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for stage in ("stages.download", "stages.split"):
        run = subprocess.run([sys.executable, "-m", stage], cwd=small_disk, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr.count("\n")) == (2, 1)
        assert "read-only" in run.stderr


def real(name: str) -> Path:
    if not (REAL / name).is_file():
        pytest.skip(f"needs {name} beside the repository, in shared/datasets")
    return REAL / name


def test_real_mnist() -> None:
    dataset = run_stages(real("mnist-idx.tar.xz"), "mnist", limit=1000)
    check_promises(dataset)
    assert dataset.splits["train"].count == 1000
    assert Counter(dataset.splits["train"].per_class)["1"] == 112  # the commonest digit


def test_real_photos() -> None:
    dataset = run_stages(real("dogs-vs-cats.tar"), image_size=16, limit=100)
    check_promises(dataset)
    assert dataset.classes == ["cat", "dog"]
    assert dataset.splits["train"].per_class == {"cat": 50, "dog": 50}
    with pytest.raises(UserError, match=r"656 different sizes .*342×256"):
        run_stages(real("dogs-vs-cats.tar"))


def test_real_cifar10_is_read_to_its_end() -> None:
    """All names, not all pixels: decoding 60,000 images takes 15 s."""
    layout = read_layout(
        [member.name for member in members(real("cifar10.tar.xz"), 2**30, "x")], SOURCES["cifar10"].classes
    )
    assert np.bincount(layout.labels).tolist() == [6000] * 10
    assert np.bincount(layout.official).tolist() == [50_000, 0, 10_000]


def test_dataset_json_is_plain_json() -> None:
    run_stages(pack_tar(Path("x.tar"), class_folders(TWO)))
    assert json.loads((PREPARED / "dataset.json").read_text())["splits"]["train"]["count"] == 12


@pytest.mark.slow
def test_photos_that_dvc_tracks_need_no_work_on_another_machine(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's route for one's own images, with real git and DVC, up to the prepared arrays."""
    monkeypatch.setenv("HOME", str(root))
    here, there = root / "here", root / "there"
    for name in ("src", "stages", ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "dvc.yaml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, here / name)
    write_files(here / IMAGES, {".gitkeep": b""})
    (here / "params.yaml").write_text(changed_recipe(name="image_folder"))
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
