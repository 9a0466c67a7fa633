"""How often the report's verdict is right, and how often its intervals hold the truth.

    python -m benchmarks.verdicts

By simulation: both models, one or none are right about an image, with given probabilities, and a wrong answer is any
other class. So the true differences are known. Prints what `benchmarks/verdicts.json` then holds.
"""

import json
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from benchmarks.common import FOLDER, hardware, keep, versions
from src.stats.groups import design_effect
from src.stats.intervals import mean_interval, wilson
from src.stats.paired import accuracy_interval, macro_f1_interval, score_interval
from src.stats.verdicts import EQUIVALENCE_LEVEL, images_for_margin, judge

RESULTS = FOLDER / "verdicts.json"
IMAGES, CLASSES, PAIRS, SAMPLES, IN_GROUPS = 10_000, 10, 1_000, 2_000, 500
MARGIN = 0.01


class Flips(NamedTuple):
    """Hold the probabilities of an image."""

    broken: float
    fixed: float
    right: float  # for both

    @property
    def difference(self) -> float:
        return self.fixed - self.broken


MANY, FEW = Flips(0.065, 0.085, 0.60), Flips(0.02, 0.01, 0.95)
# −ln of the label's probability is drawn from these two: of a right answer Beta(5, 2), of a wrong one half the rest.
_LOSS_OF_WRONG = np.log(2) - digamma(2) + digamma(5)  # more than that of a right answer, on average


class Pair(NamedTuple):
    labels: NDArray[np.intp]  # (N,)
    predicted: tuple[NDArray[np.intp], NDArray[np.intp]]
    losses: tuple[NDArray[np.float64], NDArray[np.float64]]


def pair(draw: np.random.Generator, images: int, flips: Flips) -> Pair:
    """Draw the answers of two models."""
    labels = draw.integers(CLASSES, size=images)
    kind = draw.choice(4, size=images, p=[*flips, 1 - sum(flips)])
    answers, losses = [], []
    for kinds in ((0, 2), (1, 2)):
        right, sure = np.isin(kind, kinds), draw.beta(5, 2, size=images)
        answers.append(np.where(right, labels, (labels + draw.integers(1, CLASSES, size=images)) % CLASSES))
        losses.append(-np.log(np.where(right, sure, (1 - sure) / 2)))
    return Pair(labels, (answers[0], answers[1]), (losses[0], losses[1]))


def falsely_found(pairs: int, images: int = IMAGES) -> int:
    """Count those called better or worse of so many pairs without a difference: answers swapped at random."""
    draw = np.random.default_rng(1)
    answers = pair(draw, images, MANY)
    swapped = (swap(answers, draw.random(images) < 0.5) for _ in range(pairs))
    return sum(judge(*each, MARGIN).verdict in ("better", "worse") for each in swapped)


def swap(answers: Pair, swapped: NDArray[np.bool_]) -> Pair:
    """Exchange the answers of two models to some images (N,)."""
    labels, (one, other), (loss, other_loss) = answers
    predicted = np.where(swapped, other, one), np.where(swapped, one, other)
    return Pair(labels, predicted, (np.where(swapped, other_loss, loss), np.where(swapped, loss, other_loss)))


def in_groups(count: int, samples: int) -> dict[str, list[float]]:
    """Return how often intervals of an accuracy hold it, and how often equally good models are called better or worse.

    Both first by groups, of which there are `count` of 20 images, then as if images were independent. Accuracies of
    groups are drawn from Beta(3, 1). Of models, one of which is right on more images, the answers to whole groups are
    swapped at random.
    """
    draw = np.random.default_rng(6)
    names = np.repeat([str(number) for number in range(count)], 20)
    held, found = np.zeros(2), np.zeros(2)
    answers = pair(draw, len(names), Flips(0.02, 0.10, 0.60))
    for _ in range(samples):
        right = (draw.random((count, 20)) < draw.beta(3, 1, size=(count, 1))).ravel()
        swapped = swap(answers, np.repeat(draw.random(count) < 0.5, 20))
        for k, groups in enumerate((names, None)):
            low, high = wilson(right.sum(), len(right), design_effect(right, groups))
            held[k] += low <= 0.75 <= high
            found[k] += judge(*swapped, MARGIN, groups).verdict in ("better", "worse")
    return {"interval holds": (held / samples).round(3).tolist(), "found": (found / samples).round(3).tolist()}


def truly_found(pairs: int) -> int:
    """Count those called better of so many pairs of which the second model has 2 points more right."""
    draw = np.random.default_rng(2)
    return sum(judge(*pair(draw, IMAGES, MANY), MARGIN).verdict == "better" for _ in range(pairs))


def coverage(images: int, flips: Flips, samples: int) -> list[float]:
    """Return how often the 95 % intervals of accuracy, log loss and macro F1 hold the true difference."""
    draw = np.random.default_rng(3)
    truth = np.array([flips.difference, -flips.difference * _LOSS_OF_WRONG, flips.difference])
    held = np.zeros(3)
    for _ in range(samples):
        labels, (one, other), (loss, other_loss) = pair(draw, images, flips)
        was, now = one == labels, other == labels
        intervals = np.array(
            [accuracy_interval(was, now), mean_interval(other_loss - loss), macro_f1_interval(labels, one, other)]
        )
        held += (intervals[:, 0] <= truth) & (truth <= intervals[:, 1])
    return [round(float(share), 3) for share in held / samples]


def shown(share: float, samples: int) -> tuple[int, float]:
    """Return how many images `src.promote` asks for, where this share changes sides, and how often they do."""
    images = images_for_margin(round(10_000 * share), 10_000, MARGIN)
    flips = np.random.default_rng(4).multinomial(images, [share / 2, share / 2, 1 - share], size=samples).tolist()
    passed = sum(score_interval(b, f, images, EQUIVALENCE_LEVEL)[0] > -MARGIN for b, f, _ in flips)
    return images, round(passed / samples, 3)


def main() -> None:
    result = {
        "images": IMAGES,
        "pairs": PAIRS,
        "better or worse without a difference": falsely_found(PAIRS),
        "better with 2 points of difference": truly_found(PAIRS),
        "coverage": {
            name: {images: coverage(images, flips, SAMPLES) for images in (50, 100, 359, 1_000, 5_000)}
            for name, flips in (("15 % change sides", MANY), ("3 % change sides", FEW))
        },
        "samples_in_groups": IN_GROUPS,
        "groups": {count: in_groups(count, IN_GROUPS) for count in (10, 30, 100)},
        "power": {f"{100 * share:g} %": shown(share, SAMPLES) for share in (0.002, 0.005, 0.01, 0.03, 0.15)},
        "hardware": hardware(),
        "versions": versions("numpy", "scipy", "pandas"),
    }
    keep(RESULTS, result, same=("images", "pairs"))
    print(json.dumps(result, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
