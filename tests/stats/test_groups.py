"""Images of a group that are right or wrong together, by copies, whose truth is known, and by simulation."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from src.evaluation.metric_files import accuracy_sentence
from src.evaluation.metrics import measure
from src.stats.groups import design_effect, sum_by_group
from src.stats.intervals import wilson
from src.stats.paired import accuracy_interval
from src.stats.verdicts import judge

COPIES = 5


def test_sums_are_of_each_group() -> None:
    features = csr_array(np.array([[1.0, 2], [3, 4], [5, 6]]))
    assert sum_by_group(features, ["b", "a", "b"]).toarray().tolist() == [[6, 8], [3, 4]]
    assert sum_by_group(features, None) is features


def test_copies_of_an_image_tell_as_much_as_one() -> None:
    draw = np.random.default_rng(0)
    values = draw.random(400)
    assert design_effect(values, None) == 1
    assert design_effect(values, [str(number) for number in range(400)]) == pytest.approx(1, abs=0.02)
    copies = np.repeat([str(number) for number in range(400)], COPIES)
    assert design_effect(np.repeat(values, COPIES), copies) == pytest.approx(COPIES, rel=0.02)
    assert design_effect(np.ones(40), ["one"] * 40) == 40
    assert design_effect(np.arange(40), ["one", "two"] * 20) > 10  # whose variance is hardly known
    assert design_effect(np.ones(400), np.repeat([str(number) for number in range(40)], 10)) > 10  # nothing tells apart


def test_metrics_of_copies_in_groups_have_the_intervals_of_the_images() -> None:
    draw = np.random.default_rng(1)
    labels = draw.integers(3, size=300)
    logits = draw.normal(size=(300, 3)) + 1.5 * np.eye(3)[labels]
    groups = np.repeat([f"{number:03}" for number in range(300)], COPIES)
    once, copied = measure(logits, labels), (np.repeat(logits, COPIES, axis=0), np.repeat(labels, COPIES))
    found, naive = measure(*copied, groups), measure(*copied)
    assert (found["images"], found["groups"]) == (1500, 300)
    assert "groups" not in naive
    assert " 1,500 images in 300 groups)" in accuracy_sentence(found)
    for name in ("accuracy", "worst_class_accuracy", "macro_f1", "balanced_accuracy", "loss", "brier", "ece"):
        for end in ("", "_ci_low", "_ci_high"):
            assert found[name + end] == pytest.approx(once[name + end], abs=0.004), name + end
        width, narrow = (each[f"{name}_ci_high"] - each[f"{name}_ci_low"] for each in (found, naive))
        assert width > 1.8 * narrow or name == "ece"


def test_the_verdict_on_copies_in_groups_is_that_on_the_images() -> None:
    draw = np.random.default_rng(2)
    labels = draw.integers(4, size=300)
    before, after = (np.where(draw.random(300) < right, labels, (labels + 1) % 4) for right in (0.80, 0.85))
    losses = draw.exponential(size=300), draw.exponential(size=300)
    groups = np.repeat([f"{number:03}" for number in range(300)], COPIES)
    again = [np.repeat(each, COPIES) for each in (labels, before, after, *losses)]
    once = judge(labels, (before, after), losses, 0.01)
    found = judge(again[0], (again[1], again[2]), (again[3], again[4]), 0.01, groups)
    assert (found.verdict, found.images, found.groups) == (once.verdict, 1500, 300)
    assert found.equivalence == pytest.approx(once.equivalence, abs=0.002)
    for mine, theirs in zip(found.differences, once.differences, strict=True):
        assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
        assert mine.p == pytest.approx(theirs.p, abs=0.02)
    assert once.verdict == "no evidence"
    assert judge(again[0], (again[1], again[2]), (again[3], again[4]), 0.01).verdict == "worse"  # by luck of the losses


@pytest.mark.parametrize("sizes", [[20] * 40, [180, 5, 5, 5, 5], [100] + [2] * 50], ids=["equal", "one large", "scene"])
def test_intervals_hold_the_truth_where_groups_differ(sizes: list[int]) -> None:
    draw, held, narrow = np.random.default_rng(3), 0.0, 0.0
    patients = np.repeat([str(number) for number in range(len(sizes))], sizes)
    for _ in range(300):
        right = draw.random(len(patients)) < np.repeat(draw.beta(3, 1, size=len(sizes)), sizes)  # 75 % on average
        low, high = wilson(right.sum(), len(right), design_effect(right, patients))
        held += float(low < 0.75 < high)
        low, high = wilson(right.sum(), len(right))
        narrow += float(low < 0.75 < high)
    assert held > 0.9 * 300
    assert narrow < 0.75 * 300


def test_too_few_groups_show_no_difference() -> None:
    was, groups = np.zeros(200, dtype=bool), np.repeat(["a", "b", "c"], [80, 70, 50])
    now = was.copy()
    now[::2] = True
    low, high = accuracy_interval(was, now, groups)
    assert low < 0.5 < high
    labels = np.zeros(200, dtype=int)
    found = judge(labels, ((~was).astype(int), (~now).astype(int)), (was + 0.7, was + 0.7 - 0.5 * now), 0.01, groups)
    assert found.verdict == "no evidence"  # of 8 ways to swap three groups, 2 are as extreme
    same = judge(labels, (labels, labels), (was + 0.1, was + 0.1), 0.01, groups)
    assert same.verdict == "no evidence"  # three groups cannot show that models are equivalent


def test_one_group_has_no_interval_of_its_loss() -> None:
    labels = np.arange(6) % 2
    found = measure(2.0 * np.eye(2)[labels], labels, ["one"] * 6)
    assert found["accuracy_ci_low"] < 0.3
    assert "loss_ci_low" not in found
