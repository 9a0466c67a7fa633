"""Section `train.loss`: every loss with the keys that it has."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from src.params.section import Positive, Section, Share

ClassWeights = Annotated[
    Annotated[Literal["balanced"] | None, Tag("name")] | Annotated[list[Positive], Field(min_length=1), Tag("numbers")],
    Discriminator(lambda value: "numbers" if isinstance(value, list) else "name"),
]


class CrossEntropy(Section):
    name: Literal["cross_entropy"]
    label_smoothing: Share
    class_weights: ClassWeights


class Weighted(Section):
    name: Literal["nll", "multi_margin"]
    class_weights: ClassWeights


class Unweighted(Section):
    name: Literal["bce", "mse", "l1"]


def _refuse(value: Any) -> Any:
    if isinstance(value, dict) and value.get("name") == "nll2d":
        raise ValueError("nll2d needs a label for every pixel; here an image has one: use nll")
    return value


Loss = Annotated[CrossEntropy | Weighted | Unweighted, Field(discriminator="name"), BeforeValidator(_refuse)]
