"""Classify real files by a real network, from a file and from MLflow's store."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import data_params, encoded, picture, png, split_params, write_files
from matplotlib import pyplot
from PIL import Image, ImageOps
from prediction_samples import as_table, make_model, run_predict

from src.core.errors import UserError
from src.core.paths import MODEL
from src.data.prepare import prepare
from src.data.prepared import SPLITS, ImageFormat, open_split, read_dataset, read_names
from src.data.raw import fetch_raw
from src.models.model_file import Calibration
from src.prediction.photos import find, read
from src.tracking.model import export_model, send_model
from src.tracking.store import Store, open_store

COLOUR = ImageFormat(height=24, width=24, channels=3, resize="crop")
GREY = ImageFormat(height=24, width=24, channels=1, resize=None)


@pytest.fixture(autouse=True)
def _folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "photos")


def photo(number: int, width: int = 40, height: int = 30, mode: str = "RGB") -> bytes:
    """Return another JPEG for each number."""
    return encoded(picture(number, max(width, height), mode).crop((0, 0, width, height)), "JPEG", quality=90)


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_photos_get_the_pixels_that_split_gave_them(resize: Any, tmp_path: Path) -> None:
    """Photos of many sizes and modes are equal to those in data/prepared, byte by byte."""
    rotated = Image.Exif()
    rotated[0x0112] = 6
    files = {f"cat.{number}.jpg": photo(number, 40 + number, 33) for number in range(9)}
    files |= {f"dog.{number}.jpg": photo(20 + number, 30, 50 + number) for number in range(6)}
    files["dog.6.jpg"] = photo(40, mode="L")
    files["dog.7.png"] = png(41, 60)
    files["dog.8.jpg"] = encoded(picture(42, 50).crop((0, 0, 50, 30)), "JPEG", exif=rotated)
    folder = write_files(tmp_path / "photos", files)
    fetch_raw("image_folder", str(folder), None, 1)
    prepare(data_params(image_size=24, resize=resize), split_params(validation=0.3, test=0.3))
    dataset = read_dataset()
    found = {each.path.name: each.pixels for each in read(find([folder]), dataset.image, 4)}
    for split in SPLITS:
        for name, pixels in zip(read_names(split), open_split(split).images, strict=True):
            np.testing.assert_array_equal(found.pop(Path(name).name), pixels)
    assert not found


def test_a_table_and_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_model(COLOUR, ["cat", 'a "dog", barking'])
    one = write_files(tmp_path / "ä", {"one, two.jpg": photo(1)}) / "one, two.jpg"
    assert run_predict(monkeypatch, one, "--format", "csv", "--top", "2") == 0
    header, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == ["file", "class", "probability", "class_2", "probability_2"]
    assert row[0] == str(one)
    assert {row[1], row[3]} == {"cat", 'a "dog", barking'}
    assert float(row[2]) >= float(row[4])
    assert float(row[2]) + float(row[4]) == pytest.approx(1, abs=2e-6)
    assert run_predict(monkeypatch, one) == 0
    output = capsys.readouterr()
    assert output.out == f"{100 * float(row[2]):6.2f} %  {row[1]:<16}  {one}\n"
    assert output.err == ""


def test_what_remains_possible_at_a_coverage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No class is possible for an image unlike the training images."""
    write_files(tmp_path / "photos", {f"{n}.jpg": photo(n) for n in range(3)})
    calibration = Calibration(temperature=2.0, least={"0.8": 0.9999, "0.95": 0.2, "0.99": 1e-6})
    make_model(COLOUR, ["cat", "dog", "08"], calibration=calibration)
    shown = {}
    for coverage in calibration.least:
        assert run_predict(monkeypatch, "photos", "--format", "csv", "--coverage", coverage, "--top", "3") == 0
        shown[coverage] = as_table(capsys.readouterr().out)
    for _, row in shown["0.95"].iterrows():
        likely = [row[f"class{rank}"] for rank in ("", "_2", "_3") if float(row[f"probability{rank}"]) >= 0.2]
        assert row["possible"] == "|".join(likely) != ""
    assert all(shown["0.8"]["possible"] == "")
    assert all(sorted(possible.split("|")) == ["08", "cat", "dog"] for possible in shown["0.99"]["possible"])
    run_predict(monkeypatch, "photos", "--coverage", "0.8")
    assert capsys.readouterr().out.splitlines()[0].endswith("possible: none of these  photos/0.jpg")


def test_what_cannot_be_read_is_told_and_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model(COLOUR, ["cat", "dog"])
    folder = write_files(
        tmp_path / "photos",
        {
            "a.jpg": photo(1),
            "b/broken.jpg": photo(2)[:300],
            "b/notes.txt": b"not a photo",
            "b/unnamed": photo(3),
            ".hidden/c.jpg": photo(4),
            "raw.dng": encoded(picture(5), "TIFF"),
            "@eaDir/c.jpg/SYNOPHOTO_THUMB_M.jpg": photo(4),
            "z.png": b"",
        },
    )
    (folder / "b/loop").symlink_to(folder)
    assert run_predict(monkeypatch, folder, "--format", "csv") == 1
    output = capsys.readouterr()
    assert [Path(file).name for file in as_table(output.out)["file"]] == ["a.jpg", "unnamed"]
    raw, empty, broken, counts = output.err.splitlines()
    assert broken.startswith(f"unreadable: {folder}/b/broken.jpg: ")
    assert empty.startswith(f"unreadable: {folder}/z.png: ")
    assert raw == f"unreadable: {folder}/raw.dng: raw data of a camera: export it as JPEG"
    assert counts == "2 classified, 3 unreadable, 1 ignored"
    # Named by the user, everything is tried.
    assert run_predict(monkeypatch, folder / "b/notes.txt", folder / "a.jpg") == 1
    assert "notes.txt: not an image" in capsys.readouterr().err


