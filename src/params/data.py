"""Sections `data` and `split`: which images there are and how they are divided."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from src.params.section import Count, Section, Seed, Share


class Data(Section):
    name: Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "image_folder"]
    source: Annotated[str, Field(min_length=1)] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    image_size: Annotated[int, Field(ge=1, le=4096)] | None
    resize: Literal["crop", "squash", "pad"]
    limit: Count | None
    skip_unreadable: bool

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.name == "digits" and self.source is not None:
            raise ValueError("source must be null with the data set digits, which is embedded")
        return self


def _regular_expression(value: Any) -> Any:
    if isinstance(value, str):
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"must be a regular expression ({error})") from error
    return value


class Split(Section):
    seed: Seed
    validation: Share
    test: Share
    validation_from_test: Annotated[int, Field(ge=0)]
    groups: Annotated[str, BeforeValidator(_regular_expression)] | None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test must be less than 1, not {self.validation + self.test:g}")
        if self.validation and self.validation_from_test:
            raise ValueError("validation must be 0 where validation_from_test takes the validation images")
        return self
