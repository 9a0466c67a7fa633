"""The whole file, and what must agree between its sections."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from src.params.data import Data, Split
from src.params.evaluation import Evaluate
from src.params.model import Model
from src.params.section import Count, Section, Seed
from src.params.training import Train
from src.params.tune import Tune


class Visualize(Section):
    samples: Annotated[int, Field(ge=1, le=100)]
    mistakes: Annotated[int, Field(ge=1, le=100)]
    image: Annotated[int, Field(ge=0)]
    layer: Count
    shift: Annotated[int, Field(ge=0)]


class Report(Section):
    margin: Annotated[float, Field(gt=0, lt=100)]


class Params(Section):
    seed: Seed
    data: Data
    split: Split
    model: Model
    train: Train
    evaluate: Evaluate
    visualize: Visualize
    tune: Tune
    report: Report

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not (self.split.validation or self.split.validation_from_test):
            if self.train.patience is not None:
                raise ValueError("train.patience needs validation images: set it to null, or split.validation above 0")
            if self.train.schedule.name == "plateau":
                raise ValueError("the schedule plateau needs validation images: set split.validation above 0")
        if self.model.freeze and self.train.optimizer.name == "muon":
            raise ValueError("muon trains hidden layers, of which model.freeze leaves none: use adamw")
        return self