def test_faults_are_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"nowhere\.jpg is missing"):
        run_predict(monkeypatch, "nowhere.jpg")
    with pytest.raises(UserError, match=r"model\.safetensors is missing: run dvc repro"):
        run_predict(monkeypatch, "empty")
    make_model(COLOUR, ["cat", "dog"])
    with pytest.raises(UserError, match="no photos in empty"):
        run_predict(monkeypatch, "empty")
    with pytest.raises(UserError, match="--top is 0"):
        run_predict(monkeypatch, "empty", "--top", "0")
    with pytest.raises(UserError, match="the model knows no coverage: it was trained without validation images"):
        run_predict(monkeypatch, "empty", "--coverage", "0.9")
    with pytest.raises(UserError, match="has no runs yet"):
        run_predict(monkeypatch, "empty", "--model", "models:/digits@champion")


def test_photos_become_grey_and_have_the_models_size_where_its_own_images_had_it(tmp_path: Path) -> None:
    wide = picture(1, 40).crop((0, 0, 40, 30))
    middle = ImageOps.fit(wide, (24, 24), Image.Resampling.BILINEAR)
    folder = write_files(tmp_path / "photos", {"colour.png": png(3, 24), "wide.png": encoded(wide)})
    for found, expected in zip(read(find([folder]), GREY, ahead=2), (picture(3, 24), middle), strict=True):
        assert found.pixels is not None
        grey = np.asarray(expected, np.float64) @ [0.299, 0.587, 0.114]
        np.testing.assert_allclose(found.pixels[..., 0], grey, atol=1)


def test_explanations_are_pictures_under_the_photos_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(COLOUR, ["cat", "dog"])
    folder = write_files(tmp_path / "photos", {"x/a.jpg": photo(1), "y/a.jpg": photo(2)})
    assert run_predict(monkeypatch, folder, "--explain", "maps") == 0
    assert {path.relative_to("maps").as_posix() for path in Path("maps").rglob("*.*")} == {"x/a.jpg.png", "y/a.jpg.png"}
    assert pyplot.imread("maps/x/a.jpg.png").std() > 0.05
    assert run_predict(monkeypatch, folder / "x/a.jpg", "--explain", "one") == 0
    assert Path("one/a.jpg.png").read_bytes()[:4] == b"\x89PNG"
    monkeypatch.setattr("src.prediction.explanation.explains", lambda _: False)
    with pytest.raises(UserError, match="ends with tokens, as transformers do: leave out --explain"):
        run_predict(monkeypatch, folder, "--explain", "none")


@pytest.fixture
def champion(tmp_path: Path, empty_store: bytes) -> Store:
    """Log models/model.safetensors in a run, and register it as models:/photos@champion."""
    make_model(COLOUR, ["cat", "dog", "08"], "cifar_vgg")
    (tmp_path / "mlflow.db").write_bytes(empty_store)
    store = open_store()
    run = store.client.create_run(store.experiment_id)
    images = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    export_model(tmp_path / "exported", images)
    model = send_model(store, run.info.run_id, tmp_path / "exported")
    store.client.create_registered_model("photos")
    source = store.client.get_logged_model(model).artifact_location
    version = store.client.create_model_version("photos", source, run.info.run_id, model_id=model)
    store.client.set_registered_model_alias("photos", "champion", version.version)
    return store


@pytest.mark.slow
def test_the_champion_gives_the_same_as_the_file(
    champion: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_files(tmp_path / "photos", {f"{number}.jpg": photo(number) for number in range(5)})
    arguments = (folder, "--format", "csv", "--top", "3")
    found, named = [], []
    (run,) = champion.client.search_runs([champion.experiment_id])
    for model in (str(MODEL), "models:/photos@champion", run.info.run_id):
        capsys.readouterr()
        assert run_predict(monkeypatch, *arguments, "--model", model) == 0
        table = as_table(capsys.readouterr().out)
        named.append(table[["class", "class_2", "class_3"]].to_numpy().tolist())
        found.append(table[["probability", "probability_2", "probability_3"]].to_numpy(float))
    np.testing.assert_allclose(found[1], found[0], atol=2e-6)
    np.testing.assert_array_equal(found[2], found[1])
    assert named[0] == named[1] == named[2]


def test_nothing_that_a_store_holds_is_run(champion: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow itself would import a module from the model's folder before it refuses the pickle."""
    (folder,) = (path.parent for path in tmp_path.glob("mlartifacts/**/MLmodel"))
    description = folder / "MLmodel"
    (folder / "code").mkdir()
    (folder / "code" / "evil.py").write_text(f"open({str(tmp_path / 'harmed')!r}, 'w')")
    description.write_text(description.read_text().replace("code: null", "code: code"))
    (folder / "data" / "model.pth").write_bytes(b"")
    (folder / "data" / "pickle_module_info.txt").write_text("evil")
    photos = write_files(tmp_path / "photos", {"1.jpg": photo(1)})
    weights = (folder / MODEL.name).read_bytes()
    assert b"height" in weights
    (folder / MODEL.name).write_bytes(weights.replace(b"height", b"weight", 1))
    with pytest.raises(UserError, match="models:/photos@champion is not a complete model of this repository"):
        run_predict(monkeypatch, photos, "--model", "models:/photos@champion")
    (folder / MODEL.name).unlink()
    with pytest.raises(UserError, match="champion was not logged by this repository, or by another version of it"):
        run_predict(monkeypatch, photos, "--model", "models:/photos@champion")
    assert not (tmp_path / "harmed").exists()
