"""`reports/audit/index.html`: what an audit found, with pictures, on one page without scripts or network."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas
from numpy.typing import NDArray
from PIL import Image

from src.auditing.samples import Samples
from src.core.files import write_text
from src.data.prepared import Dataset, SplitName
from src.figures.data import duplicates_found
from src.figures.template import templates

_SHOWN = {"relabel": 120, "drop": 40}  # suggestions that have a picture; the table has all
_PAIRS = 10  # of classes
_SIDE = 144  # pixels of a picture


class Audit(NamedTuple):
    """Hold what an audit found."""

    title: str
    audited: Sequence[SplitName]
    judge: str  # what of the images was compared
    accuracy: float  # share of given labels that are predicted
    table: Path
    found: pandas.DataFrame  # as `findings.suggest` returns it
    confused: Sequence[tuple[str, str, int]]
    shortcuts: Sequence[tuple[str, float]]


def write_page(path: Path, audit: Audit, samples: Samples, dataset: Dataset) -> None:
    """Write the page; every value is escaped, since class and file names may hold anything."""
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
    for action, most in _SHOWN.items():
        rows = audit.found[audit.found["action"] == action]
        first = rows.head(most)
        shown = zip(map(picture, first["file"]), first["value"], first["reason"], strict=True)
        suggestions[action] = len(rows), list(shown)
    copies = []
    for kind, sets in {"Equal": dataset.duplicates.equal, "Nearly equal": dataset.duplicates.near}.items():
        if sets and sets.sets:
            examples = ([picture(each.name) for each in members if each.name in position] for members in sets.examples)
            copies.append((kind, duplicates_found(sets), [members for members in examples if members]))
    text = templates(Path(__file__).parent).get_template("page.html.jinja").render(
        audit=audit,
        images=sum(dataset.splits[split].count for split in audit.audited),
        suggestions=suggestions,
        copies=copies,
        confused=audit.confused[:_PAIRS],
        chance=1 / len(dataset.classes),
    )  # fmt: skip
    write_text(path, text.replace(" %", "\N{NO-BREAK SPACE}%"))


def embedded(image: NDArray[np.uint8]) -> str:
    """Return an image (H, W, C) as JPEG in base64; a small one is enlarged so that its pixels show."""
    single = image.squeeze(-1) if image.shape[-1] == 1 else image
    scale = _SIDE / max(single.shape[:2])
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    size = max(1, round(single.shape[1] * scale)), max(1, round(single.shape[0] * scale))
    buffer = io.BytesIO()
    Image.fromarray(single).resize(size, method).save(buffer, "jpeg", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()
