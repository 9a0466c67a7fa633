"""Photo sets as people have them, after public reports: each gives its classes and splits, or one line that says why.

In parentheses stand threads on GitHub that report a fault of this kind in another program.
"""

import json
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest
from data_samples import class_folders, encoded, pack_tar, pack_zip, picture, png, run_stages, write_files

from src.core.errors import UserError
from src.core.paths import IMAGES, PREPARED
from src.data.prepared import SPLITS, Dataset, read_names

pytestmark = pytest.mark.usefixtures("root")

TWO = {"cat": 10, "dog": 10}
FEW = {"cat": 4, "dog": 4}
HEIC = b"\0\0\0\x28ftypheic\0\0\0\0mif1heic" + bytes(range(256))


@pytest.fixture(autouse=True)
def without_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


def counts(dataset: Dataset) -> dict[str, list[int]]:
    """Images of each class in train, validation and test."""
    return {name: [dataset.splits[split].per_class[name] for split in SPLITS] for name in dataset.classes}


GIVEN = {"cat": [8, 2, 4], "dog": [8, 2, 4]}  # TWO for training and FEW as test
DRAWN = {"cat": [6, 2, 2], "dog": [6, 2, 2]}  # TWO without splits of their own


def expect(source: Path, expected: dict[str, list[int]] | str, skip_unreadable: bool = False) -> None:
    """Run both stages: they give these counts, or one line in which `expected` is found."""
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            run_stages(source, image_size=8, skip_unreadable=skip_unreadable)
        assert not list(PREPARED.glob("*"))
    else:
        found = counts(run_stages(source, image_size=8, skip_unreadable=skip_unreadable))
        assert list(found.items()) == list(expected.items())


def splits(train: str, test: str, below: str = "") -> dict[str, bytes]:
    return class_folders(TWO, f"{train}/{below}") | class_folders(FEW, f"{test}/{below}", 100)


def table(rows: dict[str, str], header: str = "file,label") -> bytes:
    return "\n".join([header, *(f"{name},{rest}" for name, rest in rows.items())]).encode()


def json_lines(labels: dict[str, str]) -> bytes:
    return "\n".join(json.dumps({"file_name": name, "label": label}) for name, label in labels.items()).encode()


SIDES = ("train", "test")
PHOTOS = {f"{number}.png": png(number) for number in range(20)}
LABELS = {name: "cat" if number < 10 else "dog" for number, name in enumerate(PHOTOS)}
TESTED = {name: LABELS[name] for number, name in enumerate(LABELS) if number % 10 < 4}
DECOMPOSED, COMPOSED = (unicodedata.normalize(form, "\u00e9t\u00e9") for form in ("NFD", "NFC"))


def ten(*names: str) -> dict[str, bytes]:
    """Ten files in each folder, or with each beginning of a flat name such as `cat.`."""
    files = [f"{name if name[-1] == '.' else f'{name}/'}{number}.png" for name in names for number in range(10)]
    return {name: png(number) for number, name in enumerate(files)}


DRIVE = "pets-20240503T101512Z-"
NO_CLASS = "no class can be told from "

