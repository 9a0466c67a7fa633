"""Section `train.augment`: what is changed at random in every training image."""

from typing import Annotated

from pydantic import Field

from src.params.section import Section, Share


class Augment(Section):
    flip: bool
    crop: Annotated[int, Field(ge=0)]
    rotate: Annotated[float, Field(ge=0, le=180)]
    scale: Share
