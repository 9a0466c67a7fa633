"""Section `train.optimizer`: every optimiser with the keys that it has. All else is torch's default."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from src.params.section import Count, NotNegative, Positive, Section, Share


class Plain(Section):
    name: Literal["adam", "adamw", "nadam", "radam", "adamax", "adagrad", "adadelta", "asgd"]
    lr: Positive
    weight_decay: NotNegative


class Momentum(Section):
    name: Literal["rmsprop", "muon"]
    lr: Positive
    weight_decay: NotNegative
    momentum: Share


class Sgd(Section):
    name: Literal["sgd"]
    lr: Positive
    weight_decay: NotNegative
    momentum: Share
    nesterov: bool

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Rprop(Section):
    name: Literal["rprop"]
    lr: Positive


class Lbfgs(Section):
    name: Literal["lbfgs"]
    lr: Positive
    iterations: Count  # at most, on every batch


def _refuse(value: Any) -> Any:
    if isinstance(value, dict) and value.get("name") == "sparse_adam":
        raise ValueError("sparse_adam takes only sparse gradients, of embeddings; these networks have none: use adam")
    return value


Optimizer = Annotated[Plain | Momentum | Sgd | Rprop | Lbfgs, Field(discriminator="name"), BeforeValidator(_refuse)]
