"""`reports/training.json` and `metrics.json` as train and evaluate write them, for those who show them."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from src.core.documents import read_object
from src.core.errors import UserError
from src.core.paths import METRICS, TRAINING

_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0)]


class _Numbers(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    __pydantic_extra__: dict[str, Annotated[float, Field(allow_inf_nan=False)] | None]


class _Training(_Numbers):
    epochs: _Count
    best_epoch: _Count
    validation_accuracy: _Share | None
    parameters: _Count
    size_mib: float


class _NoImages(_Numbers):
    images: Annotated[int, Field(ge=0, le=0)]


class _Metrics(_Numbers):
    images: _Count
    accuracy: _Share
    accuracy_ci_low: _Share
    accuracy_ci_high: _Share


def read_training() -> dict[str, Any]:
    """Raises `UserError` where the file is missing, damaged, or not one that train writes."""
    return _read(TRAINING, _Training)


def read_metrics() -> dict[str, Any]:
    """With `images: 0` alone where there are none. Raises `UserError` as `read_training`."""
    return _read(METRICS, _Metrics)


def _read(path: Path, form: type[_Numbers]) -> dict[str, Any]:
    found = read_object(path)
    try:
        (_NoImages if form is _Metrics and found.get("images") == 0 else form).model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(
            f"{path} is damaged ({'.'.join(map(str, first['loc']))}: {first['msg']}): run dvc repro"
        ) from None
    return found
