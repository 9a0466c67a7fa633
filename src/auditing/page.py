"""Write `reports/audit/index.html`: what an audit found, with pictures, on one page without scripts or network."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray
from PIL import Image

from src.auditing.findings import STRANGE
from src.auditing.samples import Samples
from src.data.images import to_image
from src.data.prepared import Dataset
from src.figures.template import render_page

_SHOWN = {"labels": 120, "strangers": 40}  # suggestions on the page; the table has all
_SIDE = 144  # pixels of the longer side of a picture


def write_page(path: Path, samples: Samples, dataset: Dataset, found: pandas.DataFrame, **facts: Any) -> None:
    """Write the page. found: the suggestions; facts: other values of the template. All values are escaped."""
    position = {name: index for index, name in enumerate(samples.names)}

    def picture(name: str) -> dict[str, str]:
        index = position[name]
        return {
            "name": name,
            "given": dataset.classes[samples.labels[index]],
            "split": samples.splits[index],
            "data": embedded(samples.images[index]),
        }

    suggestions = {}
    strange = found["reason"] == STRANGE
    for part, rows in {"labels": found[~strange], "strangers": found[strange]}.items():
        first = rows.head(_SHOWN[part])
        shown = zip(map(picture, first["file"]), first["value"], first["reason"], strict=True)
        suggestions[part] = len(rows), list(shown)
    chance = 1 / len(dataset.classes)
    render_page(path, Path(__file__).parent, suggestions=suggestions, chance=chance, **facts)


def embedded(image: NDArray[np.uint8]) -> str:
    """Return an image (H, W, C) as JPEG in base64. A small one is enlarged so that its pixels can be seen."""
    picture = to_image(image)
    scale = _SIDE / max(picture.size)
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    buffer = io.BytesIO()
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    picture.resize(size, method).save(buffer, "jpeg", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()
