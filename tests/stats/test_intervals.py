"""Intervals against scipy and brute force."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_array

from src.stats import intervals
from src.stats.intervals import bootstrap, mean_interval, wilson


def test_wilson_is_scipys_and_unknown_without_trials() -> None:
    successes, trials = [0, 1, 17, 50, 355, 9999, 7], [1, 3, 17, 100, 360, 10_000, 7]
    low, high = wilson([*successes, 0], [*trials, 0])
    for index, (k, n) in enumerate(zip(successes, trials, strict=True)):
        expected = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
        assert (low[index], high[index]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (low[0], high[2]) == (0, 1), "exactly"
    assert np.isnan([low[-1], high[-1]]).all()


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = np.array([0.91, 0.93, 0.92, 0.95])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("at_once", [500, 300])
def test_bootstrap_is_the_plain_loop_over_resamples(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "AT_ONCE", 60 * at_once)
    values = np.random.default_rng(1).exponential(size=(60, 2))
    low, _, high = bootstrap(csr_array(values), lambda sums: sums / 60, resamples=500)
    drawn = np.random.default_rng(0).integers(60, size=(500, 60))
    means = np.array([values[row].mean(axis=0) for row in drawn])
    np.testing.assert_allclose(low, np.quantile(means, 0.025, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high, np.quantile(means, 0.975, axis=0), rtol=1e-12)


@pytest.mark.parametrize("shape", [(10_000, 1), (50, 3_000)], ids=["many images", "many classes"])
def test_memory_is_bounded(shape: tuple[int, int]) -> None:
    values = csr_array(np.eye(*shape))
    tracemalloc.start()
    bootstrap(values, lambda sums: sums.mean(axis=1, keepdims=True), resamples=10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 90e6
