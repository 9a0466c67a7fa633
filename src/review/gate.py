"""Decide which margin and gate a change is judged by, and if it passes the gate."""

from pydantic import ValidationError

from src.core.errors import UserError
from src.core.paths import PARAMS, VALIDATION_PREDICTIONS
from src.params.schema import Report
from src.review.revision import Revision


def policy(base: Revision, head: Revision) -> Report:
    """Return `report` of the base's `params.yaml`, or of the head's if the base has none.

    With the head's values a change could widen its own margin or open its own gate. Raises `UserError` if they cannot
    be read.
    """
    side = base if "report" in base.params else head
    try:
        return Report.model_validate(side.params.get("report"))
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(["report", *map(str, wrong["loc"])])
        raise UserError(f"{PARAMS} of {side.name}: {key} is {wrong['input']!r}: {wrong['msg']}") from None


def failure(verdict: str | None, answered: bool, numbers_stale: bool) -> str | None:
    """Return why a run must not pass a gate against worse models, None if it may.

    answered: it has answers to the validation images.
    """
    if verdict == "worse":
        return "the model is worse"
    if not answered:
        return f"it has no {VALIDATION_PREDICTIONS}: run dvc repro"
    return "its numbers are stale: run dvc repro" if numbers_stale else None


def closed(fail_on: str, failed: str | None, verdict: str | None) -> str | None:
    """Return why a change does not pass the gate, None if it does. failed: its `failure`."""
    if fail_on == "never":
        return None
    unsure = fail_on == "no-evidence" and verdict not in ("better", "equivalent")
    return failed or ("nothing shows that the model is as good" if unsure else None)
