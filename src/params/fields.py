"""Kinds of values in `params.yaml`, and the base class of its maps."""

from itertools import pairwise
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Config(BaseModel):
    """Hold a map of `params.yaml`. Unknown and missing keys are refused, and values of another type, not converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


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
