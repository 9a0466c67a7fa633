"""Section `train.schedule`: what becomes of the learning rate, after a linear warm-up that all have."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from src.params.section import Count, NotNegative, Positive, Section


class Warm(Section):
    warmup_epochs: NotNegative


class Smooth(Warm):
    name: Literal["constant", "cosine"]


class OneCycle(Section):
    name: Literal["one_cycle"]
    warmup_epochs: Positive  # the rise of the cycle


class Step(Warm):
    name: Literal["step"]
    every: Count
    factor: Positive


class MultiStep(Warm):
    name: Literal["multi_step"]
    at: Annotated[list[Count], Field(min_length=1)]
    factor: Positive

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if any(later <= earlier for earlier, later in pairwise(self.at)):
            raise ValueError(f"at must list epochs in rising order, not {self.at}")
        return self


class Exponential(Warm):
    name: Literal["exponential"]
    factor: Positive


class Plateau(Warm):
    name: Literal["plateau"]
    patience: Count
    factor: Positive


Schedule = Annotated[Smooth | OneCycle | Step | MultiStep | Exponential | Plateau, Field(discriminator="name")]
