"""Set a review as Markdown for a pull request, and as a page made of that."""

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from src.core.files import digest
from src.core.paths import DATASET
from src.data.prepared import open_split
from src.figures.template import templates
from src.review.revision import Revision
from src.stats.paired import FEW

# The comment of a pull request is found again by it.
MARK = "<!-- model report -->"

_MOST = 10  # items of a list in a sentence
_TITLES = {"worse": "Worse", "better": "Better", "equivalent": "Equivalent", "no evidence": "No evidence either way"}
_MARKS = {"better": "▲ better", "worse": "▼ worse", "no evidence": "no evidence"}


def as_markdown(review: Mapping[str, Any], pictures: Mapping[int, str] | None = None) -> str:
    """Return the report; `pictures` are images as HTML by their index in validation, for those that changed sides."""
    environment = templates(Path(__file__).parent).overlay(finalize=_code)
    environment.filters |= _FILTERS
    text = environment.get_template("report.md.jinja").render(
        review=review, title=_title(review), pictures=pictures or {}, mark=MARK, marks=_MARKS, few=FEW
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def as_html(review: Mapping[str, Any], revisions: Sequence[Revision]) -> str:
    """Return one page without scripts or other files.

    It has thumbnails of the images that changed sides, if data/prepared holds those that one of the revisions was
    validated on.
    """
    text = as_markdown(review, thumbnails(review, revisions))
    # What only GitHub knows, and what only a comment must fold.
    text = text.replace("> [!WARNING]\n>\n", "").replace("\n<details>", "\n<details open>")
    text = re.sub(r"^##", "#", text, flags=re.MULTILINE)
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    page = templates(Path(__file__).parent).get_template("page.html.jinja")
    return page.render(title=_title(review), body=Markup(body))


def _title(review: Mapping[str, Any]) -> str:
    """Return the verdict in a few words."""
    stale = review["base"]["numbers_stale"] or review["head"]["numbers_stale"]
    title = _TITLES.get(review["verdict"], "Not comparable")
    return f"{title}{' (the same model)' * review['same_model']}{', by stale numbers' * stale}"


def _code(value: Any) -> Any:
    """Set text as it is: in backticks, or character by character where those would not hold it."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    if value and not set(value) & set("`|\r\n") and value == value.strip():
        return Markup(f"`{value}`")
    return Markup(f"<code>{''.join(c if c.isalnum() else f'&#{ord(c)};' for c in value)}</code>")


def _listed(texts: Sequence[str]) -> str:
    """Set the first texts of a list in a sentence."""
    more = [f"{len(texts) - _MOST:,} more"] if len(texts) > _MOST else []
    return ", ".join([*map(_code, texts[:_MOST]), *more])


def _warning(text: str) -> str:
    """Set text as a warning, as GitHub has it; nothing without text."""
    lines = text.strip().splitlines()
    return "\n".join(["> [!WARNING]", ">", *(f"> {line}".rstrip() for line in lines)]) if lines else ""


def _signed(number: float, form: str = "+,") -> str:
    """Write a number with its sign."""
    return f"{number:{form}}".replace("-", "−")


def _change(value: float | None, of: Mapping[str, Any]) -> str:
    """Write a difference of the metric `of`."""
    if value is None:
        return "unknown"
    return _signed(value, "+.4f") if of["name"] == "log loss" else _signed(100 * value, "+.2f")


def _value(value: float, of: Mapping[str, Any]) -> str:
    """Write a value of the metric `of`."""
    return f"{value:.4f}" if of["name"] == "log loss" else f"{100 * value:.2f} %"


_FILTERS: dict[str, Any] = {
    "words": lambda value: f"{value:,}" if isinstance(value, int) else str(value),
    "s": lambda count: "s" if count != 1 else "",
    "listed": _listed,
    "more": lambda rows, shown: f"\nand {len(rows) - shown:,} more\n" if len(rows) > shown else "",
    "warning": _warning,
    "signed": _signed,
    "points": lambda share: _signed(100 * share, "+.2f"),
    "percent": lambda share: f"{100 * share:.2f} %",
    "margin": lambda share: f"{100 * share:g} point{'s' * (100 * share != 1)}",
    "change": _change,
    "value": _value,
    "pair": lambda of: f"{_value(of['base'], of).removesuffix(' %')} → {_value(of['head'], of)}",
    "unit": lambda of: "" if of["name"] == "log loss" else " points",
    "p": lambda value: f"{value:.3f}" if value >= 0.001 else f"{value:.1e}",
    "link": lambda address: f"<{address}>",
}
_FILTERS = {name: (lambda *arguments, of=of: Markup(of(*arguments))) for name, of in _FILTERS.items()}


def thumbnails(review: Mapping[str, Any], revisions: Iterable[Revision]) -> dict[int, str]:
    """Return images that changed sides as HTML by index in validation; none if they are not here, or are others."""
    found = review["validation"]["comparison"]
    known = {each.output(DATASET).get("md5") for each in revisions}
    if not found or not DATASET.is_file() or digest(DATASET) not in known:
        return {}
    from PIL import Image  # continuous integration, which has no images, does not install it

    images = open_split("validation").images
    pictures = {}
    for flip in (*found["broken"][:_MOST], *found["fixed"][:_MOST]):
        image, buffer = Image.fromarray(images[flip["index"]].squeeze()), io.BytesIO()
        image.thumbnail((112, 112))
        image.save(buffer, "png", optimize=True)
        data = base64.b64encode(buffer.getvalue()).decode()
        pictures[flip["index"]] = f'<img alt="" src="data:image/png;base64,{data}"> '
    return pictures
