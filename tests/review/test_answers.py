"""Comparisons of two tables of answers: images, classes and confusions that changed, against scikit-learn."""

import numpy as np
import pytest
from answer_tables import answered, table
from sklearn.metrics import confusion_matrix, log_loss

from src.review import answers
from src.review.answers import compare, obstacle

MARGIN = 0.01


def test_flips_classes_and_confusions() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    strength = np.full((6, 3), 0.0)
    strength[np.arange(6), [0, 0, 1, 2, 2, 0]] = 3.0
    base = table(labels, strength)
    strength[[0, 3]] = [[0, 1, 0], [0, 9, 0]]
    strength[1] = [0, 5, 0]
    found = compare(base, table(labels, strength), MARGIN)
    # The image whose label lost most comes first.
    assert found["broken"] == [
        {"index": k, "name": f"images/0000{k}.png", "label": "class 0", "base": "class 0", "head": "class 1"}
        for k in (1, 0)
    ]
    assert [(f["index"], f["base"], f["head"]) for f in found["fixed"]] == [(3, "class 2", "class 1")]
    assert found["classes"] == [
        {"name": "class 0", "base": 1.0, "head": 0.0, "images": 2},
        {"name": "class 1", "base": 0.5, "head": 1.0, "images": 2},
    ]
    assert found["confusions"] == [
        {"label": "class 0", "prediction": "class 1", "base": 0, "head": 2},
        {"label": "class 1", "prediction": "class 2", "base": 1, "head": 0},
    ]


def test_confusions_and_log_loss_are_scikit_learns() -> None:
    base, head = answered(500, 0.6, seed=3), answered(500, 0.6, seed=4)
    old, new = (confusion_matrix(t["label"], t["prediction"]) for t in (base, head))
    found = compare(base, head, MARGIN)
    changes = {(c["label"], c["prediction"]): c["head"] - c["base"] for c in found["confusions"]}
    assert changes == {
        (f"class {row}", f"class {column}"): int(new[row, column] - old[row, column])
        for row, column in np.argwhere(old != new).tolist()
        if row != column
    }
    assert [abs(change) for change in changes.values()] == sorted(map(abs, changes.values()), reverse=True)
    for side, each in (("base", base), ("head", head)):
        probabilities = each["label_probability"].to_numpy()
        pairs = np.column_stack([1 - probabilities, probabilities])
        expected = log_loss(np.ones(len(each), dtype=np.int64), pairs, labels=[0, 1])
        assert found["differences"][1][side] == pytest.approx(expected)


def test_a_probability_written_as_zero_counts_as_half_its_last_decimal() -> None:
    base = answered(20, 0.5, seed=1)
    base.loc[0, "label_probability"] = 0.0
    assert answers.log_loss(base)[0] == pytest.approx(-np.log(5e-7))


def test_what_cannot_be_paired_is_refused() -> None:
    base = answered(20, 0.8, seed=1)
    renamed, relabelled = base.copy(), base.copy()
    renamed.loc[3, "name"] = "another.png"
    relabelled["label"] = relabelled["label"].replace({"class 1": "class 9"})
    for head, reason in (
        (base.head(19), "20 images became 19"),
        (renamed, "other images, or in another order: 1 of 20 differ"),
        (relabelled, "other labels"),
        (base.head(0), "there are no images"),
    ):
        assert reason in (obstacle(base, head) or "")
        with pytest.raises(ValueError, match=reason):
            compare(base, head, MARGIN)
    assert obstacle(base, base) is None
