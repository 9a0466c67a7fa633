"""Decide by what a change is measured, and what it may not pass with."""

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from src.core.errors import UserError
from src.core.paths import PARAMS
from src.params.schema import Report
from src.review.revision import Revision


def policy(base: Revision, head: Revision) -> tuple[Report, list[str]]:
    """Return `report` of the base's `params.yaml`, and the keys that only the head has, whose values hold then.

    The base's, since a change must neither widen what it is measured by nor open its own gate; a gate that neither has
    is open. Raises `UserError` where neither has a margin, a value is not what it may be, or the base's cannot be read.
    """
    sides: list[dict[str, Any]] = []
    for side in (base, head):
        config = side.params.get("report", {})
        if reason := side.damaged.get(PARAMS) or (None if isinstance(config, dict) else "holds no keys below report"):
            raise UserError(f"{PARAMS} of {side.name} {reason}: repair it, since it has the gate and the margin")
        sides.append({key: config[key] for key in Report.model_fields if key in config})
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


def closed(fail_on: str, failures: Iterable[str | None], verdicts: Iterable[str | None]) -> str | None:
    """Say why a change does not pass, by the `failure` and the verdict of each of its runs; None if it does."""
    if fail_on == "never":
        return None
    unsure = fail_on == "no-evidence" and not set(verdicts) <= {"better", "equivalent"}
    return next(filter(None, failures), "nothing shows that the model is as good" if unsure else None)
