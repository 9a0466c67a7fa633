"""The splits, as properties: nothing that belongs together is divided, and the counts are right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.splitting import (
    FREE,
    TEST,
    VALIDATION,
    Splits,
    find_equal,
    join_groups,
    limit,
    match_groups,
    split_images,
)

singles = st.tuples(
    st.lists(st.integers(5, 60), min_size=2, max_size=6), st.floats(0, 0.4), st.floats(0, 0.4), st.integers(0, 9)
)


def split_of(splits: Splits, count: int) -> list[int]:
    found = np.full(count, -1)
    for which, indices in enumerate(splits[:3]):
        found[indices] = which
    return [int(which) for which in found]


def alone(count: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int8]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return np.zeros(count, np.int8), np.arange(count)


@given(singles)
@settings(deadline=None)
def test_every_class_is_split_in_the_shares(case: tuple[list[int], float, float, int]) -> None:
    counts, validation, test, seed = case
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    splits = split_images(labels, *alone(len(labels)), validation, test, seed)
    assert sorted(np.concatenate(splits[:3])) == list(range(len(labels)))
    for indices, share in ((splits.validation, validation), (splits.test, test)):
        got = np.bincount(labels[indices], minlength=len(counts))
        rounding = 1 if share * min(counts) >= 1 else len(counts)  # one of each class may need more
        assert (abs(got - np.array(counts) * share) <= rounding).all()
        assert (got > 0).all() == (share > 0)
        if share * min(counts) >= 1:
            assert abs(len(indices) - share * len(labels)) < 1  # the other share rounds, too
        assert (np.diff(indices) > 0).all()
    again = split_images(labels, *alone(len(labels)), validation, test, seed)
    assert all((left == right).all() for left, right in zip(splits, again, strict=True))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, 30), st.integers(0, 2)), min_size=1))
@settings(deadline=None, max_examples=300)
def test_no_group_and_no_duplicate_is_ever_divided(images: list[tuple[int, int, int, int]]) -> None:
    labels = np.array([label for label, *_ in images])
    groups = [group for _, group, *_ in images]
    digests = [digest for *_, digest, _ in images]
    official = np.array([which for *_, which in images], np.int8)
    joined = join_groups(groups, digests)
    splits = split_images(labels, official, joined, 0.3, 0.0, 0)
    split = split_of(splits, len(images))
    for keys in (groups, digests):
        for key in set(keys):
            assert len({split[index] for index, other in enumerate(keys) if other == key} - {-1}) <= 1
    assert set(np.flatnonzero(official == TEST)) == set(splits.test)
    assert set(np.flatnonzero(official == VALIDATION)) & set(splits.train) == set()
    assert sorted(np.concatenate(splits)) == list(range(len(images)))
    strongest = {group: max(official[joined == group]) for group in set(joined)}
    assert set(splits.dropped) == {index for index, group in enumerate(joined) if official[index] < strongest[group]}


def test_groups_are_stratified_as_well_as_they_allow() -> None:
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(100), generator.integers(1, 12, 100))
    labels = patients % 2
    splits = split_images(labels, np.zeros(len(labels), np.int8), join_groups(patients.tolist()), 0.2, 0.2, 0)
    for indices, share in ((splits.train, 0.6), (splits.validation, 0.2), (splits.test, 0.2)):
        for label in (0, 1):
            expected = share * (labels == label).sum()
            assert abs((labels[indices] == label).sum() - expected) <= 0.05 * expected + 1


def test_three_groups_of_a_class_reach_three_splits() -> None:
    """By need alone the second would join the first in train."""
    patients = np.repeat(np.arange(6), 10)
    labels = patients % 2
    for seed in range(5):
        splits = split_images(labels, np.zeros(60, np.int8), join_groups(patients.tolist()), 0.2, 0.2, seed)
        for indices in splits[:3]:
            assert set(labels[indices]) == {0, 1}


def test_groups_join_through_shared_images() -> None:
    joined = join_groups(["a", "a", "b", "b", "c"], [1, 2, 2, 3, 4])
    assert joined.tolist() == [0, 0, 0, 0, 1]
    assert find_equal([b"x", b"y", b"x", b"z", b"y"]) == [[0, 2], [1, 4]]


def test_groups_are_what_the_expression_matches() -> None:
    names = ["a/p1_0.png", "a/p1_1.png", "b/p2_0.png", "b/x.png"]
    assert match_groups(names, r"p\d") == (["p1", "p1", "p2", "b/x.png"], 1)
    assert match_groups(names, r"p(\d)_") == (["1", "1", "2", "b/x.png"], 1)
    assert match_groups(names, r"x|p(\d)") == (["1", "1", "2", "b/x.png"], 1)


def test_the_seed_decides_and_nothing_else() -> None:
    labels = np.arange(100) % 4
    first, again, other = (split_images(labels, *alone(100), 0.2, 0.2, seed) for seed in (0, 0, 1))
    assert (first.train == again.train).all()
    assert (first.train != other.train).any()


@given(singles, st.integers(1, 200))
@settings(deadline=None)
def test_limit_keeps_proportions(case: tuple[list[int], float, float, int], count: int) -> None:
    counts, validation, test, seed = case
    labels = np.repeat(np.arange(len(counts)), counts)
    splits = split_images(labels, *alone(len(labels)), validation, test, seed)
    limited = limit(splits, labels, count, seed)
    assert len(limited.train) == min(max(count, len(counts)), len(splits.train))
    for before, after in zip(splits[:3], limited[:3], strict=True):
        assert set(after) <= set(before)
        assert set(labels[after]) == set(labels[before])
        wanted = len(before) * min(1, count / len(splits.train))
        assert abs(len(after) - wanted) <= len(counts)


@pytest.mark.parametrize("official", [FREE, TEST])
def test_equal_images_of_one_split_stay(official: int) -> None:
    labels = np.array([0, 1] * 10)
    splits = split_images(labels, np.full(20, official, np.int8), np.repeat(np.arange(10), 2), 0.0, 0.0, 0)
    assert len(splits.dropped) == 0
