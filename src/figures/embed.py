"""Prepare pictures for a page, which sets their titles and captions as text."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from src.figures.style import DPI

_CSS_INCH = 96  # CSS pixels


class EmbeddedPicture(NamedTuple):
    """Hold a picture without title and caption, and both as text."""

    name: str
    title: str
    caption: str
    data: str  # base64 of a PNG
    width: int  # CSS pixels at natural size
    height: int


def embed(file: Path) -> EmbeddedPicture:
    """Read a picture that `figures.style.drawing` wrote."""
    with Image.open(file) as picture:
        words = picture.info
        first, last = map(int, words["Rows"].split())
        cut = picture.convert("RGB").crop((0, first, picture.width, last))
    buffer = io.BytesIO()
    cut.save(buffer, "png")
    data = base64.b64encode(buffer.getvalue()).decode()
    width, height = (round(pixels * _CSS_INCH / DPI) for pixels in cut.size)
    return EmbeddedPicture(file.stem, words["Title"], words["Description"], data, width, height)
