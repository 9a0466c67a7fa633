"""Test images with the model's predictions."""

from pathlib import Path

import numpy as np
import pandas
from numpy.typing import NDArray

from src.figures.sheet import Tile, sheet
from src.figures.style import in_percent

_COLUMNS = 8
_INCHES = 1.25
_SEED = 0
_READ = "Each percentage is the probability of the class beside it, before temperature scaling."


def sample_predictions(path: Path, images: NDArray[np.uint8], predictions: pandas.DataFrame, count: int) -> None:
    """Draw `count` random test images (N, H, W, C), always the same ones, with their rows of `predictions.csv`."""
    chosen = np.sort(np.random.default_rng(_SEED).permutation(len(predictions))[:count])
    table = predictions.iloc[chosen]
    wrong = int((table["label"] != table["prediction"]).sum())
    title = f"Predictions for {len(table)} of {len(images):,} test images"
    _sheet(path, images, table, title, f"Drawn at random; {wrong or 'none'} wrong (✗ and a frame). {_READ}")


def confident_mistakes(path: Path, images: NDArray[np.uint8], predictions: pandas.DataFrame, count: int) -> None:
    """Draw the `count` wrong predictions with the highest confidence, from test images (N, H, W, C)."""
    total = len(predictions)
    wrong = predictions[predictions["label"] != predictions["prediction"]]
    table = wrong.sort_values("confidence", ascending=False, kind="stable").head(count)
    title = f"The {len(table)} most confident of {len(wrong):,} mistakes on {total:,} test images"
    if len(table) == len(wrong):
        title = f"All mistakes on {total:,} test images ({len(wrong):,}), the most confident first"
    _sheet(path, images, table, title, f"✗: what the model took it for. Below: what it is. {_READ}")


def _sheet(path: Path, images: NDArray[np.uint8], table: pandas.DataFrame, title: str, caption: str) -> None:
    """Draw the images of these rows, with the model's answers and the ends of their names; wrong ones have a frame."""
    columns = ["index", "name", "label", "prediction", "confidence", "label_probability"]
    tiles = []
    for index, name, label, prediction, confidence, truth in table[columns].itertuples(index=False, name=None):
        right = label == prediction
        lines = [("✓ " if right else "✗ ", prediction, f"  {in_percent(confidence)} %"), name]
        if not right:
            lines.insert(1, ("is ", label, f"  {in_percent(truth)} %"))
        tiles.append(Tile(images[index], lines, _INCHES, framed=not right))
    sheet(path, [[tile] for tile in tiles], title, caption, columns=_COLUMNS, image_inches=_INCHES, group_gap=0.1)
