"""Decide which margin and gate a change is judged by, and if it passes the gate."""

from typing import Any

from pydantic import ValidationError

from src.core.errors import UserError
from src.core.paths import PARAMS
from src.params.schema import Report
from src.review.revision import Revision


def policy(base: Revision, head: Revision) -> Report:
    """Return `report` of the base's `params.yaml`; a key that the base lacks is taken from the head's.

    With the head's values a change could widen its own margin or open its own gate. A gate that neither has is open.
    Raises `UserError` if one of the files cannot be read, has a value that is not allowed, or if neither has a margin.
    """
    found: dict[str, Any] = {"fail_on": "never"}
    for side in (head, base):
        config = side.params.get("report", {})
        if not isinstance(config, dict):
            raise UserError(f"{PARAMS} of {side.name} holds no keys below report: repair it")
        found |= {key: config[key] for key in Report.model_fields if key in config}
    try:
        return Report.model_validate(found)
    except ValidationError as error:
        wrong = error.errors()[0]
        key, must = wrong["loc"][0], wrong["msg"].replace("Input should", "must")
        problem = "is missing" if wrong["type"] == "missing" else f"is {wrong['input']!r}: {must}"
        side = base if key in base.params.get("report", {}) else head
        raise UserError(f"{PARAMS} of {side.name}: report.{key} {problem}") from None


def failure(verdict: str | None, lacking: str | None, numbers_stale: bool) -> str | None:
    """Return why a run must not pass a gate against worse models, None if it may.

    lacking: why the run has no answers, None if it has some.
    """
    if verdict == "worse":
        return "the model is worse"
    return lacking or ("its numbers are stale: run dvc repro" if numbers_stale else None)


def closed(fail_on: str, failed: str | None, verdict: str | None) -> str | None:
    """Return why a change does not pass the gate, None if it does. failed: its `failure`."""
    if fail_on == "never":
        return None
    unsure = fail_on == "no-evidence" and verdict not in ("better", "equivalent")
    return failed or ("nothing shows that the model is as good" if unsure else None)
