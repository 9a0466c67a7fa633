"""Kinds of values in `params.yaml`, and the base class of its maps."""

import difflib
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Config(BaseModel):
    """Hold a map of `params.yaml`. Unknown and missing keys are refused, and values of another type, not converted."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _know_all_keys(cls, values: Any) -> Any:
        lines = []
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                close = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                hint = f"did you mean {close[0]}?" if close else f"allowed here: {', '.join(cls.model_fields)}"
                lines.append(f"unknown key {key!r}: {hint}")
        if lines:
            raise ValueError("; ".join(lines))
        return values


Number = TypeVar("Number", int, float)


def _ascending(values: list[Number]) -> list[Number]:
    if any(low >= high for low, high in pairwise(values)):
        raise ValueError("must ascend, without repetition")
    return values


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]  # beyond that, some functions of torch fail
CountOrZero = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Ascending = AfterValidator(_ascending)
