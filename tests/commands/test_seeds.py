"""What the accuracies of several seeds say."""

import numpy as np
import pytest

from src.seeds import summary


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ([0.9], "1 seed: a spread needs two"),
        ([0.9, 0.9, 0.9], "90.00 % with each of 3 seeds"),  # not an interval of no width
        ([0.8, 0.9], "85.00 % ± 7.07 (standard deviation of 2 seeds), 95 % interval of the mean 21.47 to 100.00 %"),
    ],
)
def test_the_luck_of_seeds_is_put_into_words(accuracies: list[float], words: str) -> None:
    assert summary(np.array(accuracies)) == words
