"""The kinds of values in `params.yaml`, and what all its maps have in common."""

from itertools import pairwise
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Config(BaseModel):
    """A map of `params.yaml`. Unknown keys, missing keys and values of another type are refused, none is converted."""

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
Count = Annotated[int, Field(ge=1, lt=2**31)]  # torch counts no further everywhere
CountOrZero = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Ascending = AfterValidator(_ascending)
