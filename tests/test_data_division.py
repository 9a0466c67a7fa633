"""The division, as properties: nothing that belongs together is divided, and the counts are right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.splitting import FREE, TEST, VALIDATION, Division, divide, find_equal, find_units, limit, match_groups

singles = st.tuples(
    st.lists(st.integers(5, 60), min_size=2, max_size=6), st.floats(0, 0.4), st.floats(0, 0.4), st.integers(0, 9)
)


def sides(division: Division, count: int) -> list[int]:
    side = np.full(count, -1)
    for which, indices in enumerate(division[:3]):
        side[indices] = which
    return [int(which) for which in side]


def alone(count: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int8]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return np.zeros(count, np.int8), np.arange(count)


@given(singles)
@settings(deadline=None)
def test_every_class_is_divided_in_the_shares(case: tuple[list[int], float, float, int]) -> None:
    counts, validation, test, seed = case
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    division = divide(labels, *alone(len(labels)), validation, test, seed)
    assert sorted(np.concatenate(division[:3])) == list(range(len(labels)))
    for indices, share in ((division.validation, validation), (division.test, test)):
        got = np.bincount(labels[indices], minlength=len(counts))
        rounding = 1 if share * min(counts) >= 1 else len(counts)  # one of each class may need more
        assert (abs(got - np.array(counts) * share) <= rounding).all()
        assert (got > 0).all() == (share > 0)
        if share * min(counts) >= 1:
            assert abs(len(indices) - share * len(labels)) < 1  # the other share rounds, too
        assert (np.diff(indices) > 0).all()
    again = divide(labels, *alone(len(labels)), validation, test, seed)
    assert all((left == right).all() for left, right in zip(division, again, strict=True))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, 30), st.integers(0, 2)), min_size=1))
@settings(deadline=None, max_examples=300)
def test_no_group_and_no_duplicate_is_ever_divided(images: list[tuple[int, int, int, int]]) -> None:
    labels = np.array([label for label, *_ in images])
    groups = [group for _, group, *_ in images]
    digests = [digest for *_, digest, _ in images]
    official = np.array([which for *_, which in images], np.int8)
    units = find_units(groups, digests)
    division = divide(labels, official, units, 0.3, 0.0, 0)
    side = sides(division, len(images))
    for keys in (groups, digests):
        for key in set(keys):
            assert len({side[index] for index, other in enumerate(keys) if other == key} - {-1}) <= 1
    assert set(np.flatnonzero(official == TEST)) == set(division.test)
    assert set(np.flatnonzero(official == VALIDATION)) & set(division.train) == set()
    assert sorted(np.concatenate(division)) == list(range(len(images)))
    strongest = {unit: max(official[units == unit]) for unit in set(units)}
    assert set(division.dropped) == {index for index, unit in enumerate(units) if official[index] < strongest[unit]}


def test_groups_are_stratified_as_well_as_they_allow() -> None:
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(100), generator.integers(1, 12, 100))
    labels = patients % 2
    division = divide(labels, np.zeros(len(labels), np.int8), find_units(patients.tolist()), 0.2, 0.2, 0)
    for indices, share in ((division.train, 0.6), (division.validation, 0.2), (division.test, 0.2)):
        for label in (0, 1):
            expected = share * (labels == label).sum()
            assert abs((labels[indices] == label).sum() - expected) <= 0.05 * expected + 1


def test_three_groups_of_a_class_reach_three_sides() -> None:
    """By need alone the second would join the first in train."""
    patients = np.repeat(np.arange(6), 10)
    labels = patients % 2
    for seed in range(5):
        division = divide(labels, np.zeros(60, np.int8), find_units(patients.tolist()), 0.2, 0.2, seed)
        for indices in division[:3]:
            assert set(labels[indices]) == {0, 1}


def test_units_join_through_shared_images() -> None:
    units = find_units(["a", "a", "b", "b", "c"], [1, 2, 2, 3, 4])
    assert units.tolist() == [0, 0, 0, 0, 1]
    assert find_equal([b"x", b"y", b"x", b"z", b"y"]) == [[0, 2], [1, 4]]


def test_groups_are_what_the_expression_matches() -> None:
    names = ["a/p1_0.png", "a/p1_1.png", "b/p2_0.png", "b/x.png"]
    assert match_groups(names, r"p\d") == (["p1", "p1", "p2", "b/x.png"], 1)
    assert match_groups(names, r"p(\d)_") == (["1", "1", "2", "b/x.png"], 1)
    assert match_groups(names, r"x|p(\d)") == (["1", "1", "2", "b/x.png"], 1)


def test_the_seed_decides_and_nothing_else() -> None:
    labels = np.arange(100) % 4
    first, again, other = (divide(labels, *alone(100), 0.2, 0.2, seed) for seed in (0, 0, 1))
    assert (first.train == again.train).all()
    assert (first.train != other.train).any()


@given(singles, st.integers(1, 200))
@settings(deadline=None)
def test_limit_keeps_proportions(case: tuple[list[int], float, float, int], count: int) -> None:
    counts, validation, test, seed = case
    labels = np.repeat(np.arange(len(counts)), counts)
    division = divide(labels, *alone(len(labels)), validation, test, seed)
    limited = limit(division, labels, count, seed)
    assert len(limited.train) == min(max(count, len(counts)), len(division.train))
    for before, after in zip(division[:3], limited[:3], strict=True):
        assert set(after) <= set(before)
        assert set(labels[after]) == set(labels[before])
        wanted = len(before) * min(1, count / len(division.train))
        assert abs(len(after) - wanted) <= len(counts)


@pytest.mark.parametrize("official", [FREE, TEST])
def test_equal_images_of_one_side_stay(official: int) -> None:
    labels = np.array([0, 1] * 10)
    division = divide(labels, np.full(20, official, np.int8), np.repeat(np.arange(10), 2), 0.0, 0.0, 0)
    assert len(division.dropped) == 0
