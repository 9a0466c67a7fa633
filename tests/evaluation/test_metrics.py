"""Metrics and tables against scikit-learn and against plain loops."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn import metrics as sklearn

from src.core.errors import UserError
from src.evaluation import tables
from src.evaluation.classes import confusion, per_class, per_group
from src.evaluation.metrics import measure, unseen_accuracy
from src.evaluation.predictions import predictions
from src.evaluation.reliability import reliability
from src.stats.intervals import bootstrap, wilson

HARD_NAMES = ["a,b", 'say "no"', "two\nlines", "cr\rlf\r\n", "жук", "犬", "NA", "007", "1e5", " space ", "=1+1", "'"]


def example(images: int, classes: int, strength: float = 2.0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits (N, K) that are right more often than not, and labels (N,), the last class never among them."""
    draw = np.random.default_rng(images + classes)
    labels = draw.integers(max(1, classes - 1), size=images)
    logits = draw.normal(size=(images, classes))
    logits[np.arange(images), labels] += strength
    return logits.astype(np.float32), labels


def test_accuracy_without_copies_of_training_images() -> None:
    logits, labels = example(400, 3)
    correct, copies = logits.argmax(axis=1) == labels, np.arange(400) % 4 == 0
    found = unseen_accuracy(logits, labels, copies)
    low, high = wilson(int(correct[~copies].sum()), 300)
    assert found == pytest.approx(
        {
            "unseen_images": 300,
            "unseen_accuracy": float(correct[~copies].mean()),
            "unseen_accuracy_ci_low": float(low),
            "unseen_accuracy_ci_high": float(high),
        },
        abs=1e-6,
    )
    for every in (False, True):
        assert unseen_accuracy(logits, labels, np.full(400, every)) == {}


@pytest.mark.parametrize("classes", [2, 5, 6, 10, 100])
def test_metrics_are_those_of_sklearn(classes: int) -> None:
    logits, labels = example(400, classes)
    probabilities, predicted = softmax(logits.astype(np.float64), axis=1), logits.argmax(axis=1)
    result = measure(logits, labels)
    every = np.arange(classes)
    expected = {
        "images": 400,
        "accuracy": sklearn.accuracy_score(labels, predicted),
        "loss": sklearn.log_loss(labels, probabilities, labels=every),
        "macro_f1": sklearn.f1_score(labels, predicted, average="macro"),
        "balanced_accuracy": sklearn.recall_score(labels, predicted, average="macro", labels=np.unique(labels)),
        "brier": ((probabilities - np.eye(classes)[labels]) ** 2).sum(axis=1).mean(),
        "ece": result["ece"],  # test_calibration adds it up from its bins
        "worst_class_accuracy": sklearn.recall_score(labels, predicted, average=None, labels=np.unique(labels)).min(),
    }
    if classes > 5:
        expected["top5_accuracy"] = sklearn.top_k_accuracy_score(labels, logits, k=5, labels=every)
    values = {name: value for name, value in result.items() if "_ci_" not in name}
    assert values == pytest.approx(expected, abs=1e-6)
    for name in values.keys() - {"images"}:
        assert result[f"{name}_ci_low"] <= values[name] <= result[f"{name}_ci_high"]


def test_intervals_of_shares_are_wilsons() -> None:
    logits, labels = example(400, 10)
    result = measure(logits, labels)
    right = logits.argmax(axis=1) == labels
    worst = min(np.unique(labels), key=lambda label: right[labels == label].mean())
    for name, of in {"accuracy": right, "worst_class_accuracy": right[labels == worst]}.items():
        found = [result[f"{name}_ci_low"], result[f"{name}_ci_high"]]
        assert found == pytest.approx(np.array(wilson(of.sum(), len(of))), abs=1e-6)


