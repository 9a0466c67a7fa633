"""Parquet files as Hugging Face writes them are read like photos with a table of labels."""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from data_samples import check_promises, class_folders, pack_tar, png, run_stages

from src.core.errors import UserError
from src.data.prepared import SPLITS, read_identity, read_names

pytestmark = pytest.mark.usefixtures("root")


def written(columns: Any) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink, row_group_size=7)
    return bytes(sink.getvalue())


def table(
    numbers: range,
    labels: list[Any] | None = None,
    names: list[str] | None = None,
    huggingface: str = "",
    paths: Sequence[str | None] = (None,) * 99,
) -> bytes:
    """An image for each number, labelled 0 and 1 in turn, or as said."""
    images = [{"bytes": png(number), "path": path} for number, path in zip(numbers, paths, strict=False)]
    columns = pyarrow.table({"image": images, "label": labels or [number % 2 for number in numbers]})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        huggingface = json.dumps({"info": {"features": features}})
    return written(columns.replace_schema_metadata({"huggingface": huggingface}) if huggingface else columns)


def test_splits_are_in_the_names_of_files_and_classes_in_the_metadata() -> None:
    names = ["cat/tiger", "dog"]
    files = {
        "set/README.md": b"---",
        "set/data/train-00000-of-00002.parquet": table(range(30), names=names),
        "set/data/train-00001-of-00002-a09b74b3ef9c3b56.parquet": table(range(30, 60), names=names),
        "set/data/test.parquet": table(range(60, 80), names=names),
    }
    dataset = run_stages(pack_tar(Path("x.tar"), files))
    check_promises(dataset)
    assert dataset.classes == ["cat/tiger", "dog"]
    assert {name: split.count for name, split in dataset.splits.items()} == {"train": 48, "validation": 12, "test": 20}
    assert read_names("test")[0].startswith("set/data/test/")


def test_photos_have_the_names_of_their_paths_where_these_tell_all_apart() -> None:
    paths = [f"x/{number}.png" for number in range(30)]
    for given, expected in ((paths, "all/29.png"), ([*paths[1:], "y/1.png"], "all/0000029.png")):
        Path("all.parquet").write_bytes(table(range(30), paths=given))
        run_stages("all.parquet")
        assert expected in chain.from_iterable(map(read_names, SPLITS))


def test_one_file_is_a_source_of_its_own_and_folders_name_splits_too() -> None:
    Path("all.parquet").write_bytes(table(range(40)))
    dataset = run_stages("all.parquet")
    assert dataset.classes == ["0", "1"]
    assert sum(dataset.splits[name].count for name in SPLITS) == 40
    for split, numbers in (("train", range(30)), ("test", range(30, 44))):
        path = Path("default", split, "0000.parquet")
        path.parent.mkdir(parents=True)
        path.write_bytes(table(numbers))
    assert run_stages("default").splits["test"].count == 14


def test_no_name_of_a_class_is_taken_for_a_path() -> None:
    classes = [".hid", "a/b", "a_b", "test", "train"]
    content = table(range(50), labels=[classes[number % 5] for number in range(50)])
    dataset = run_stages(pack_tar(Path("x.tar"), {"photos.parquet": content}))
    check_promises(dataset)
    assert dataset.classes == classes
    assert all(
        set(dataset.splits[split].per_class.values()) == {count} for split, count in zip(SPLITS, (6, 2, 2), strict=True)
    )


def test_columns_for_group_and_split_count() -> None:
    numbers = range(48)
    columns = {
        "image": [png(number) for number in numbers],
        "label": ["cat" if number % 2 else "dog" for number in numbers],
        "group": [number // 4 if number >= 8 else float("nan") for number in numbers],
        "split": ["test" if number >= 36 else "train" for number in numbers],
    }
    dataset = run_stages(pack_tar(Path("x.tar"), {"photos.parquet": written(columns)}))
    assert dataset.splits["test"].count == 12
    train, validation, test = ({*(read_identity(split).get("group") or ())} for split in SPLITS)
    assert len(test) == 3
    assert not train & validation
    assert not any("nan" in group for group in train | validation), "a number that is missing is no group"


def test_two_configurations_of_a_data_set_are_not_mixed() -> None:
    files = {f"{name}/train-00000-of-00001.parquet": table(range(40)) for name in ("full", "small")}
    with pytest.raises(UserError, match="'full' and 'small' both hold Parquet files of train: give one of them alone"):
        run_stages(pack_tar(Path("x.tar"), files))


@pytest.mark.parametrize("info", ["[]", '{"info": {"features": null}}', '{"info": {"features": {"label": [{}]}}}'])
def test_metadata_that_name_no_classes_leave_their_numbers(info: str) -> None:
    dataset = run_stages(pack_tar(Path("x.tar"), {"train.parquet": table(range(40), huggingface=info)}))
    assert dataset.classes == ["0", "1"]


def test_other_tables_are_left_out_and_what_cannot_be_read_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    files = class_folders({"a": 20, "b": 20}) | {"scores.parquet": written({"score": [1.0]})}
    run_stages(pack_tar(Path("x.tar"), files))
    assert "left out 1 file .parquet" in capsys.readouterr().out
    whole = table(range(40))
    for content, told in (
        (whole[: len(whole) // 2], "train.parquet is truncated or damaged"),
        (table(range(4), labels=[0, 1, None, 1]), "row 2 has no bytes in image, or no class in label"),
        (table(range(4), labels=[0, 1, -1, 1], names=["cat", "dog"]), "row 2 has no bytes in image, or no class"),
        (written({"image": [{"path": "a.jpg"}], "label": [0]}), "row 0 has no bytes in image"),
        (
            written({"image": [{"bytes": png(0), "path": "a.png"}, None], "label": [0, 1]}),
            "row 1 has no bytes in image",
        ),
        (table(range(4), huggingface="{"), "train.parquet is truncated or damaged"),
        (table(range(4), labels=[0.0, float("nan"), 1.0, 1.0]), "row 1 has no bytes in image, or no class in label"),
        (table(range(4), labels=[[0], [1], [0, 1], [1]]), "label is list.*: a photo has one class here"),
    ):
        with pytest.raises(UserError, match=told):
            run_stages(pack_tar(Path("x.tar"), {"train.parquet": content}))
