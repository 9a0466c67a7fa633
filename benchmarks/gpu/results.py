"""What one call on a GPU measured: kept for the page, and made the table of precisions."""

import json
from pathlib import Path
from typing import Any

from benchmarks import choices, common, report
from benchmarks.gpu.runner import NOT_REACHED, RUNNING
from benchmarks.gpu.speeds import PRECISIONS
from benchmarks.loops import median
from src.core.errors import UserError


def keep(file: Path) -> str:
    """Add what a GPU measured to what it measured before, part by part, and write the page. Return what was added."""
    machine, parts = load(file)
    reached = {name: one for name, one in parts.items() if one["state"] not in (NOT_REACHED, RUNNING)}
    same = [entry for entry in common.kept(report.GPU) if entry["hardware"] == machine["hardware"]]
    before = same[0]["parts"] if same else {}
    common.keep(report.GPU, {**machine, "parts": before | reached}, same=())
    report.main()
    return f"{machine['device']}: {', '.join(reached)} in {report.GPU} and {report.README}"


def choose(file: Path) -> str:
    """Make the images per second of our eager loop the choices for the device's capability. Return a line for each."""
    machine, parts = load(file)
    speeds = {}
    for system in choices.NETWORKS:
        rows = parts.get(f"loops {system}", {}).get("found", {})
        speeds[system] = {precision: median(rows, precision) for precision in PRECISIONS}
    return choices.write({key: machine[key] for key in ("capability", "hardware", "versions")}, speeds)


def load(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `run` wrote: the machine and the parts. Raises `UserError` where it was no GPU."""
    try:
        parts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["parts"]
        machine = {key: parts["device"]["found"][key] for key in ("device", "capability", "hardware", "versions")}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not what python -m benchmarks.gpu run has written: name its gpu.json") from None
    if not machine["capability"].startswith("cuda"):
        raise UserError(f"{file} holds no results of a GPU, but of {machine['device']}")
    return machine, parts
