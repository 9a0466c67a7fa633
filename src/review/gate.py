"""Decide by what a change is measured, and what it may not pass with."""

from typing import Any

from pydantic import ValidationError

from src.core.errors import UserError
from src.core.paths import PARAMS
from src.params.schema import Report
from src.review.revision import Revision


def policy(base: Revision, head: Revision) -> tuple[Report, list[str]]:
    """Return `report` of the base's `params.yaml`, and the keys that only the head has, whose values hold then.

    The base's, since a change must neither widen what it is measured by nor open its own gate; a gate that neither has
    is open. Raises `UserError` where neither has a margin, or a value is not what it may be.
    """
    sides: list[dict[str, Any]] = []
    for side in (base, head):
        config = side.params.get("report")
        present = config if isinstance(config, dict) else {}
        sides.append({key: present[key] for key in Report.model_fields if present.get(key) is not None})
    old, new = sides
    try:
        return Report.model_validate({"fail_on": "never"} | new | old), [key for key in new if key not in old]
    except ValidationError as error:
        wrong = error.errors()[0]
        key, must = wrong["loc"][0], wrong["msg"].replace("Input should", "must")
        found = "is missing" if wrong["type"] == "missing" else f"is {wrong['input']!r}: {must}"
        raise UserError(f"{PARAMS} of {(base if key in old else head).name}: report.{key} {found}") from None


def failure(verdict: str | None, lacking: str | None, numbers_stale: bool) -> str | None:
    """Say why a run must not pass a gate against worse models; None if it may. `lacking`: why it has no verdict."""
    if verdict == "worse":
        return "the model is worse"
    return lacking or ("its numbers are stale: run dvc repro" if numbers_stale else None)
