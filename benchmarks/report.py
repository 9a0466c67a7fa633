"""`benchmarks/README.md` from `page.md.jinja` and the JSON files beside it, which hold every number of the page.

python -m benchmarks.report
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.common import FOLDER, keep, kept
from benchmarks.gpu.runner import NOT_REACHED, RUNNING
from src.compute.device import auto_precision
from src.core.errors import UserError

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
    return environment.get_template(TEMPLATE).render(**found, auto_precision=auto_precision)


def keep_gpu(file: Path) -> str:
    """Add what `python -m benchmarks.gpu run` wrote to what the GPU measured before, part by part, and write the page.

    Return what was added. Raises `UserError` where it was no GPU.
    """
    try:
        parts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["parts"]
        machine = {key: parts["device"]["found"][key] for key in ("device", "capability", "hardware", "versions")}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not what python -m benchmarks.gpu run has written: name its gpu.json") from None
    if not machine["capability"].startswith("cuda"):
        raise UserError(f"{file} holds no results of a GPU, but of {machine['device']}")
    reached = {name: one for name, one in parts.items() if one["state"] not in (NOT_REACHED, RUNNING)}
    before: dict[str, Any] = next(
        (entry["parts"] for entry in kept(GPU) if entry["hardware"] == machine["hardware"]), {}
    )
    keep(GPU, {**machine, "parts": before | reached}, same=())
    main()
    return f"{machine['device']}: {', '.join(reached)} in {GPU} and {README}"


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
