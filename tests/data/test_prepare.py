"""`download` and `split` end to end: what becomes of good sources."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_samples import (
    check_promises,
    class_folders,
    digests,
    encoded,
    mnist_files,
    pack_tar,
    pack_zip,
    picture,
    png,
    run_stages,
    write_files,
)
from PIL import Image

from src.core.errors import UserError
from src.data.known import PUBLISHED_SETS
from src.data.prepared import SPLITS, open_split, read_copies, read_identity, read_names

pytestmark = pytest.mark.usefixtures("root")

TWO = {"cat": 10, "dog": 10}
MNIST = Path(__file__).resolve().parents[2].parent / "shared/datasets/mnist-idx.tar.xz"


def test_digits_are_complete_scaled_to_bytes_and_the_same_again() -> None:
    from sklearn.datasets import load_digits

    dataset = run_stages(None, "digits")
    check_promises(dataset)
    assert [dataset.splits[name].count for name in SPLITS] == [1078, 360, 359]
    reference = load_digits()
    images, labels = open_split("test")
    numbers = [int(name.removeprefix("digits/")) for name in read_names("test")]
    assert (images[..., 0] == np.round(reference.images[numbers] * 255 / 16)).all()
    assert (labels == reference.target[numbers]).all()
    first = digests()
    run_stages(None, "digits")
    assert digests() == first


def test_mnist_files_keep_their_test_set() -> None:
    source = pack_tar(Path("mnist.tar.gz"), mnist_files(200, 50), "w:gz")
    dataset = run_stages(source, "mnist")
    check_promises(dataset)
    assert [dataset.splits[name].count for name in SPLITS] == [160, 40, 50]
    assert read_names("test") == [f"test/{number:05d}" for number in range(50)]
    assert dataset.classes == list("0123456789")
    folder = write_files(Path("folder"), mnist_files(200, 50, compress=False))
    assert run_stages(folder, "mnist") == dataset
    with pytest.raises(UserError, match="holds both mnist's own files and images"):
        run_stages(write_files(folder, class_folders(TWO)), "mnist")


def test_the_first_test_images_become_validation() -> None:
    source = pack_tar(Path("mnist.tar"), mnist_files(100, 50))
    dataset = run_stages(source, "mnist", validation=0.0, validation_from_test=20)
    assert [dataset.splits[name].count for name in SPLITS] == [100, 20, 30]
    assert read_names("validation") == [f"test/{number:05d}" for number in range(20)]
    with pytest.raises(UserError, match="only 50 test images"):
        run_stages(source, "mnist", validation=0.0, validation_from_test=50)
    with pytest.raises(UserError, match="only 0 test images of its own"):
        run_stages(None, "digits", validation=0.0, validation_from_test=50)


@pytest.mark.parametrize(("kind", "top"), [("folder", ""), ("folder", "photos/"), ("tar", "a/b/"), ("zip", "")])
def test_class_folders(kind: str, top: str) -> None:
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
    for image, label, name in zip(images, labels, read_names("train"), strict=True):
        assert dataset.classes[label] == name.split("/")[-2]
        assert encoded(Image.fromarray(image)) == files[name]


def test_known_classes_keep_their_order_and_must_match() -> None:
    names = ["t-shirt_top", "Trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
    dataset = run_stages(pack_tar(Path("x.tar"), class_folders(dict.fromkeys(names, 5))), "fashion_mnist")
    assert dataset.classes[0] == "T-shirt/top"
    assert dataset.classes[9] == "Ankle boot"
    with pytest.raises(UserError, match="'zebra' is not among the data set's classes"):
        run_stages(pack_tar(Path("x.tar"), class_folders(dict.fromkeys([*names, "zebra"], 5))), "fashion_mnist")
    with pytest.raises(UserError, match=r"no train image is left for 'Ankle boot' \(0 images\)"):
        run_stages(pack_tar(Path("x.tar"), class_folders(dict.fromkeys(names[:9], 5))), "fashion_mnist")


def test_grey_stays_one_channel_unless_one_image_is_colour() -> None:
    files = {
        f"{name}/{number}.png": png(number + 50 * len(name), mode="L") for name in ("a", "bb") for number in range(9)
    }
    assert run_stages(pack_tar(Path("x.tar"), files)).image.channels == 1
    dataset = run_stages(pack_tar(Path("x.tar"), files | {"a/9.png": png(999)}))
    check_promises(dataset)
    assert dataset.image.channels == 3


def test_known_data_sets_are_not_searched_for_nearly_equal_images() -> None:
    classes = dict.fromkeys(PUBLISHED_SETS["cifar10"].classes, 5)
    source = pack_tar(Path("x.tar"), class_folders(classes, size=32))
    assert run_stages(source, "cifar10").duplicates.near is None
    assert run_stages(source).duplicates.near is not None


def test_the_size_of_images_does_not_change_their_splits() -> None:
    source = pack_tar(Path("x.tar"), class_folders({"cat": 40, "dog": 40}, size=8))
    where = []
    for image_size in (None, 4, 6):
        run_stages(source, image_size=image_size)
        where.append({name: split for split in SPLITS for name in read_names(split)})
    assert where[0] == where[1] == where[2]


def test_mixed_sizes_need_an_image_size() -> None:
    files = class_folders(TWO) | {"cat/x.png": png(70, 8), "cat/y.jpg": encoded(Image.new("L", (9, 5)), "JPEG")}
    source = pack_tar(Path("x.tar"), files)
    with pytest.raises(UserError, match=r"3 different sizes .*6×6 \(20\), 8×8 \(1\), 9×5 \(1\).*set data.image_size"):
        run_stages(source)
    assert run_stages(source, image_size=12).image.height == 12


def test_unreadable_images_are_counted_by_folder_or_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    files = class_folders(TWO) | {f"cat/bad{number:02}.png": png(number)[:60] for number in range(12)}
    source = pack_tar(Path("x.tar"), files)
    with pytest.raises(UserError, match=r"12 files: 'cat' \(12\), such as 'cat/bad00.png' \(.*skip_unreadable: true"):
        run_stages(source)
    dataset = run_stages(source, skip_unreadable=True)
    assert dataset.unreadable == [f"cat/bad{number:02}.png" for number in range(12)]
    assert "left out 12" in capsys.readouterr().out


def test_equal_images_stay_in_one_split_and_across_the_sources_own_are_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = class_folders(TWO, "train/") | class_folders({"cat": 5, "dog": 5}, "test/", 500)
    files["train/cat/equal.bmp"] = encoded(picture(500), "BMP")  # pixels of test/cat/0.png in another format
    files |= {f"train/dog/same{number}.png": png(600) for number in range(4)}
    files["train/cat/wrong label.png"] = png(600)
    dataset = run_stages(pack_tar(Path("x.tar"), files))
    check_promises(dataset)
    equal = dataset.duplicates.equal
    assert (equal.images, equal.sets, equal.conflicting, equal.beside_train) == (7, 2, 1, {"validation": 0, "test": 1})
    assert not any(read_copies(name).any() for name in ("train", "validation"))
    assert [name for name, copy in zip(read_names("test"), read_copies("test"), strict=True) if copy] == [
        "test/cat/0.png"
    ]
    leak, same = equal.examples
    assert {"train/cat/equal.bmp", "test/cat/0.png"} <= {member.name for member in leak}
    assert len({member.split for member in same}) == 1
    for member in leak:
        assert read_names(member.split)[member.index] == member.name
    out = capsys.readouterr().out
    assert "\nequal: 7 images in 2 sets, 1 of them with different labels; 1 test images are among those of train" in out
    assert "'train/cat/wrong label.png'" in out


def test_classes_that_are_spelled_alike_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    run_stages(pack_tar(Path("x.tar"), class_folders(dict.fromkeys(("Cat", "cat ", "dog"), 5))))
    assert "'Cat', 'cat ' are written nearly alike" in capsys.readouterr().out


def test_grey_and_rgb_copies_are_equal() -> None:
    grey = picture(700, mode="L")
    files = class_folders(TWO) | {"cat/a.png": encoded(grey), "dog/b.png": encoded(grey.convert("RGB"))}
    (members,) = run_stages(pack_tar(Path("x.tar"), files)).duplicates.equal.examples
    assert [member.name for member in members] == ["cat/a.png", "dog/b.png"]


def test_nearly_equal_images_stay_in_one_split_unless_they_are_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    def photo(seed: int) -> Image.Image:
        return picture(seed).resize((64, 64))

    files = {f"{name}/{seed}.png": encoded(photo(seed)) for name, seed in zip("ab" * 20, range(40), strict=True)}
    files |= {f"a/{seed}.jpg": encoded(photo(seed), "JPEG") for seed in range(0, 40, 2)}
    source = pack_tar(Path("x.tar"), files)
    near = run_stages(source).duplicates.near
    assert near is not None
    assert near.sets == 20
    assert "nearly equal: 40 images in 20 sets, 0 of them with different labels" in capsys.readouterr().out
    found = {Path(name).stem: {split for split in SPLITS if name in read_names(split)} for name in files}
    assert all(len(splits) == 1 for splits in found.values())
    ignored = run_stages(source, near_duplicates="ignore")
    assert ignored.duplicates.near is None
    tested = set(read_names("test"))
    assert any((f"a/{seed}.png" in tested) != (f"a/{seed}.jpg" in tested) for seed in range(0, 40, 2))


def test_groups_stay_together(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{name}/p{patient}_{number}.png" for name in TWO for patient in range(8) for number in range(3)]
    files = {name: png(seed + 2) for seed, name in enumerate(names)}
    run_stages(pack_tar(Path("x.tar"), files | {"cat/x.png": png(1)}), groups=r"/(p\d+)_")
    groups = [set(read_identity(split).get("group") or []) for split in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 8 + 1
    assert "groups: 8 in 48 images; 1 without a match" in capsys.readouterr().out
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


def test_duplicates_that_the_limit_leaves_out_are_not_counted() -> None:
    files = class_folders({"cat": 40, "dog": 40}) | {f"cat/again {number}.png": png(number) for number in range(20)}
    dataset = run_stages(pack_tar(Path("x.tar"), files), limit=30)
    assert 0 < dataset.duplicates.equal.sets < 40
    for example in dataset.duplicates.equal.examples:
        assert all(read_names(member.split)[member.index] == member.name for member in example)


def test_odd_names_are_kept() -> None:
    names = ["a b", "quote'\"", "line\nbreak", "猫", "-rf"]
    dataset = run_stages(write_files(Path("source"), class_folders(dict.fromkeys(names, 5))))
    check_promises(dataset)
    assert set(dataset.classes) == set(names)
    folder = Path(os.fsdecode(b"source/\xff\xfe"))  # not UTF-8
    write_files(folder, {f"{number}.png": png(number + 900) for number in range(5)})
    check_promises(run_stages(Path("source")))


@pytest.mark.skipif(not MNIST.is_file(), reason="needs the published files beside the repository, in shared/datasets")
def test_real_mnist() -> None:
    dataset = run_stages(MNIST, "mnist", limit=1000)
    check_promises(dataset)
    assert dataset.splits["train"].count == 1000
    assert Counter(dataset.splits["train"].per_class)["1"] == 112  # the commonest digit
    with pytest.raises(UserError, match="-images-idx3-ubyte is that of mnist: set data"):
        run_stages(MNIST, "fashion_mnist", limit=1000)
