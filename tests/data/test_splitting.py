"""The splits, as properties: nothing that belongs together is divided, the shares are right, and little ever moves."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from src.data.splitting import FREE, TEST, TRAIN, VALIDATION, find_units, limit, match_groups, place, ranks

counts_and_shares = st.tuples(
    st.lists(st.integers(5, 60), min_size=2, max_size=6), st.floats(0, 0.4), st.floats(0, 0.4), st.integers(0, 9)
)


def rank(count: int, seed: int = 0) -> NDArray[np.uint64]:
    return ranks([b"%d" % number for number in range(count)], seed)


def placed(labels: NDArray[np.int64], validation: float, test: float, seed: int = 0) -> NDArray[np.int8]:
    """Images of which none belongs to another, and none to an official split."""
    count = len(labels)
    return place(labels, np.zeros(count, np.int8), np.arange(count), rank(count, seed), validation, test)


@given(counts_and_shares)
@settings(deadline=None)
def test_every_class_is_split_in_the_shares(case: tuple[list[int], float, float, int]) -> None:
    counts, validation, test, seed = case
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    split = placed(labels, validation, test, seed)
    for which, share in ((VALIDATION, validation), (TEST, test)):
        got = np.bincount(labels[split == which], minlength=len(counts))
        assert (abs(got - np.array(counts) * share) < 2).all(), "rounded, and where needed one more than none"
        assert (got > 0).all() == (share > 0)
    assert set(np.unique(labels[split == TRAIN])) == set(range(len(counts)))
    assert (split == placed(labels, validation, test, seed)).all()


@given(counts_and_shares, st.integers(0, 59))
@settings(deadline=None)
def test_a_new_image_moves_one_at_each_border_of_its_class(case: tuple[list[int], float, float, int], new: int) -> None:
    counts, validation, test, seed = case
    labels = np.repeat(np.arange(len(counts)), counts)
    new %= len(labels)
    before = np.delete(np.arange(len(labels)), new)
    units, official, numbers = np.arange(len(labels)), np.zeros(len(labels), np.int8), rank(len(labels), seed)
    without = place(labels[before], official[before], units[before], numbers[before], validation, test)
    moved = before[without != place(labels, official, units, numbers, validation, test)[before]]
    assert len(moved) <= 2
    assert (labels[moved] == labels[new]).all()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, 30), st.integers(0, 2)), min_size=1))
@settings(deadline=None, max_examples=300)
def test_no_unit_is_divided_and_official_splits_stay(images: list[tuple[int, int, int, int]]) -> None:
    labels = np.array([label for label, *_ in images])
    groups = [group for _, group, *_ in images]
    contents = [content for *_, content, _ in images]
    official = np.array([which for *_, which in images], np.int8)
    split = place(labels, official, find_units(np.array(groups), np.array(contents)), rank(len(images)), 0.3, 0.2)
    assert (split[official != FREE] == official[official != FREE]).all()
    for keys in (groups, contents):
        for key in set(keys):
            of_one = [index for index, other in enumerate(keys) if other == key and official[index] == FREE]
            assert len(set(split[of_one].tolist())) <= 1


def test_groups_are_stratified_as_well_as_they_allow() -> None:
    patients = np.repeat(np.arange(100), np.random.default_rng(0).integers(1, 12, 100))
    labels = patients % 2
    of_patient = ranks([b"%d" % patient for patient in patients], 0)
    split = place(labels, np.zeros(len(labels), np.int8), patients, of_patient, 0.2, 0.2)
    for which, share in ((TRAIN, 0.6), (VALIDATION, 0.2), (TEST, 0.2)):
        for label in (0, 1):
            expected = share * (labels == label).sum()
            assert abs((labels[split == which] == label).sum() - expected) <= 12


def test_sets_of_copies_are_in_each_split_as_often_as_single_images() -> None:
    units = np.concatenate([np.arange(400), np.repeat(np.arange(400, 450), 5)])
    official = np.zeros(len(units), np.int8)
    copies = [place(0 * units, official, units, rank(len(units), seed), 0.2, 0.2)[400:] for seed in range(20)]
    shares = np.bincount(np.concatenate(copies)) / (20 * 250)
    assert abs(shares - [0.6, 0.2, 0.2]).max() < 0.04


def test_a_class_with_few_units_has_them_in_train_then_validation_then_test() -> None:
    for seed in range(5):
        for wanted in ({TRAIN}, {TRAIN, VALIDATION}, {TRAIN, VALIDATION, TEST}):
            units = np.repeat(np.arange(len(wanted)), np.arange(10, 10 * len(wanted) + 1, 10))
            numbers = rank(len(wanted), seed)[units]
            split = place(0 * units, np.zeros(len(units), np.int8), units, numbers, 0.2, 0.2)
            assert set(split.tolist()) == wanted


def test_a_unit_is_where_its_middle_falls_and_a_part_is_in_proportion() -> None:
    units = np.repeat(np.arange(3), 4)
    split = place(0 * units, np.zeros(12, np.int8), units, rank(3)[units], 0.0, 0.55)
    assert np.bincount(split, minlength=TEST + 1)[TEST] == 8
    labels = np.repeat([0, 1], [10, 30])
    assert np.bincount(labels[limit(labels, rank(40), 4)]).tolist() == [1, 3]


def test_units_join_through_shared_images() -> None:
    names = np.array([0, 0, 1, 1, 2])
    assert find_units(names, np.array([1, 2, 2, 3, 4])).tolist() == [0, 0, 0, 0, 4]
    assert find_units(np.array([3, 1, 3])).tolist() == [0, 1, 0]
    chain = np.arange(200) // 2
    assert find_units(chain, np.roll(chain, 1)).tolist() == [0] * 200


def test_groups_are_what_the_expression_matches() -> None:
    names = ["a/p1_0.png", "a/p1_1.png", "b/p2_0.png", "b/x.png"]
    assert match_groups(names, r"p\d") == ["p1", "p1", "p2", "b/x.png"]
    assert match_groups(names, r"p(\d)_") == ["1", "1", "2", "b/x.png"]
    assert match_groups(names, r"x|p(\d)") == ["1", "1", "2", "b/x.png"]


def test_the_seed_and_the_contents_decide_and_nothing_else() -> None:
    labels = np.arange(100) % 4
    first, other = placed(labels, 0.2, 0.2), placed(labels, 0.2, 0.2, seed=1)
    assert (first != other).any()
    order = np.random.default_rng(0).permutation(100)
    shuffled = place(labels[order], np.zeros(100, np.int8), np.arange(100), rank(100)[order], 0.2, 0.2)
    assert (shuffled == first[order]).all(), "not even the order of the source"


@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.integers(1, 200))
@settings(deadline=None)
def test_limit_keeps_proportions_and_the_first_by_rank(counts: list[int], count: int) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    numbers = rank(len(labels))
    kept = limit(labels, numbers, count)
    assert len(kept) == min(max(count, len(counts)), len(labels))
    assert (np.diff(kept) > 0).all()
    for label, size in enumerate(counts):
        ours = np.flatnonzero(labels == label)
        chosen = kept[labels[kept] == label]
        assert len(chosen) >= 1
        assert abs(len(chosen) - size * min(1, count / len(labels))) <= len(counts)
        assert set(chosen) == set(ours[np.argsort(numbers[ours])][: len(chosen)])
