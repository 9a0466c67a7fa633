"""`benchmarks/README.md` from `page.md.jinja` and the JSON files beside it, which hold every number of the page.

python -m benchmarks.report
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.common import FOLDER, kept
from src.compute.device import CHOICES

README, TEMPLATE, GPU = FOLDER / "README.md", "page.md.jinja", FOLDER / "gpu.json"


def main() -> None:
    README.write_text(render(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {
        "percent": percent,
        "spread": spread,
        "variant": variant,
        "quartiles": quartiles,
        "machines": machines,
        "thousands": "{:,}".format,
    }
    found = {file.stem: kept(file) for file in FOLDER.glob("*.json")}
    return environment.get_template(TEMPLATE).render(**found, picked=CHOICES)


def percent(values: Sequence[float]) -> str:
    """Return a share, and its interval where it has one."""
    value, *interval = (f"{100 * number:.2f}" for number in values)
    return f"{value} %" + (f" ({' to '.join(interval)})" if interval else "")


def spread(found: Mapping[str, float]) -> str:
    """Return a median and its quartiles."""
    return "{median:,} ({quartile_1:,} to {quartile_3:,})".format(**found)


def quartiles(values: Iterable[float | None]) -> str:
    """Return median and quartiles, each a value that occurred; None, never reached, is later than all others."""
    reached = [np.inf if value is None else value for value in values]
    low, median, high = np.quantile(reached, [0.25, 0.5, 0.75], method="inverted_cdf")
    return f"{median:.0f} ({low:.0f} to {high:.0f})"


def variant(entry: Mapping[str, Any]) -> str:
    """Name the recipe of an entry and what was changed in it, but for where its images lie."""
    own = ", ".join(f"`{change}`" for change in entry["changed"] if not change.startswith("data.source="))
    return f"`{entry['recipe']}`" + (f" with {own}" if own else "")


def machines(entries: Iterable[Mapping[str, Any]]) -> str:
    """Return on what hardware, and with which versions, the entries were measured."""
    told = (f"{entry['hardware']}; " + ", ".join(map(" ".join, entry["versions"].items())) for entry in entries)
    return "\n".join(f"{one}." for one in dict.fromkeys(told))


if __name__ == "__main__":
    main()
