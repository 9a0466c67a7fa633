"""What every section of `params.yaml` has in common, and the kinds of numbers in it."""

from itertools import pairwise
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Unknown keys, missing keys and values of another type are faults; nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Number = TypeVar("Number", int, float)


def ascending(values: list[Number]) -> list[Number]:
    """For an `AfterValidator`."""
    if any(low >= high for low, high in pairwise(values)):
        raise ValueError("must ascend, without repetition")
    return values


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]  # torch counts no further everywhere
Seed = Annotated[int, Field(ge=0, lt=2**32)]
