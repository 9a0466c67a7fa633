"""A review as Markdown for a pull request, as a page, or as JSON."""

import base64
import dataclasses
import html
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src.atomic import digest
from src.comparison import Flip
from src.data.prepared import array_paths
from src.figures.template import templates
from src.review.gather import Review
from src.review.view import Line, Link, Name, Section, Table, view
from src.revision import Revision

# The comment of a pull request is found again by it.
MARK = "<!-- model report -->"


def as_json(review: Review) -> str:
    return json.dumps(_plain(dataclasses.asdict(review)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def as_markdown(review: Review) -> str:
    shown = view(review)
    blocks = [MARK, f"## {shown.title}", *map(_line, shown.lead)]
    if shown.warnings:
        blocks.append("\n>\n".join(["> [!WARNING]", *(f"> {_line(line)}" for line in shown.warnings)]))
    for section in shown.sections:
        blocks += _section(section)
    return "\n\n".join(blocks) + "\n"


def _section(section: Section) -> Iterator[str]:
    if section.folded:
        yield f"<details><summary><b>{html.escape(section.title)}</b></summary>"
    else:
        yield f"### {section.title}"
    yield from map(_line, section.lines)
    for table in section.tables:
        yield from _table(table)
    for title, flips in section.flips:
        yield f"**{title}**"
        yield "\n".join(f"- {_code(f.name)}: {_code(f.label)}, {_code(f.base)} → {_code(f.head)}" for f in flips)
    if section.folded:
        yield "</details>"


def _table(table: Table) -> Iterator[str]:
    if table.title:
        yield f"**{table.title}**"
    head = [f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
    yield "\n".join([*head, *(f"| {' | '.join(map(_cell, row))} |" for row in table.rows)])
    if table.more:
        yield f"and {table.more:,} more"


def _line(line: Line) -> str:
    return "".join(map(_cell, line))


def _cell(text: str) -> str:
    if isinstance(text, Link):
        return f"<{text}>"
    return _code(text) if isinstance(text, Name) else text


def _code(text: str) -> str:
    """Foreign text, shown as it is: in backticks, or where those would not hold it, letter by letter."""
    if text and not set(text) & set("`|\r\n") and text == text.strip():
        return f"`{text}`"
    return f"<code>{''.join(c if c.isalnum() else f'&#{ord(c)};' for c in text)}</code>"


def as_html(review: Review, revisions: Sequence[Revision]) -> str:
    """One page without scripts or other files. With thumbnails of flipped images where data/prepared holds the images
    that one of the revisions was validated on."""
    environment = templates(Path(__file__).parent)
    environment.tests["name"] = lambda text: isinstance(text, Name)
    environment.tests["link"] = lambda text: isinstance(text, Link)
    shown = view(review)
    flips = [flip for section in shown.sections for _, group in section.flips for flip in group]
    return environment.get_template("page.html.jinja").render(view=shown, pictures=_thumbnails(flips, revisions))


def _thumbnails(flips: Sequence[Flip], revisions: Sequence[Revision]) -> dict[int, str]:
    """PNGs in base64 by index in validation; none where the images are not here, or are others."""
    path = array_paths("validation")[0]
    locked = {revision.output(path).get("md5") for revision in revisions}
    if not flips or not path.is_file() or digest(path) not in locked:
        return {}
    images = np.load(path, mmap_mode="r")
    return {flip.index: _png(Image.fromarray(images[flip.index].squeeze())) for flip in flips}


def _png(picture: Image.Image) -> str:
    picture.thumbnail((112, 112))
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
