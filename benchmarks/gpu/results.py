"""What one call on a GPU measured, kept for the page."""

import json
from pathlib import Path
from typing import Any

from benchmarks import common, report
from benchmarks.gpu.runner import NOT_REACHED, RUNNING
from src.core.errors import UserError


def keep(file: Path) -> str:
    """Add what `run` wrote to what the GPU measured before, part by part, and write the page. Return what was added.

    Raises `UserError` where it was no GPU.
    """
    try:
        parts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["parts"]
        machine = {key: parts["device"]["found"][key] for key in ("device", "capability", "hardware", "versions")}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not what python -m benchmarks.gpu run has written: name its gpu.json") from None
    if not machine["capability"].startswith("cuda"):
        raise UserError(f"{file} holds no results of a GPU, but of {machine['device']}")
    reached = {name: one for name, one in parts.items() if one["state"] not in (NOT_REACHED, RUNNING)}
    same = [entry for entry in common.kept(report.GPU) if entry["hardware"] == machine["hardware"]]
    before = same[0]["parts"] if same else {}
    common.keep(report.GPU, {**machine, "parts": before | reached}, same=())
    report.main()
    return f"{machine['device']}: {', '.join(reached)} in {report.GPU} and {report.README}"
