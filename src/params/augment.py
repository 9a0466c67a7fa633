"""Section `train.augment`: what is changed at random in every training image."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from src.params.section import Fraction, NotNegative, Section, Share


class Augment(Section):
    """0, false or null: off."""

    flip: bool | Literal["alternate"]
    flip_vertical: bool
    crop: Annotated[int, Field(ge=0)]
    resized_crop: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=2)] | None
    rotate: Annotated[float, Field(ge=0, le=180)]
    translate: Share
    scale: Share
    shear: Annotated[float, Field(ge=0, lt=90)]
    perspective: Share
    brightness: NotNegative
    contrast: NotNegative
    saturation: NotNegative
    hue: Annotated[float, Field(ge=0, le=0.5)]
    grey: Fraction
    noise: Fraction
    salt_pepper: Fraction
    erase: Fraction
    mixup: NotNegative
    cutmix: NotNegative

    @property
    def mixes(self) -> bool:
        """Whether images of a batch get parts of each other."""
        return bool(self.mixup or self.cutmix)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.resized_crop is not None and self.resized_crop[0] > self.resized_crop[1]:
            raise ValueError("resized_crop must name the smaller share of the area first")
        return self