@pytest.mark.parametrize(("images", "too_sure"), [(100, 1.0), (1_000, 1.0), (1_000, 1.5)])
def test_the_interval_of_the_calibration_error_holds_the_true_one(
    images: int, too_sure: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their quantiles alone, resamples would never hold the 0 of a well calibrated model."""
    monkeypatch.setattr("src.evaluation.metrics.bootstrap", partial(bootstrap, resamples=500))
    draw = np.random.default_rng(images)

    def sample(images: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        logits = (3 * draw.normal(size=(images, 2))).astype(np.float32)
        labels = (draw.random(images) < softmax(logits, axis=1)[:, 1]).astype(np.int64)
        return np.float32(too_sure) * logits, labels

    table = reliability(*sample(300_000), None)
    gaps = (table["accuracy"] - table["confidence"]).abs()
    true = 0.0 if too_sure == 1 else (table["images"] * gaps).sum() / 300_000
    found = [measure(*sample(images)) for _ in range(60)]
    assert sum(each["ece_ci_low"] <= true <= each["ece_ci_high"] for each in found) >= 52
    assert all(each["ece_ci_low"] <= each["ece"] <= each["ece_ci_high"] for each in found)


@pytest.mark.parametrize(("images", "rare", "right"), [(20, 0.5, 0.995), (200, 0.05, 0.95), (200, 0.3, 0.8)])
def test_intervals_of_macro_f1_and_balanced_accuracy_hold_the_truth(
    images: int, rare: float, right: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all images are right, too, or all of a class of ten: nothing else is possible says a plain bootstrap."""
    monkeypatch.setattr("src.evaluation.metrics.bootstrap", partial(bootstrap, resamples=300))
    draw = np.random.default_rng(0)

    shares = np.array([1 - rare, rare])
    predicted = shares * right + (1 - shares) * (1 - right)
    true = {"macro_f1": (2 * shares * right / (shares + predicted)).mean(), "balanced_accuracy": right}
    held = dict.fromkeys(true, 0)
    for _ in range(100):
        labels = (draw.random(images) < rare).astype(np.int64)
        found = measure(np.eye(2)[np.where(draw.random(images) < right, labels, 1 - labels)], labels)
        for name in held:
            held[name] += found[f"{name}_ci_low"] <= true[name] <= found[f"{name}_ci_high"]
    assert min(held.values()) >= 90


def test_the_interval_of_macro_f1_holds_the_truth_of_many_classes_in_few_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Resamples lack some of the groups, and have a lower macro F1 than the whole."""
    monkeypatch.setattr("src.evaluation.metrics.bootstrap", partial(bootstrap, resamples=200))
    draw = np.random.default_rng(0)

    def sample(groups: int) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
        places = np.repeat(np.arange(groups), 20)
        own = draw.integers(10, size=groups)[places]  # most images of a group have its class, and its faults
        labels = np.where(draw.random(len(places)) < 0.6, own, draw.integers(10, size=len(places)))
        scores = draw.normal(size=(len(places), 10)) + draw.normal(size=(groups, 10))[places] + 3 * np.eye(10)[labels]
        return scores, labels, list(map(str, places))

    scores, labels, _ = sample(10_000)
    true = sklearn.f1_score(labels, scores.argmax(axis=1), average="macro")
    found = [measure(*sample(20)) for _ in range(100)]
    held = sum(each["macro_f1_ci_low"] <= true <= each["macro_f1_ci_high"] for each in found)
    assert held >= 91, "86 without moving it"


@pytest.mark.parametrize("images", [2, 5])
def test_intervals_of_the_loss_hold_the_truth_of_few_images_too(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two images, half of the resamples hold one of them twice: alone they would hold the truth in half of cases."""
    monkeypatch.setattr("src.evaluation.metrics.bootstrap", partial(bootstrap, resamples=200))
    draw = np.random.default_rng(0)

    def sample(images: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        labels = draw.integers(3, size=images)
        return draw.normal(size=(images, 3)) + 2 * np.eye(3)[labels], labels

    true = measure(*sample(100_000))["loss"]
    found = [measure(*sample(images)) for _ in range(100)]
    assert sum(each["loss_ci_low"] <= true <= each["loss_ci_high"] for each in found) >= 84


def test_of_one_image_the_loss_has_no_interval() -> None:
    found = measure(np.array([[2.0, 0]]), np.array([0]))
    assert found["loss"] == pytest.approx(np.log1p(np.exp(-2)), abs=1e-6)
    assert found["accuracy_ci_low"] < 0.3
    assert not {f"{name}_ci_{end}" for name in ("loss", "brier", "ece") for end in ("low", "high")} & found.keys()


def test_outputs_that_are_not_numbers_are_a_fault() -> None:
    logits, labels = example(10, 3)
    logits[4, 1] = np.nan
    with pytest.raises(UserError, match="diverged"):
        measure(logits, labels)


def test_of_equal_scores_the_lower_class_comes_first() -> None:
    result = measure(np.zeros((7, 7)), np.arange(7))
    assert (result["accuracy"], result["top5_accuracy"]) == pytest.approx((1 / 7, 5 / 7), abs=1e-6)


def test_names_survive_the_file(tmp_path: Path) -> None:
    logits, labels = example(60, len(HARD_NAMES))
    names = [f"{name}/{index}.png" for index, name in enumerate(HARD_NAMES * 5)]
    table = predictions(logits, labels, names, HARD_NAMES)
    tables.write(tmp_path / "p.csv", table)
    again = tables.read(tmp_path / "p.csv")
    for column in ("name", "label", "prediction"):
        assert again[column].tolist() == table[column].tolist()
    np.testing.assert_allclose(again["confidence"], table["confidence"], atol=5e-7)
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:  # by another reader
        assert [row["name"] for row in csv.DictReader(file)] == names

    by_class = per_class(table, HARD_NAMES)
    tables.write(tmp_path / "c.csv", by_class)
    pandas.testing.assert_frame_equal(tables.read(tmp_path / "c.csv"), by_class, atol=1e-6, check_dtype=False)
    pairs = confusion(table, HARD_NAMES)
    tables.write(tmp_path / "m.csv", pairs)
    pandas.testing.assert_frame_equal(tables.read(tmp_path / "m.csv"), pairs, check_dtype=False)


def test_classes_are_those_of_sklearn() -> None:
    logits, labels = example(200, 6, strength=1.0)
    classes = [f"class {label}" for label in range(7)]  # the last one neither labelled nor predicted
    logits = np.column_stack([logits, np.full(200, -100.0)]).astype(np.float32)
    predicted = logits.argmax(axis=1)
    table = predictions(logits, labels, [""] * 200, classes)
    precision, recall, f1, images = sklearn.precision_recall_fscore_support(
        labels, predicted, labels=np.arange(7), zero_division=np.nan
    )
    result = per_class(table, classes)
    assert result["images"].tolist() == images.tolist()
    np.testing.assert_allclose(result["precision"], precision)
    np.testing.assert_allclose(result["accuracy"], recall)
    np.testing.assert_allclose(result["f1"], f1)
    assert result.loc[6, ["accuracy", "ci_low", "ci_high", "precision"]].isna().all()

    counts = sklearn.confusion_matrix(labels, predicted, labels=np.arange(7))
    pairs = confusion(table, classes).set_index(["label", "prediction"])["count"].to_dict()
    expected = {(classes[i], classes[j]): counts[i, j] for i, j in np.argwhere(counts)}
    assert pairs == expected


def test_groups_are_those_of_a_loop(tmp_path: Path) -> None:
    logits, labels = example(200, 6, strength=1.0)
    classes = [f"class {label}" for label in range(6)]
    table = predictions(logits, labels, [""] * 200, classes)
    groups = np.array(["NA", "007", "жук", "b"] * 50)
    assert per_group(table).empty
    result = per_group(table.assign(group=groups))
    assert result["group"].tolist() == ["007", "NA", "b", "жук"]
    for row in result.to_dict("records"):
        right = (logits.argmax(axis=1) == labels)[groups == row["group"]].sum()
        assert (row["images"], row["correct"], row["accuracy"]) == (50, right, right / 50)
        assert (row["ci_low"], row["ci_high"]) == tuple(map(float, wilson(right, 50)))
    tables.write(tmp_path / "g.csv", result)
    assert tables.read(tmp_path / "g.csv")["group"].tolist() == result["group"].tolist()
