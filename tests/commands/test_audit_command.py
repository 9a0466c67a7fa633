"""The audit: wrong labels are suggested, accepted and applied; test images are opened on demand alone."""

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from clones import DIGITS, set_params
from data_samples import encoded, run_stages, write_files
from PIL import Image

from src import audit
from src.core.errors import UserError
from src.core.paths import AUDIT
from src.data.corrections import read_corrections
from src.data.prepared import read_names

WRONG = {"light/3&.png", "light/8.png", "dark/20.png"}


@pytest.fixture
def photos(root: Path) -> Path:
    """Prepare dark and light photos: three are in the wrong folder, and one is a copy of another."""
    random = np.random.default_rng(0)
    files = {}
    for name in ("dark", "light"):
        for number in range(40):
            file = f"{name}/{number}{'&' if number == 3 else ''}.png"
            light = (name == "light") != (file in WRONG)
            pixels = random.integers(150 if light else 0, 255 if light else 105, (8, 8, 3), np.uint8)
            files[file] = encoded(Image.fromarray(pixels))
    files["dark/40.png"] = files["dark/0.png"]
    return prepared(root, files)


def prepared(root: Path, files: dict[str, bytes]) -> Path:
    write_files(root / "data/images", files)
    (root / "params.yaml").write_text(DIGITS, encoding="utf-8")
    set_params(root, {"data.name": "image_folder", "data.title": "Photos"})
    run_stages(None, validation=0.2, test=0.2)
    return root


def run(patch: pytest.MonkeyPatch, *arguments: str) -> None:
    patch.setattr("sys.argv", ["audit", *arguments])
    audit.main()


def rows(name: str) -> list[dict[str, str]]:
    with (AUDIT / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("photos")
def test_wrong_labels_are_suggested_accepted_and_not_suggested_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = WRONG & {*read_names("train"), *read_names("validation")}
    assert seen
    run(monkeypatch)
    suggested = rows("suggestions.csv")
    first = {row["file"]: row for row in suggested[: len(seen)]}
    assert first.keys() == seen
    assert {(row["action"], row["value"]) for row in first.values()} <= {("relabel", "dark"), ("relabel", "light")}
    page = (AUDIT / "index.html").read_text(encoding="utf-8")
    assert "Audit of Photos" in page
    assert all(name.replace("&", "&amp;") in page for name in seen)
    assert page.count("data:image/jpeg;base64,") >= len(suggested)
    assert "http" not in page, "nothing is fetched"
    assert "pixels, since cifar_basic is not pretrained" in capsys.readouterr().out

    lines = (AUDIT / "suggestions.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    Path("data/corrections.csv").write_text("".join(lines[: 1 + len(seen)]), encoding="utf-8")
    run_stages(None, validation=0.2, test=0.2)
    run(monkeypatch)
    assert not seen & {row["file"] for row in rows("suggestions.csv")}


def test_a_rare_class_that_is_not_told_from_the_others_is_not_called_wrong(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    files = {f"{name}/{number}.png": encoded(Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)))
             for name, count in {"often": 150, "rare": 10}.items() for number in range(count)}  # fmt: skip
    prepared(root, files)
    run(monkeypatch)
    out = capsys.readouterr().out
    assert "wrong        no estimate: it predicts so few that most doubts are its own mistakes" in out
    assert "sed -n" not in out
    page = (AUDIT / "index.html").read_text(encoding="utf-8")
    assert "no estimate" in page
    assert "<title>Audit of Photos</title>" in page
    assert "About the first" not in page


def test_test_images_are_opened_and_written_of_on_demand_alone(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.move(photos / "data/prepared/test", photos / "kept")
    run(monkeypatch)
    assert sorted(file.name for file in AUDIT.iterdir()) == ["index.html", "suggestions.csv"]
    shutil.move(photos / "kept", photos / "data/prepared/test")
    before = (AUDIT / "suggestions.csv").read_bytes()
    run(monkeypatch, "--test")
    assert (AUDIT / "suggestions.csv").read_bytes() == before
    assert {row["file"] for row in rows("test.csv")} <= set(read_names("test"))
    assert WRONG & set(read_names("test")) <= {row["file"] for row in rows("test.csv")}
    run_stages(None, validation=0.2, test=0.0)
    with pytest.raises(UserError, match=r"there are no test images: set split\.test"):
        run(monkeypatch, "--test")


def test_copies_with_different_labels_are_suggested(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = {f"light/copy{number}.png": f"dark/{number}.png" for number in range(5, 13)}
    copies = {copy: (photos / "data/images" / original).read_bytes() for copy, original in pairs.items()}
    write_files(photos / "data/images", copies)
    run_stages(None, validation=0.2, test=0.2)
    closed = {*read_names("test")} & {*pairs}
    assert 0 < len(closed) < len(pairs)
    run(monkeypatch)
    suggested = {
        row["file"]: (row["action"], row["reason"]) for row in rows("suggestions.csv")[: len(pairs) - len(closed)]
    }
    assert suggested == {
        copy: ("drop", f"equal to {original}, labelled dark") for copy, original in pairs.items() if copy not in closed
    }
    page = (AUDIT / "index.html").read_text(encoding="utf-8")
    assert "light: drop" in page

    line = capsys.readouterr().out.splitlines()[-1]
    assert line.endswith("that are probably wrong, once you have looked at them")
    Path("data/corrections.csv").write_text("file,action,value,reason\n", encoding="utf-8")
    subprocess.run(line, shell=True, check=True)
    accepted = {each.file for each in read_corrections()}
    assert {*suggested} <= accepted
    assert f"the {len(accepted)} that" in line


@pytest.mark.usefixtures("photos")
def test_images_are_compared_by_features_of_the_pretrained_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torchvision

    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=5).state_dict(), "resnet18.pth")
    set_params(Path(), {"model.name": "resnet18", "model.weights": "resnet18.pth"})
    run(monkeypatch)
    assert "features of resnet18" in capsys.readouterr().out
    kept = {file.name.partition("-")[0] for file in Path(".cache/features").glob("*.npy")}
    assert kept == {"train", "validation"}
