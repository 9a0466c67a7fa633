"""Write a review as Markdown for a pull request, as a page made of that, and as notes beside parameters."""

import base64
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from src.core.paths import PARAMS
from src.figures.template import templates
from src.review import charts
from src.review.changed_images import draw_sheet, images_are_here, sheet_path
from src.review.revision import Revision
from src.stats.paired import FEW

MARK = "<!-- model report -->"  # by which the comment is found again, to be updated

_MOST = 10  # items of a list in a sentence
_LONGEST = 200  # characters of a title, and of a value in a note
_TITLES = {"worse": "Worse", "better": "Better", "equivalent": "Equivalent", "no evidence": "No evidence either way"}
_COSTS = {"parameters": "parameters", "size_mib": "MiB"}
_MARKS = {"better": "▲ better", "worse": "▼ worse", "no evidence": "no evidence"}


def as_markdown(review: Mapping[str, Any], base: Revision, head: Revision, files: str) -> str:
    """Return the report, with the images that changed sides if the head has their sheet.

    files: address of the head's files, which ends with "/".
    """
    path = sheet_path(base, head)
    return _markdown(review, charts.mermaid, f"{files}{path.as_posix()}" if head.read([path]) else "")


def as_html(review: Mapping[str, Any], base: Revision, head: Revision) -> str:
    """Return the report as one page without scripts or other files.

    It shows the images that changed sides if the head has their sheet, or if data/prepared has the head's images.
    """
    path = sheet_path(base, head)
    sheet = head.read([path]).get(path) or (draw_sheet(review) if images_are_here(head) else None)
    data = base64.b64encode(sheet or b"").decode()
    text = _markdown(review, charts.svg, f"data:image/webp;base64,{data}" if data else "")
    # Only GitHub knows this kind of warning, and only a comment must be short.
    text = text.replace("> [!WARNING]\n>\n", "").replace("\n<details>", "\n<details open>")
    return _page(title(review), text)


def refused(reason: str) -> tuple[str, str, dict[str, Any]]:
    """Return Markdown, page and JSON that replace a report which cannot be made, and pass no gate."""
    text = f"{MARK}\n\n## No report\n\n{_code(reason)}\n"
    found: dict[str, Any] = {
        "title": "No report",
        "verdict": None,
        "failure": reason,
        "gate": reason,
        "annotations": [],
    }
    return text, _page("No report", text), found


def _page(title: str, text: str) -> str:
    """Make a page of Markdown. Its headings go up by one level, since a comment begins with the second."""
    text = re.sub(r"^##", "#", text, flags=re.MULTILINE)
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    page = templates(Path(__file__).parent).get_template("page.html.jinja")
    return page.render(title=title, body=Markup(body))


