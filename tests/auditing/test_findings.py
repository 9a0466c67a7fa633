"""Wrong labels, images unlike all others and shortcuts are found if there are some, and only then."""

from pathlib import Path

import numpy as np
import pytest
from data_samples import encoded, pack_tar, picture, run_stages, write_files
from numpy.typing import NDArray

from src.auditing.findings import label_issues, outliers, suggest, wrong_labels
from src.auditing.probabilities import out_of_fold
from src.auditing.samples import Samples, together
from src.auditing.shortcuts import properties, shortcuts
from src.core.errors import UserError
from src.data.prepared import open_split

CLASSES = ["ant", "bee", "cow"]


def features(count: int, distance: float = 4.0, size: int = 20) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return points around the centres of three classes, and their labels."""
    labels = np.arange(count) % 3
    points = np.random.default_rng(0).normal(size=(count, size))
    points[:, :3] += distance * np.eye(3)[labels]
    return points.astype(np.float32), labels


def test_flipped_labels_are_found_and_counted_and_right_ones_left_alone() -> None:
    points, labels = features(300, distance=8)
    given = labels.copy()
    given[:15] = (given[:15] + 1) % 3
    probabilities = out_of_fold(points, given, np.arange(300), CLASSES)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    issues = label_issues(given, probabilities)
    assert np.isin(np.arange(15), issues[:18]).all()
    assert 12 <= wrong_labels(given, probabilities) <= 20
    probabilities = out_of_fold(points, labels, np.arange(300), CLASSES)
    assert len(label_issues(labels, probabilities)) == 0
    assert wrong_labels(labels, probabilities) == 0


def test_what_belongs_together_is_not_learned_from_each_other() -> None:
    """Each image is there twice, with the same random label, which a model could learn from the other copy."""
    points, _ = features(120, distance=0, size=200)
    given = np.random.default_rng(1).integers(0, 3, 120)
    twice, labels = np.concatenate([points, points]), np.concatenate([given, given])
    known = {}
    for name, units in ("apart", np.arange(240)), ("together", np.tile(np.arange(120), 2)):
        probabilities = out_of_fold(twice, labels, units, CLASSES)
        known[name] = (probabilities.argmax(axis=1) == labels).mean()
    assert known["apart"] > known["together"] + 0.1
    assert known["together"] < 0.45


def test_a_class_of_one_image_is_named() -> None:
    points, labels = features(30)
    labels[labels == 2] = 1
    labels[0] = 2
    with pytest.raises(UserError, match="class 'cow' has less than two different images"):
        out_of_fold(points, labels, np.arange(30), CLASSES)


def test_groups_may_have_images_of_every_class() -> None:
    points, labels = features(60, distance=8)
    probabilities = out_of_fold(points, labels, np.arange(60) // 3, CLASSES)
    assert (probabilities.argmax(axis=1) == labels).all()
    for seed in range(9):  # the rarest class is in two groups of ten
        groups = np.random.default_rng(seed).permutation(20) // 2
        few = np.isin(np.arange(20), [groups.tolist().index(0), groups.tolist().index(1)])
        out_of_fold(points[:20], np.where(few, 2, np.arange(20) % 2), groups, CLASSES)
    with pytest.raises(UserError, match="class 'ant' has less than two different images, or groups of images"):
        out_of_fold(points, labels, np.zeros(60, np.int64), CLASSES)


def samples(images: NDArray[np.uint8], labels: NDArray[np.int64], names: list[str]) -> Samples:
    numbers = np.arange(len(names))
    return Samples(images, labels, names, np.repeat("train", len(names)), same=numbers, units=numbers)


def test_a_photo_encoded_again_is_in_the_unit_of_the_first_where_split_puts_them_together(root: Path) -> None:
    files: dict[str, bytes] = {}
    for number in range(12):
        photo = picture(number).resize((64, 64))
        name = f"{('ant', 'bee')[number % 2]}/{number}"
        files |= {f"{name}.png": encoded(photo), f"{name}-again.jpg": encoded(photo, "JPEG", quality=60)}
    run_stages(write_files(root / "photos", files), validation=0.0, test=0.0)
    found = together({"train": open_split("train")}, near=True)
    unit = dict(zip(found.names, found.units, strict=True))
    assert all(unit[name] == unit[name.replace(".png", "-again.jpg")] for name in files if name.endswith(".png"))
    assert len(set(unit.values())) == 12
    assert len(set(together({"train": open_split("train")}, near=False).units)) == 24


def test_of_nearly_equal_images_with_different_labels_the_less_probable_is_to_drop() -> None:
    points, labels = features(12)
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
    names, same = [f"{number}.png" for number in range(12)], np.array([0, 0, *range(2, 12)])
    probabilities = np.full((12, 3), 0.05) + 0.85 * np.eye(3)[labels]
    probabilities[:2] = [0.2, 0.7, 0.1]
    found = suggest(samples(images, labels, names)._replace(same=same), points, probabilities, CLASSES)
    assert found.iloc[0].tolist() == ["0.png", "drop", "", "nearly equal to 1.png, labelled bee"]
    assert found["file"].is_unique


def test_suggestions_are_corrections_and_strangers_come_last() -> None:
    points, labels = features(300, distance=8)
    given = labels.copy()
    given[7] = 0
    points[9] = -points.mean(axis=0) * 20
    names = [f"{number}.png" for number in range(300)]
    probabilities = out_of_fold(points, given, np.arange(300), CLASSES)
    found = suggest(samples(np.zeros((300, 1, 1, 1), np.uint8), given, names), points, probabilities, CLASSES)
    assert list(found.columns) == ["file", "action", "value", "reason"]
    relabelled = found[found["action"] == "relabel"]
    file, _, value, reason = relabelled.loc[7]
    assert (file, value) == ("7.png", "bee")
    assert "% ant as labelled" in str(reason)
    assert 9 in outliers(points)
    assert found["file"].is_unique
    assert found["action"].tolist() == sorted(found["action"], reverse=True)


def test_brightness_size_and_format_that_tell_the_class_are_shortcuts(root: Path) -> None:
    """Ants are darker, larger and in another format than bees, with the same aspect ratio."""
    labels = np.arange(60) % 2
    images = np.random.default_rng(0).integers(0, 100, (60, 6, 6, 3), np.uint8) + (120 * labels[:, None, None, None])
    files = {}
    for number, label in enumerate(labels):
        kind, size = ("PNG", 6 + number % 3) if label else ("JPEG", 40 + number % 3)
        files[f"{number}.jpg"] = encoded(picture(number, size), kind)
    (root / "data/raw").mkdir(parents=True)
    pack_tar(root / "data/raw/photos.tar", {**files, "readme.txt": b"no image"})
    found = properties(samples(images.astype(np.uint8), labels, list(files)), 2**20)
    assert set(found) == {"brightness", "contrast", "image size", "file format", "file size"}, "others never vary"
    accuracy = dict(shortcuts(found, labels, np.arange(60)))
    assert min(accuracy[name] for name in ("brightness", "image size", "file format", "file size")) > 0.95
    assert list(accuracy.values()) == sorted(accuracy.values(), reverse=True)
    random = {"noise": np.random.default_rng(3).normal(size=60)}
    assert dict(shortcuts(random, labels, np.arange(60)))["noise"] < 0.75
    assert set(properties(samples(images.astype(np.uint8), labels, ["other.jpg"] * 60), 2**20)) == {
        "brightness", "contrast",
    }  # fmt: skip


def test_what_tells_the_patient_is_no_shortcut_to_the_class() -> None:
    """Each of twenty patients has a brightness of its own, and one class."""
    patient = np.arange(200) // 10
    labels = np.random.default_rng(0).permutation(np.arange(20) % 2)[patient]
    brightness = {"brightness": patient + np.random.default_rng(1).normal(scale=0.1, size=200)}
    assert dict(shortcuts(brightness, labels, np.arange(200)))["brightness"] > 0.8
    assert dict(shortcuts(brightness, labels, patient))["brightness"] < 0.6
