"""Section `evaluate`: what is measured on the test images besides the plain number."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from src.params.section import Count, Positive, Section, ascending

Strengths = Annotated[list[Positive], AfterValidator(ascending)]
Shares = Annotated[list[Annotated[float, Field(gt=0, le=1)]], AfterValidator(ascending)]


class Robustness(Section):
    images: Count | None
    shifts: Annotated[int, Field(ge=0)]
    noise: Strengths
    salt_pepper: Shares
    fgsm: Shares


class Evaluate(Section):
    tta: Literal["none", "flip", "flip_shift"]
    tta_shift: Count
    robustness: Robustness