def annotations(review: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a note for GitHub's check at each line of `params.yaml` that changed."""
    good = review["verdict"] in ("better", "equivalent") and not review["failure"]
    return [
        {
            "path": PARAMS.as_posix(),
            "start_line": change["line"],
            "end_line": change["line"],
            "annotation_level": "notice" if good else "warning",
            "title": title(review),
            "message": f"{_cut(change['name'])}: {_cut(change['base'] or 'none')} → {_cut(change['head'] or 'none')}",
        }
        for change in review["parameters"]
        if change["line"]
    ]


def title(review: Mapping[str, Any]) -> str:
    """Return the verdict in a few words."""
    stale = " and ".join(f"the {side}'s" for side in ("base", "head") if review[side]["numbers_stale"])
    warning = f"; {stale} numbers are stale" if stale else ""
    if review["verdict"] and review["same_model"] and review["head"]["numbers_stale"]:
        return "Not run (the numbers are the base's)"
    verdict = _TITLES.get(review["verdict"], "Not comparable")
    return f"{verdict}{' (the same model)' * review['same_model']}{warning}"


def _cut(text: str) -> str:
    """Shorten a text for GitHub's check, which refuses notes that are too long."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _markdown(review: Mapping[str, Any], chart: Callable[[str, charts.Curves], str], sheet: str) -> str:
    """Return the report. chart: draws curves under a title; sheet: address of the images that changed sides, or ""."""
    environment = templates(Path(__file__).parent).overlay(finalize=_code)

    def chart_of(curves: charts.Curves, column: str) -> Markup:
        unit, factor = (", %", 100) if column.endswith("accuracy") else ("", 1)
        words = column.replace("_", " ").capitalize() + unit
        return Markup(chart(words, {side: [factor * value for value in values] for side, values in curves.items()}))

    environment.filters |= _FILTERS | {"chart": chart_of}
    text = environment.get_template("report.md.jinja").render(
        review=review, title=title(review), sheet=sheet, mark=MARK, marks=_MARKS, few=FEW
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _code(value: Any) -> Any:
    """Make text of a branch appear as it is, never as markup: in backticks, or character by character.

    Invisible characters, such as ends of lines and changes of direction, are written as in Python: `\\n`, `\\u202e`.
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    if seen and not set(seen) & set("`|") and seen == seen.strip():
        return Markup(f"`{seen}`")
    return Markup(f"<code>{''.join(c if c.isalnum() else f'&#{ord(c)};' for c in seen)}</code>")


def _listed(texts: list[str]) -> str:
    """Write a list in a sentence: its first texts, and how many more there are."""
    more = [f"{len(texts) - _MOST:,} more"] if len(texts) > _MOST else []
    return ", ".join([*map(_code, texts[:_MOST]), *more])


def _warning(text: str) -> str:
    """Write text as GitHub's kind of warning; nothing if it is empty."""
    text = text.strip()
    return "\n".join(["> [!WARNING]", ">", *(f"> {line}".rstrip() for line in text.split("\n"))]) if text else ""


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


def _outcome(of: Mapping[str, Any]) -> str:
    """Write the verdict on two runs and their difference of accuracy, or why they cannot be compared."""
    if not (found := of["comparison"]):
        return str(of["obstacle"])
    shared = " on the shared images" if found["corrected"] else ""
    return f"{_TITLES[found['verdict']]}, {_signed(100 * found['differences'][0]['difference'], '+.2f')} points{shared}"


def _cost(of: Mapping[str, Any]) -> str:
    """Write what both models cost, and the change in percent."""
    before, after, unit = of["base"], of["head"], _COSTS[of["name"]]
    if not before or not after or before == after:
        return f"{after:,.10g} {unit}" if after else f"unknown {unit}"
    change = 100 * (after / before - 1)
    return f"{before:,.10g} → {after:,.10g} {unit} ({_signed(change, '+,.0f' if abs(change) >= 10 else '+.2g')} %)"


_FILTERS: dict[str, Any] = {
    "words": lambda value: f"{value:,}" if isinstance(value, int) else str(value),
    "s": lambda count: "s" if count != 1 else "",
    "listed": _listed,
    "more": lambda rows, shown: f"\nand {len(rows) - shown:,} more\n" if len(rows) > shown else "",
    "warning": _warning,
    "signed": _signed,
    "points": lambda share: _signed(100 * share, "+.2f"),
    "share": lambda of: f"{100 * of[0]:.2f} % ({100 * of[1]:.2f} to {100 * of[2]:.2f})",
    "outcome": _outcome,
    "percent": lambda share: f"{100 * share:.2f} %",
    "margin": lambda share: f"{100 * share:g} point{'s' * (100 * share != 1)}",
    "change": _change,
    "value": _value,
    "pair": lambda of: f"{_value(of['base'], of).removesuffix(' %')} → {_value(of['head'], of)}",
    "unit": lambda of: "" if of["name"] == "log loss" else " points",
    "p": lambda value: f"p = {value:.3f}" if value >= 0.001 else "p < 0.001",
    "cost": _cost,
}
_FILTERS = {name: (lambda *arguments, of=of: Markup(of(*arguments))) for name, of in _FILTERS.items()}
