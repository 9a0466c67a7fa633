"""How often the report's verdict is right, by simulation, and how long a report takes; 10,000 images each.

    python -m benchmarks.verdicts

Without a difference: the answers of two models swapped at random, image by image; with one: 2 points of accuracy where
15 % of the images change sides. Prints what `benchmarks/verdicts.json` then holds.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas
from numpy.typing import NDArray

from benchmarks.common import hardware, keep, versions
from src.comparison import compare
from src.evaluation import tables
from src.paths import PREDICTIONS, VALIDATION_PREDICTIONS

RESULTS = Path("benchmarks/verdicts.json")
IMAGES = 10_000
PAIRS = 200
MARGIN = 0.01
DIFFERENCE, DISAGREEMENT = 0.02, 0.15
_LABELS = np.random.default_rng(0).integers(10, size=IMAGES)


def main() -> None:
    result = {
        "images": IMAGES,
        "pairs": PAIRS,
        "better or worse without a difference": falsely_found(PAIRS),
        "better with 2 points of difference": truly_found(PAIRS),
        "seconds of a report, validation and test": [round(seconds, 2) for seconds in report_seconds()],
        "hardware": hardware(),
        "versions": versions("numpy", "scipy", "pandas", "statsmodels"),
    }
    keep(RESULTS, result, same=("images", "pairs"))
    print(json.dumps(result, indent=1, ensure_ascii=False))


def pair(draw: np.random.Generator) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Answers of two models; the second has `DIFFERENCE` more right, and a share of `DISAGREEMENT` changed sides."""
    shares = [(DISAGREEMENT - DIFFERENCE) / 2, (DISAGREEMENT + DIFFERENCE) / 2, 0.75 - DISAGREEMENT, 0.25]
    kind = draw.choice(4, size=IMAGES, p=shares)  # broken, fixed, both right, both wrong
    return _answers(np.isin(kind, (0, 2)), draw), _answers(np.isin(kind, (1, 2)), draw)


def _answers(right: NDArray[np.bool_], draw: np.random.Generator) -> pandas.DataFrame:
    wrong = (_LABELS + draw.integers(1, 10, size=IMAGES)) % 10
    sure = draw.beta(5, 2, size=IMAGES)
    return pandas.DataFrame(
        {
            "index": np.arange(IMAGES),
            "name": [f"{number:05}" for number in range(IMAGES)],
            "label": _LABELS.astype(str),
            "prediction": np.where(right, _LABELS, wrong).astype(str),
            "confidence": sure,
            "label_probability": np.where(right, sure, (1 - sure) / 2).round(6),
            "label_rank": np.where(right, 1, 2),
        }
    )


def falsely_found(pairs: int) -> int:
    """Of so many pairs without a difference, how many are called better or worse."""
    draw = np.random.default_rng(1)
    first, second = pair(draw)
    found = 0
    for _ in range(pairs):
        swapped = draw.random(IMAGES) < 0.5
        found += compare(_mixed(first, second, swapped), _mixed(second, first, swapped), MARGIN).verdict in (
            "better",
            "worse",
        )
    return found


def _mixed(own: pandas.DataFrame, other: pandas.DataFrame, swapped: NDArray[np.bool_]) -> pandas.DataFrame:
    columns = ["prediction", "confidence", "label_probability", "label_rank"]
    return own.assign(**{column: np.where(swapped, other[column], own[column]) for column in columns})


def truly_found(pairs: int) -> int:
    """Of so many pairs with a difference, how many are called better."""
    draw = np.random.default_rng(2)
    return sum(compare(*pair(draw), MARGIN).verdict == "better" for _ in range(pairs))


def report_seconds() -> list[float]:
    """Of three reports, as Markdown, Markdown and HTML, in a clone; one goes before them, so that the disk is warm."""
    draw = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", ".", folder], check=True)
        for side in range(2):
            for path in (VALIDATION_PREDICTIONS, PREDICTIONS):
                tables.write(Path(folder, path), pair(draw)[side])
            if not side:
                author = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org"]
                subprocess.run(["git", *author, "commit", "-qam", "10,000 images"], cwd=folder, check=True)
        seconds = []
        for form in ([], [], [], ["--html"]):
            started = time.perf_counter()
            command = [sys.executable, "-m", "src.report", "--base", "HEAD", *form]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - started)
    return seconds[1:]


if __name__ == "__main__":
    main()
