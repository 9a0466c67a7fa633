"""What one call on a GPU measured: kept for the page, and made the table of precisions."""

import json
from pathlib import Path
from typing import Any

from benchmarks import choices, report
from benchmarks.common import kept, replace
from benchmarks.gpu.page import RESULTS
from benchmarks.gpu.parts import DEVICE, LOOPS
from benchmarks.gpu.runner import NOT_REACHED, RUNNING
from benchmarks.gpu.speeds import PRECISIONS
from src.core.errors import UserError


def keep(record: dict[str, Any]) -> str:
    """Add what a GPU measured to what it measured before, part by part, and write the page. Return what was added."""
    machine = _machine(record)
    reached = {name: one for name, one in record["parts"].items() if one["state"] not in (NOT_REACHED, RUNNING)}
    others = {entry["device"]: entry for entry in kept(RESULTS)}
    before = others.pop(machine["device"], {"parts": {}})
    replace(RESULTS, list(others.values()), {**machine, "parts": before["parts"] | reached})
    report.write()
    return f"{machine['device']}: {', '.join(reached)} in {RESULTS} and {report.README}"


def choose(record: dict[str, Any]) -> str:
    """Make the images per second of our eager loop the choices for the device's capability. Return a line for each."""
    machine = _machine(record)
    speeds = {}
    for network, recipe in choices.RECIPES.items():
        rows = record["parts"].get(LOOPS[recipe], {}).get("found", {})
        found = {name: rows.get(f"ours, {name}", {}).get("images_per_second") for name in PRECISIONS}
        if not all(found.values()):
            raise UserError(f"the part {LOOPS[recipe]} has not measured ours in {', '.join(PRECISIONS)}: run it again")
        speeds[network] = {name: [spread["median"]] for name, spread in found.items()}
    result = {"device": "cuda", "runs": 1, "images_per_second": speeds, "hardware": machine["device"]}
    return choices.write(result | {key: machine[key] for key in ("capability", "versions")})


def _machine(record: dict[str, Any]) -> dict[str, Any]:
    """Return what the part `device` says. Raises `UserError` where it says nothing, or was no GPU."""
    found: dict[str, Any] = record["parts"].get(DEVICE, {}).get("found", {})
    if not found.get("capability", "").startswith("cuda"):
        raise UserError("the file holds no results of a GPU: its part device has named none")
    return {key: found[key] for key in ("device", "capability", "hardware", "versions")}


def load(file: Path) -> dict[str, Any]:
    """Read what `run` wrote. Raises `UserError` where the file holds something else."""
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return {"parts": dict(record["parts"])}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not what python -m benchmarks.gpu run has written: name its gpu.json") from None
