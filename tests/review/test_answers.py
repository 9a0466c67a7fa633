"""Comparisons of two tables of answers: images, classes and confusions that changed, and what was corrected."""

from typing import Any

import numpy as np
import pandas
import pytest
from answer_tables import answered, table, with_flips

from src.core.errors import UserError
from src.review import answers
from src.review.answers import compare, pair

MARGIN = 0.01


def compared(base: pandas.DataFrame, head: pandas.DataFrame) -> dict[str, Any]:
    pairs, corrected = pair(base, head)
    return {**compare(pairs, MARGIN), "corrected": corrected}


def test_flips_classes_and_confusions() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    strength = np.full((6, 3), 0.0)
    strength[np.arange(6), [0, 0, 1, 2, 2, 0]] = [3.0, 0.5, 3.0, 3.0, 3.0, 3.0]
    base = table(labels, strength)
    strength[[0, 3]] = [[0, 1, 0], [0, 9, 0]]
    strength[[1, 5]] = [[0, 5, 0], [0, 0, 1]]
    found = compared(base, table(labels, strength))
    # The image whose label lost or gained most comes first.
    assert found["broken"] == [
        {"index": k, "name": f"images/0000{k}.png", "label": "class 0", "base": "class 0", "head": "class 1"}
        for k in (0, 1)
    ]
    fixed = [(3, "class 2", "class 1"), (5, "class 0", "class 2")]
    assert [(each["index"], each["base"], each["head"]) for each in found["fixed"]] == fixed
    assert found["classes"] == [
        {"name": "class 0", "base": 1.0, "head": 0.0, "images": 2},
        {"name": "class 1", "base": 0.5, "head": 1.0, "images": 2},
        {"name": "class 2", "base": 0.5, "head": 1.0, "images": 2},
    ]
    assert found["confusions"] == [
        {"label": "class 0", "prediction": "class 1", "base": 0, "head": 2},
        {"label": "class 1", "prediction": "class 2", "base": 1, "head": 0},
        {"label": "class 2", "prediction": "class 0", "base": 1, "head": 0},
    ]


def test_a_probability_written_as_zero_counts_as_half_its_last_decimal() -> None:
    base = answered(20, 0.5, seed=1)
    base.loc[0, "label_probability"] = 0.0
    assert answers.log_loss(base["label_probability"])[0] == pytest.approx(-np.log(5e-7))


def test_what_cannot_be_paired_is_refused() -> None:
    base = answered(40, 0.8, seed=1)
    for head, reason in (
        (base.head(35), "other images: 35 of 40 are shared"),
        (pandas.concat([base.assign(name="more " + base["name"]).head(5), base]), "other images: 40 of 45 are shared"),
        (base.assign(name="other " + base["name"]), "other images: 0 of 40 are shared"),
        (base.assign(name=base["name"].replace(base.loc[0, "name"], base.loc[1, "name"])), "have the same name"),
        (relabelled(base, 5), "other labels: 5 of 40 differ"),
        (base.assign(label=["a new class", *base["label"][1:]]), "other labels: 1 of 40 differ"),
        (base.head(0), "there are no images"),
    ):
        with pytest.raises(UserError, match=reason):
            pair(base, head)
    for damaged, reason in ((base.head(0), "no images"), (base.assign(name="one"), "the same name")):
        with pytest.raises(UserError, match=reason):
            pair(damaged, base)
    for head in (base, base.head(36), relabelled(base, 4)):  # one in ten may differ
        pair(base, head)


def relabelled(table: pandas.DataFrame, count: int) -> pandas.DataFrame:
    """The first labels become the next class, which the model took them for with a probability of 0.25."""
    found = table.copy()
    found.loc[: count - 1, "label"] = [f"class {(int(label[-1]) + 1) % 10}" for label in table["label"][:count]]
    found.loc[: count - 1, "label_probability"] = 0.25
    return found


def test_corrected_labels_are_those_of_both_sides() -> None:
    base = answered(400, 0.8, seed=1)
    head = with_flips(relabelled(base, 3), 0, 20)
    was = base["prediction"] == head["label"]
    found = compared(base, head)
    assert found["corrected"] == "3 labels corrected"
    accuracy, loss, _ = found["differences"]
    assert accuracy["base"] == was.mean() != (base["prediction"] == base["label"]).mean()
    assert accuracy["head"] == (head["prediction"] == head["label"]).mean()
    assert len(found["broken"]) == 0
    assert [flip["label"] for flip in found["fixed"]] == [head.loc[flip["index"], "label"] for flip in found["fixed"]]
    # No table holds the base's probability of a label that it did not have.
    known = (base["label"] == head["label"]).to_numpy()
    losses = [answers.log_loss(each["label_probability"]) for each in (base, head)]
    assert loss["difference"] == pytest.approx((losses[1] - losses[0])[known].sum() / 400)
    assert loss["difference"] < 0
    assert loss["head"] == pytest.approx(losses[1].mean())


def test_images_that_left_or_came_are_not_compared() -> None:
    base = answered(400, 0.8, seed=1)
    moved = answered(3, 0.0, seed=5).assign(name=["moved 1", "moved 2", "moved 3"])
    kept = with_flips(base, 4, 10).drop([7, 20])
    head = pandas.concat([moved, kept], ignore_index=True).assign(index=range(401))
    found, alone = compared(base, head), compared(base.drop([7, 20]), kept)
    assert (found["corrected"], alone["corrected"]) == ("2 images removed, 3 images added", "")
    assert found["images"] == 398
    assert found["differences"] == alone["differences"]
    for which in ("broken", "fixed"):
        assert [flip["name"] for flip in found[which]] == [flip["name"] for flip in alone[which]]
        assert [head.loc[flip["index"], "name"] for flip in found[which]] == [flip["name"] for flip in found[which]]
    shuffled = compared(base, head.sample(frac=1, random_state=0))
    ps = [each["differences"][0]["p"] for each in (shuffled, alone)]
    assert ps[0] == ps[1] < 1, "the order of the table decides nothing"
    both = compared(base, relabelled(head.iloc[3:].reset_index(drop=True), 1))
    assert both["corrected"] == "1 label corrected, 2 images removed"
