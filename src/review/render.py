"""Set a review as Markdown for a pull request, as a page made of that, and as notes beside parameters."""

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
from src.review.revision import Revision
from src.review.sheet import drawn, here, sheet_path
from src.stats.paired import FEW

# The comment of a pull request is found again by it.
MARK = "<!-- model report -->"

_MOST = 10  # items of a list in a sentence
_LONGEST = 200  # characters of a title, and of a value in a note
_TITLES = {"worse": "Worse", "better": "Better", "equivalent": "Equivalent", "no evidence": "No evidence either way"}
_COSTS = {
    "parameters": "parameters",
    "size_mib": "MiB",
    "training_seconds": "s",
    "peak_memory_gib": "GiB of memory",
    "latency_ms": "ms for an image",
}
_MARKS = {"better": "▲ better", "worse": "▼ worse", "no evidence": "no evidence"}


def as_markdown(review: Mapping[str, Any], base: Revision, head: Revision, files: str) -> str:
    """Return the report; `files` is the address below which the head's files are seen.

    It shows the sheet of images that changed sides, if the head has it.
    """
    path = sheet_path(base, head)
    return _markdown(review, charts.mermaid, f"{files}{path.as_posix()}" if head.read([path]) else "")


def as_html(review: Mapping[str, Any], base: Revision, head: Revision) -> str:
    """Return one page without scripts or other files.

    It shows the images that changed sides, if the head has their sheet, or data/prepared the head's images.
    """
    path = sheet_path(base, head)
    sheet = head.read([path]).get(path) or (drawn(review) if here(head) else None)
    data = base64.b64encode(sheet or b"").decode()
    text = _markdown(review, charts.svg, f"data:image/webp;base64,{data}" if data else "")
    # What only GitHub knows, and what only a comment must fold.
    text = text.replace("> [!WARNING]\n>\n", "").replace("\n<details>", "\n<details open>")
    return _page(title(review), text)


def refused(reason: str) -> tuple[str, str, dict[str, Any]]:
    """Return Markdown, page and JSON in the place of a report that cannot be made; it passes no gate."""
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
    """Return a page of Markdown, whose first heading is of the second level in a comment."""
    text = re.sub(r"^##", "#", text, flags=re.MULTILINE)
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    page = templates(Path(__file__).parent).get_template("page.html.jinja")
    return page.render(title=title, body=Markup(body))


def annotations(review: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a note for each changed parameter, at its line of `params.yaml`, as GitHub's checks have them.

    There is none for a recipe's first run, of which every parameter is another.
    """
    good = review["verdict"] in ("better", "equivalent") and not review["failure"]
    changed = [] if review["first_run"] else review["parameters"]
    return [
        {
            "path": PARAMS.as_posix(),
            "start_line": change["line"],
            "end_line": change["line"],
            "annotation_level": "notice" if good else "warning",
            "title": title(review),
            "message": f"{_cut(change['name'])}: {_cut(change['base'] or 'none')} → {_cut(change['head'] or 'none')}",
        }
        for change in changed
        if change["line"]
    ]


def title(review: Mapping[str, Any]) -> str:
    """Return the verdict in a few words."""
    stale = review["base"]["numbers_stale"] or review["head"]["numbers_stale"]
    verdict = _TITLES.get(review["verdict"], "First run of this recipe" if review["first_run"] else "Not comparable")
    others = "".join(f"; {other['recipe']}: {other['failure']}" for other in review["others"] if other["failure"])
    if review["verdict"] and review["same_model"] and review["head"]["numbers_stale"]:
        return _cut(f"Not run (the numbers are the base's){others}")
    return _cut(f"{verdict}{' (the same model)' * review['same_model']}{', by stale numbers' * stale}{others}")


def _cut(text: str) -> str:
    """Return the start of a text that is too long for a note of GitHub's."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _markdown(review: Mapping[str, Any], chart: Callable[[str, charts.Curves], str], sheet: str) -> str:
    """Return the report with charts as they are drawn there, and the address of the sheet."""
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
    """Set text as it is: in backticks, or character by character where those would not hold it.

    What is not seen, as the end of a line or a change of direction, is written as Python does: `\\n`, `\\u202e`.
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    if seen and not set(seen) & set("`|") and seen == seen.strip():
        return Markup(f"`{seen}`")
    return Markup(f"<code>{''.join(c if c.isalnum() else f'&#{ord(c)};' for c in seen)}</code>")


def _listed(texts: list[str]) -> str:
    """Set the first texts of a list in a sentence."""
    more = [f"{len(texts) - _MOST:,} more"] if len(texts) > _MOST else []
    return ", ".join([*map(_code, texts[:_MOST]), *more])


def _warning(text: str) -> str:
    """Set text as a warning, as GitHub has it; nothing without text."""
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
    """Write the verdict on two runs and the difference of accuracy, or why there is none."""
    if not (found := of["comparison"]):
        return str(of["obstacle"])
    shared = " on the shared images" if found["corrected"] else ""
    return f"{_TITLES[found['verdict']]}, {_signed(100 * found['differences'][0]['difference'], '+.2f')} points{shared}"


def _cost(of: Mapping[str, Any]) -> str:
    """Write what both models cost, with the change in percent where it is exact: not of what was measured once."""
    before, after, unit = of["base"], of["head"], _COSTS[of["name"]]
    if not before or not after or before == after:
        return f"{after:,.10g} {unit}" if after else f"unknown {unit}"
    change = 100 * (after / before - 1)
    percent = f" ({_signed(change, '+,.0f' if abs(change) >= 10 else '+.2g')} %)"
    return f"{before:,.10g} → {after:,.10g} {unit}{percent if of['name'] in ('parameters', 'size_mib') else ''}"


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
    "p": lambda value: f"{value:.3f}" if value >= 0.001 else f"{value:.1e}",
    "cost": _cost,
    "link": lambda address: f"<{address}>",
}
_FILTERS = {name: (lambda *arguments, of=of: Markup(of(*arguments))) for name, of in _FILTERS.items()}
