"""Section `train.schedule`: what becomes of the learning rate, after a linear warm-up that all have."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from src.params.section import Count, NotNegative, Positive, Section, ascending


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
    at: Annotated[list[Count], Field(min_length=1), AfterValidator(ascending)]
    factor: Positive


class Exponential(Warm):
    name: Literal["exponential"]
    factor: Positive


class Plateau(Warm):
    name: Literal["plateau"]
    patience: Annotated[int, Field(ge=0)]
    factor: Positive


Schedule = Annotated[Smooth | OneCycle | Step | MultiStep | Exponential | Plateau, Field(discriminator="name")]