CASES: dict[str, tuple[dict[str, bytes], dict[str, list[int]] | str]] = {
    "a table of labels with other columns": (
        class_folders(TWO) | {"labels.csv": table(LABELS, "path,kind")},
        "labels.csv needs the columns file and label, but has path, kind: rename",
    ),
    # Splits by folders
    "capitals, years, and images of each side": (splits("Train2017", "TEST_images"), GIVEN),
    "a word before, and doubled": (splits("seg_train/seg_train", "seg_test/seg_test"), GIVEN),
    "and photos to predict": (splits("seg_train", "seg_test") | {"seg_pred/1.png": png(999)}, "has 'seg_pred': remove"),
    "a word after": (splits("training_set", "test_set"), GIVEN),
    "images within each side": (splits("train", "test", "images/"), GIVEN),
    "in a repository": (splits("x-main/data/train", "x-main/data/test") | {"x-main/src/x.py": b"x"}, GIVEN),
    "splits within classes (DhavalThkkar/Transfer-Learning#1)": (
        {
            f"{name}/{side}/{number}.png": png(number + 20 * len(side) + 500 * (name == "cat"))
            for name in TWO for side, count in zip(SIDES, (10, 4), strict=True) for number in range(count)
        },
        GIVEN,
    ),
    "unlabelled test (keras-team/keras#5044)": (
        class_folders(TWO, "train/") | class_folders({"unknown": 4}, "test/", 100),
        r"only the source's own validation or test images have 'unknown' \(4 images\): .* out, for src.predict",
    ),
    "trains and latest (huggingface/datasets#5650, huggingface/datasets#5021)": (
        class_folders({"bullet_train": 10, "latest": 10}), {"bullet_train": [6, 2, 2], "latest": [6, 2, 2]}
    ),
    "test images without folders (fastai/fastai#2336)": (
        class_folders(TWO, "train/") | {"test/0.png": png(99)}, "beside the class folders lies 'test/0.png': move it"
    ),
    "a photo beside splits": (splits("train", "test") | {"0.png": png(99)}, "the source has image files: remove what"),
    # Folders that are classes, and others
    "sessions in one class": (class_folders({"a": 5, "b": 5}, "cat/") | class_folders({"dog": 10}, "", 50),
                              "'cat' holds only folders and stands beside 'dog': either"),
    "a class of another format": (
        class_folders(TWO) | {"bird/1.npy": b"x"}, r"'bird' without a photo: .* such as the labels of"
    ),
    "lost in one split (ultralytics/ultralytics#13936)": (
        splits("train", "test") | {"test/bird/.gitkeep": b""}, r"'test/bird' without"
    ),
    "made by systems and notebooks (pytorch/vision#79, meetps/pytorch-semseg#83, open-mmlab/mmpretrain#507)": (
        class_folders(TWO) | {"__MACOSX/cat/._0.png": b"x", "cat/._0.png": b"x", ".DS_Store": b"x",
                              "cat/Thumbs.db": b"x", "desktop.ini": b"x", "$RECYCLE.BIN/9.png": png(9),
                              ".ipynb_checkpoints/1.png": png(0)},
        DRAWN,
    ),
    "two forms of one letter": (
        class_folders({"cat": 10, DECOMPOSED: 5}) | {f"{COMPOSED}/x{n}.png": png(80 + n) for n in range(5)},
        {"cat": [6, 2, 2], COMPOSED: [6, 2, 2]},
    ),
    # Folders that may be the classes, and those that are none
    "camera traps": (ten("site1/deer", "site1/fox", "site2/fox", "site2/boar"),
                     "several of the folders 'site1', 'site2' are or hold 'fox': .*label,group"),
    "Breast Histopathology Images": (ten("8863/0", "8863/1", "8865/0"), "'8863', '8865' are or hold '0': either"),
    "parts by Google Drive": (ten(f"{DRIVE}001/photos/cat", f"{DRIVE}002/photos/dog"), NO_CLASS + "'pets-2"),
    "parts of a flat folder": (ten("part1/cat.", "part1/dog.", "part2/cat."), NO_CLASS + "'part1', 'part2'"),
    "albums in class folders": (ten("cat/2023 May", "cat/2023 June", "dog/2023 May"),
                                {"cat": [12, 4, 4], "dog": [6, 2, 2]}),
    "numbered labels": (ten("label 1", "label 2"), {"label 1": [6, 2, 2], "label 2": [6, 2, 2]}),
    "BreakHis": (ten("benign/SOB/a/p1/40X", "benign/SOB/b/p2/40X", "malignant/SOB/c/p3/40X"),
                 {"benign": [12, 4, 4], "malignant": [6, 2, 2]}),
    "flat names in class folders": (ten("cat/cat.", "dog/dog.") | {"cat/dog.1.png": png(99)},
                                    {"cat": [7, 2, 2], "dog": [6, 2, 2]}),
    "an unlabelled test beside the classes": (ten("cat", "dog", "test"), "stands 'test', called like a split"),
    "a class called train": (ten("bus", "train"), {"bus": [6, 2, 2], "train": [6, 2, 2]}),
    "a dot in a flat name": (ten("st. cat.", "st. dog."), {"st. cat": [6, 2, 2], "st. dog": [6, 2, 2]}),
    "flat names in a lone split": (ten("train/cat.", "train/dog.", "rest"), "stands 'train', called like a split"),
    "Oxford-IIIT Pet": (ten("images", "annotations/trimaps"), NO_CLASS + "'annotations', 'images'"),
    "docs beside the folder of classes": (
        ten("x/dataset/cat", "x/dataset/dog", "x/docs"), NO_CLASS + "'dataset', 'docs'"
    ),
    "ChestX-ray14": (ten("images_001/images", "images_002/images"), NO_CLASS + "'images_001', 'images_002'"),
    "YOLO": (ten("train/images", "valid/images") | {"train/labels/1.txt": b"0"}, "no class can be told for"),
    "classes after splits": (ten("train_cats", "train_dogs", "test_cats", "test_dogs"),
                             "'test_cats', 'train_cats' differ in the split alone, .* into one folder .train/cats, t"),
    "a class like a split": (ten("train/cat", "train/dog", "test/cat", "crash_test/cat"), "has 'crash_test': remove"),
    "docs beside splits": (splits("train", "test") | {"docs/1.txt": b"x", "annotations/1.xml": b"x"}, GIVEN),
    # Flat names
    "flat below a folder": (ten("photos/cat.", "photos/dog.") | {"photos/notes.1.txt": b"x"}, DRAWN),
    "dates": (ten("cat.2023.05.", "dog.2023.05."), "class.number.jpg: with one number, without dates"),
    # Too little
    "one class (pytorch/vision#669)": (class_folders({"cat": 10}), "no class can be told for 'cat/0.png'"),
    "one image (ludwig-ai/ludwig#2831)": (
        class_folders({"cat": 9, "cow": 1, "dog": 1}),
        r"no validation image is left for 'cow' \(1 image\), 'dog' \(1 image\): add images",
    ),
    "all equal": ({f"{name}/{n}.png": png(len(name)) for name in ("a", "bb") for n in range(9)}, "no validation image"),
    "no train": (splits("val", "test"), "no photo of train: add a train folder"),
    "nothing but a test set": (class_folders(TWO, "test/"), DRAWN),
    # Formats
    "formats": (
        class_folders({"cat": 7, "dog": 10}) | {
            f"cat/x.{kind}": encoded(picture(90 + seed, 16), name)
            for seed, (kind, name) in enumerate({"webp": "WEBP", "avif": "AVIF", "jp2": "JPEG2000"}.items())
        },
        DRAWN,
    ),
    "HEIC named JPEG (Esri/data-collection-ios#184)": (
        class_folders(TWO) | {"cat/x.jpg": HEIC}, "'cat/x.jpg' .HEIC: make env EXTRA=heic"
    ),
    "raw data of a camera, which Pillow opens by their thumbnail": (
        class_folders(TWO) | {"cat/1.NEF": encoded(picture(1), "TIFF")}, "'cat/1.NEF' .raw data of a camera"
    ),
    "a pointer of Git LFS": (
        class_folders(TWO) | {"cat/1.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:0"},
        "'cat/1.jpg' .a pointer of Git LFS",
    ),
    "HEIC without ending": (class_folders(TWO) | {"cat/x": HEIC}, "'cat/x' .HEIC"),
    "DICOM (NVIDIA/DIGITS#1642)": (
        class_folders(TWO) | {"ct/1.dcm": b"\0" * 128 + b"DICM"}, r"cannot read 1 file: 'ct' \(1\), such as 'ct/1.dcm'"
    ),
    "archives within (fchollet/deep-learning-with-python-notebooks#202)": (
        {"cat.zip": b"PK", "dog.zip": b"PK"}, "holds the archive 'cat.zip': unpack it"
    ),
    # Tables of labels
    "Excel's own encoding (HumanSignal/label-studio#376)": (
        PHOTOS | {"x.csv": table(LABELS) + "\né.png,cat".encode("cp1252")}, "x.csv, line 22 is not UTF-8"
    ),
    "a comma that is not quoted (facebookresearch/habitat-sim#1652)": (
        PHOTOS | {"x.csv": table(LABELS) + b"\ny.png,New York, NY"},
        "x.csv, line [0-9]+: more values than columns",
    ),
    "Excel (p2irc/deepplantphenomics#41, BodenmillerGroup/steinbock#28)": (
        PHOTOS | {"x.csv": b"\xef\xbb\xbf" + table(LABELS, "File,Label").replace(b",", b";")}, DRAWN
    ),
    "metadata.jsonl (huggingface/datasets#6442)": (
        PHOTOS | {"metadata.jsonl": json_lines(LABELS)},
        DRAWN,
    ),
    "metadata.csv of each side (huggingface/datasets#4895)": (
        {f"x/{side}/{name}": png(500 * (side == "test") + seed) for side in SIDES for seed, name in enumerate(PHOTOS)}
        | {f"x/{side}/metadata.csv": table(LABELS, "file_name,label") for side in SIDES},
        {"cat": [8, 2, 10], "dog": [8, 2, 10]},
    ),
    "names without folders": ({f"images/{n}": p for n, p in PHOTOS.items()} | {"labels.csv": table(LABELS)}, DRAWN),
    "decomposed names (llmsresearch/paperbanana#240)": (
        {f"{DECOMPOSED}{n}": p for n, p in PHOTOS.items()}
        | {"l.csv": table({f"{COMPOSED}{n}": c for n, c in LABELS.items()})}, DRAWN),
    "folders that are no splits beside a table": (
        ten("train", "test", "extra") | {"labels.csv": table(dict.fromkeys(ten("train", "test", "extra"), "cat"))},
        r"the source has 'extra': remove .*, or say each photo's split in labels.csv \(file,label,split\)",
    ),
    "unknown split": (PHOTOS | {"l.csv": table({n: f"{c},x" for n, c in LABELS.items()}, "file,label,split")},
                      "l.csv, line 2: the split is 'x': write train"),
    "names without ending (ieee8023/covid-chestxray-dataset#96)": (
        PHOTOS | {"l.csv": table({Path(name).stem: label for name, label in LABELS.items()})},
        DRAWN,
    ),
    "two columns of a name": (
        PHOTOS | {"l.csv": table({name: f"{label},x" for name, label in LABELS.items()}, "file,label,Label")},
        "l.csv has more than one column label: keep one",
    ),
    "paths of another system": (
        {f"photos/{name}": photo for name, photo in PHOTOS.items()}
        | {"photos/l.csv": table({rf"C:\set\photos\{name}": label for name, label in LABELS.items()})},
        DRAWN,
    ),
    "numbered folders beside a table of other columns": (
        {f"batch_{1 + number // 10}/ISIC_{number}.png": png(number) for number in range(20)}
        | {"metadata.csv": table({f"ISIC_{number}": "mel" for number in range(20)}, "image_id,diagnosis")},
        "'batch_1', 'batch_2' differ in a number alone, and 'metadata.csv' is not used: if it has the classes",
    ),
    "a table that says train, in folders that say test": (
        {f"{'test' if number % 2 else 'train'}/{name}": photo for number, (name, photo) in enumerate(PHOTOS.items())}
        | {"labels.csv": table({name: f"{label},train" for name, label in LABELS.items()}, "file,label,split")}, DRAWN,
    ),
    "blanks and quotes": (PHOTOS | {"l.csv": table({f"{n}": f' "{c}"' for n, c in LABELS.items()})}, DRAWN),
    "measurements beside numbered classes": (
        ten("1", "2") | {"weather.csv": table({str(day): "20.5" for day in range(40)}, "day,temperature")},
        {"1": [6, 2, 2], "2": [6, 2, 2]},
    ),
    "sample_submission.csv (Kaggle)": (
        PHOTOS | {"train.csv": table(LABELS), "sample_submission.csv": table(dict.fromkeys(PHOTOS, "cat"))}, DRAWN
    ),
    "a table for each split": (
        PHOTOS | {"train.csv": table(dict(LABELS.items() - TESTED.items())), "test_labels.csv": table(TESTED)},
        {"cat": [5, 1, 4], "dog": [5, 1, 4]},
    ),
    "one table, called like a split": (PHOTOS | {"val.csv": table(LABELS)}, DRAWN),
    "lists of labels in CSV": (
        PHOTOS | {"l.csv": table(LABELS | {"0.png": "['cat']"})}, r"the label is \['cat'\]: a photo has one class here"
    ),
    "no number for a label": (
        PHOTOS | {"l.jsonl": json_lines(LABELS).replace(b'"cat"', b"NaN", 1)}, "line 1: file or label is empty"
    ),
    "a class made of others": (
        PHOTOS | {"l.csv": table({n: ("hot", "dog", "hot dog", '"cat, big"')[k // 5] for k, n in enumerate(PHOTOS)})},
        {"cat, big": [3, 1, 1], "dog": [3, 1, 1], "hot": [3, 1, 1], "hot dog": [3, 1, 1]},
    ),
    "../images": (
        {f"images/{n}": p for n, p in PHOTOS.items()}
        | {"lists/l.csv": table({f"../images/{n}": c for n, c in LABELS.items()})}, DRAWN
    ),
    "a name of two photos, and of none (marco-c/autowebcompat#140)": (
        class_folders(TWO) | {"l.csv": table({f"{number}.png": "cat" for number in (0, 1, 99)})},
        r"names 3 files that the source does not hold, or more than once: 0.png, 1.png, 99.png: write names as",
    ),
    "several labels in one (NIH ChestX-ray14)": (
        PHOTOS | {"l.csv": table(LABELS | {"0.png": "cat|dog"})}, r"'cat\|dog' as labels: a photo has one class here"
    ),
    "a line that is too deep": (PHOTOS | {"metadata.jsonl": b"[" * 100_000}, "metadata.jsonl is no table .*repair"),
    "Unicode text (Excel)": (PHOTOS | {"l.csv": table(LABELS).decode().replace(",", "\t").encode("utf-16")}, DRAWN),
    "lines that end in CR (Excel for Mac)": (PHOTOS | {"l.csv": table(LABELS).replace(b"\n", b"\r")}, DRAWN),
    "a line break in a label": (
        PHOTOS | {"l.csv": table(LABELS | {"0.png": '"a\ncat"'})}, "line 3: file or label is empty or cannot be printed"
    ),
    "an unlabelled photo (huggingface/datasets#4311)": (
        PHOTOS | {"x.png": png(99), "l.csv": table(LABELS)}, "does not name 1 image .* x.png"
    ),
    "two labels, after blank lines (tensorflow/models#261)": (
        PHOTOS | {"l.csv": table(LABELS) + b"\n\n\n0.png,dog"}, "line 24: '0.png' has other values"
    ),
    "tables of something else (Hugging Face's captions, Kaggle's birds, GTSRB)": (
        class_folders(TWO) | {
            "metadata.jsonl": json_lines(dict.fromkeys(class_folders(TWO), "a pet")).replace(b"label", b"text"),
            "birds.csv": table({f"{name}/{n}.png": f"{name},{n}" for name in TWO for n in range(10)}, "path,labels,x"),
            "cat/GT-cat.csv": table({f"{n}.png": "0" for n in range(10)}, "Filename,ClassId"),
            "y.csv": b"\xff", "few.csv": table(dict.fromkeys(TESTED, "cat"), "id,label"),
        },
        DRAWN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_case(case: str) -> None:
    files, expected = CASES[case]
    expect(pack_tar(Path("x.tar"), files), expected)


@pytest.mark.parametrize(
    ("name", "lost", "message"),
    [
        ("{}/{}/{}.png", "test/", r"lies 'test' without a photo"),
        ("{}/{}/{}.png", "test/cat/1.png", "none of the photos of test can be read"),
        ("{}/{}.{}.png", "test/1.npy", r"lies 'test' without a photo"),
        ("{}/{}.{}.png", "test/cat.1.png", "none of the photos of test can be read"),
    ],
)
def test_a_test_set_that_cannot_be_read_is_named(name: str, lost: str, message: str) -> None:
    names = [name.format(side, label, number) for side in ("train", "valid") for label in TWO for number in range(5)]
    files = {name: png(number) for number, name in enumerate(names)} | {lost: b"", "docs/1.txt": b"x"}
    expect(pack_zip(Path("x.zip"), files), message, skip_unreadable=True)


@pytest.mark.parametrize(
    ("folders", "shown"),
    [
        (["a/abbey", "b/bakery/shop", "b/bar"], "4 folders ('abbey', 'bakery', 'bar' and 1 more)"),  # SUN397
        (["Original/A", "Augmented/A_aug"], "2 folders ('A', 'A_aug')"),
        (["cat/2021", "dog/2021"], ""),
        (["cat/cat.", "dog/dog."], ""),
        (["dog", "dog/puppy", "cat"], "1 folder ('puppy')"),
    ],
)
def test_folders_below_classes_are_shown(folders: list[str], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = run_stages(pack_tar(Path("x.tar"), ten(*folders)))
    assert dataset.classes == sorted({folder.partition("/")[0] for folder in folders})
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("below the class folders")]
    line = f"below the class folders lie {shown}, taken for no classes: if they are, move them up, in place of the "
    line += "folders that hold them"
    assert lines == ([line] if shown else [])


def test_a_class_of_a_flat_folder_or_a_table_that_cannot_be_read_is_named() -> None:
    files = ten("cat.", "dog.") | {f"bird.{number}.jpg": b"broken" for number in range(8)}
    expect(pack_tar(Path("x.tar"), files), "none of the photos of 'bird' can be read", skip_unreadable=True)
    files = PHOTOS | {"x.jpg": b"broken", "l.csv": table(LABELS | {"x.jpg": "bird"})}
    expect(pack_tar(Path("x.tar"), files), "none of the photos of 'bird' can be read", skip_unreadable=True)
    files = ten("cat/IMG.", "dog/IMG.") | {"cat/DSC.1.jpg": b"broken"}  # whose folder is its class
    expect(pack_tar(Path("x.tar"), files), DRAWN, skip_unreadable=True)


def test_the_tables_that_are_used_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {name: f"{label},4,x" for name, label in LABELS.items()}
    files = PHOTOS | {
        "labels.csv": table(rows, "file,label,width,set"),
        "notes.csv": table(rows, "image_id,dx,width,set"),
    }
    run_stages(pack_tar(Path("x.tar"), files))
    out = capsys.readouterr().out
    assert "labels of 'labels.csv' (20 photos)\nnot used: columns 'width', 'set'; one that says train or test" in out
    assert (
        "not used: tables 'notes.csv' (columns image_id, dx, width, set); one of labels must have the columns f" in out
    )


def test_a_group_moves_few_others_and_a_new_name_nothing() -> None:
    """Images without a group are known by their content, as in a source without groups."""

    def places(files: dict[str, bytes], groups: str | None = None) -> dict[bytes, str]:
        run_stages(pack_tar(Path("x.tar"), files), groups=groups)
        return {files[name]: split for split in SPLITS for name in read_names(split)}

    files = class_folders({"cat": 50, "dog": 50})
    before, after = places(files), places(files, r"cat/[01]\.")
    assert sum(before[photo] != after[photo] for photo in files.values()) <= 6
    renamed = {name.replace("/3.", "/renamed."): photo for name, photo in files.items()}
    assert places(renamed, r"cat/[01]\.") == after


def test_groups_across_the_sources_own_splits_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    official = ["test" if number in (8, 9, 18, 19) else "train" for number in range(20)]
    rows = {
        name: f"{label},p{min(number % 10, 8)},{split}"  # p8 has the ninth and the tenth of each class
        for (number, (name, label)), split in zip(enumerate(LABELS.items()), official, strict=True)
    }
    files = PHOTOS | {"labels.csv": table(rows, "file,label,group,split")}
    run_stages(pack_tar(Path("x.tar"), files))
    assert "own splits" not in capsys.readouterr().out
    rows["0.png"] = "cat,p8,train"
    run_stages(pack_tar(Path("x.tar"), files | {"labels.csv": table(rows, "file,label,group,split")}))
    assert "1 group in more than one of the source's own splits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("h\u00fcndin".encode(), "h\u00fcndin"),  # by macOS: UTF-8, without the flag
        ("h\u00fcndin".encode("cp850"), "h\u00fcndin"),  # by Windows in German
        ("\u72ac\u5c0f\u5c4b".encode("gbk"), None),  # zhuojg/chinese-calligraphy-dataset#2
        ("\u30bd".encode("shift_jis"), None),  # in which a backslash is a part of a letter
    ],
)
def test_a_zip_whose_names_lack_the_flag_for_utf8(raw: bytes, name: str | None) -> None:
    stand_in = "x" * len(raw)
    data = pack_zip(Path("x.zip"), class_folders({"cat": 10, stand_in: 10})).read_bytes()
    Path("x.zip").write_bytes(data.replace(stand_in.encode(), raw))
    with zipfile.ZipFile("x.zip") as archive:
        assert not any(info.flag_bits & 0x800 for info in archive.infolist())
    if name:
        expect(Path("x.zip"), {"cat": [6, 2, 2], name: [6, 2, 2]})
    else:
        expect(Path("x.zip"), "in an encoding that the zip does not name")


def test_a_linked_class_folder_is_refused_where_dvc_would_miss_its_photos() -> None:
    write_files(IMAGES, class_folders({"cat": 10}))
    write_files(Path("elsewhere"), class_folders({"dog": 10}, start=50))
    (IMAGES / "dog").symlink_to(Path("elsewhere/dog").resolve())
    with pytest.raises(UserError, match="data/images/dog is a link, behind which DVC would not notice"):
        run_stages(None)
    expect(IMAGES.rename("outside"), DRAWN)


def test_a_class_folder_whose_photos_were_forgotten_is_named() -> None:
    source = write_files(Path("photos"), class_folders(TWO) | {"bird/.DS_Store": b"x"})
    expect(source, "photos/bird is an empty folder: put photos there, or remove it")


def test_what_was_understood_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    files = splits("train", "test") | class_folders({"cat": 2, "dog": 3}, "val/", 200)
    files |= {"train/cat/@eaDir/0.png/THUMB.jpg": b"x", "train/cat/notes.txt": b"x", "train/dog/a.txt": b"x"}
    dataset = run_stages(pack_tar(Path("x.tar"), files | {"README": b"x"}))
    for split, folder in zip(SPLITS, ("train/", "val/", "test/"), strict=True):
        assert all(name.startswith(folder) for name in read_names(split))
    assert counts(dataset) == {"cat": [10, 2, 4], "dog": [10, 3, 4]}
    out = capsys.readouterr().out
    assert "its own validation images: split.validation is not used" in out
    assert "its own test images: split.test is not used" in out
    assert "left out 1 file @eaDir: 'train/cat' (1)\n" in out
    assert "left out 2 files .txt: 'train/cat' (1), 'train/dog' (1)\n" in out
    assert "left out 1 file without ending: '.' (1)\n" in out
    assert (
        "  class    train validation test\n  cat         10          2    4\n  dog         10          3    4\n" in out
    )


def test_the_table_of_many_classes_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    run_stages(pack_tar(Path("x.tar"), class_folders({str(number): 3 for number in range(60)})))
    rows = capsys.readouterr().out.partition("  class ")[2].splitlines()
    assert rows[20].split() == ["19", "1", "1", "1"]
    assert rows[21].split() == ["…", "20", "more"]
    assert rows[22].split() == ["40", "1", "1", "1"]
    assert rows[42].split() == ["60", "in", "all", "60", "60", "60"]
