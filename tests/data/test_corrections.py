"""What `data/corrections.csv` says of single images, the split stage does."""

from pathlib import Path

import pytest
from data_samples import check_promises, class_folders, digests, run_stages, write_files

from src.core.errors import UserError
from src.data.corrections import read_corrections
from src.data.prepared import SPLITS, open_split, read_names

HEADER = "file,action,value,reason\n"
pytestmark = pytest.mark.usefixtures("photos")


@pytest.fixture
def photos(root: Path) -> None:
    write_files(root / "data/images", class_folders({"cat": 20, "dog": 20}))


def corrections(*lines: str, header: str = HEADER) -> None:
    Path("data/corrections.csv").write_text(header + "".join(f"{line}\n" for line in lines), encoding="utf-8")


def places() -> dict[str, tuple[str, int]]:
    """Split and label of each image."""
    found: dict[str, tuple[str, int]] = {}
    for split in SPLITS:
        for name, label in zip(read_names(split), open_split(split).labels.tolist(), strict=True):
            found[name] = split, label
    return found


def test_labels_are_corrected_and_images_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    run_stages(None)
    before, bits = places(), digests()
    corrections()
    run_stages(None)
    assert digests() == bits, "without a line nothing changes"
    corrections("cat/3.png,relabel,dog,a puppy", "cat/4.png,drop,,", 'dog/5.png,relabel,dog,"right, after all"')
    dataset = run_stages(None)
    check_promises(dataset)
    after = places()
    assert before.keys() - after.keys() == {"cat/4.png"}
    assert {name for name, (_, label) in after.items() if before[name][1] != label} == {"cat/3.png"}
    assert "3 corrections: 2 relabel, 1 drop" in capsys.readouterr().out
    assert len([name for name in after if after[name][0] != before[name][0]]) <= 4, "the others stay where they were"


def test_the_reason_may_be_left_out_and_excel_may_have_written_it() -> None:
    corrections("cat/4.png;drop;", header="\ufefffile;action;value\n")
    run_stages(None)
    assert "cat/4.png" not in places()


def test_the_source_s_own_split_is_kept(root: Path) -> None:
    (root / "data/images").rename("test")
    (root / "data/images").mkdir()
    Path("test").rename("data/images/test")
    write_files(root / "data/images", class_folders({"cat": 9, "dog": 9}, "train/", start=100))
    corrections("test/cat/3.png,relabel,dog,", "test/dog/3.png,drop,,")
    assert run_stages(None).splits["test"].per_class == {"cat": 19, "dog": 20}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["cat/99.png,relabel,dog,", "cat/3.png,drop,,", "cat/98.png,drop,,"],
            r"no image of the source \(.*line 2: 'cat/99.png', .*line 4: 'cat/98.png'\): name it as",
        ),
        (["cat/3.png,relabel,bird,"], "line 2: there is no class 'bird': write one of cat, dog"),
        (["cat/3.png,remove,,"], "line 2: the action is 'remove': write relabel or drop"),
        (["cat/3.png,relabel,dog,", "cat/3.png,drop,,"], "line 3: an earlier line decides otherwise"),
        (["cat/3.png,drop,,blurredcat/4.png,drop,,dark"], "line 2: more values than columns: .* a line of its own"),
        ([f"cat/{number}.png,drop,," for number in range(19)], r"no validation image is left for 'cat' \(1 image\)"),
    ],
)
def test_a_line_that_cannot_be_applied_is_named(lines: list[str], message: str) -> None:
    corrections(*lines)
    with pytest.raises(UserError, match=message):
        run_stages(None)


def test_names_are_composed_as_those_of_the_source_are() -> None:
    corrections("gro\u0308\u00dfe/1.jpg,drop,,")
    assert [each.file for each in read_corrections()] == ["gr\u00f6\u00dfe/1.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,action\ncat/3.png,drop\n", "has no column file: its first line is file,action,value,reason"),
        ("", "has no column file"),
        (HEADER + 'cat/0.png,drop,,"blurred\ncat/1.png,drop,,dark\n', r"no table that can be read \(unexpected end"),
    ],
)
def test_what_is_no_table_of_corrections_is_named(content: str, message: str) -> None:
    corrections(header=content)
    with pytest.raises(UserError, match=message):
        list(read_corrections())
