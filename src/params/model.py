"""Section `model`: the network and what its inputs look like."""

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from src.model_names import ACTIVATIONS_IN_CODE, SMALL, TORCHVISION
from src.params.section import Positive, Section, Share


class Constants(Section):
    """Per channel, for pixels in [0, 1]; one number serves every channel."""

    mean: Annotated[list[float], Field(min_length=1)]
    std: Annotated[list[Positive], Field(min_length=1)]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std must have the same length")
        return self


Normalize = Annotated[
    Annotated[Literal["dataset", "imagenet", "half", "none"], Tag("name")] | Annotated[Constants, Tag("constants")],
    Discriminator(lambda value: "constants" if isinstance(value, dict | Constants) else "name"),
]


Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "gelu"]


def _network_name(value: Any) -> Any:
    if isinstance(value, str) and value not in (*SMALL, *TORCHVISION):
        close = difflib.get_close_matches(value, (*SMALL, *TORCHVISION), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"must be {', '.join(SMALL)} or a classifier of torchvision.models{hint}")
    return value


class Model(Section):
    name: Annotated[str, BeforeValidator(_network_name)]
    weights: Annotated[str, Field(min_length=1)]
    freeze: bool
    activation: Activation | None
    dropout: Share
    normalize: Normalize

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.weights == "default" and self.name in SMALL:
            raise ValueError(f"weights: {self.name} has no pretrained weights; set none, or a file of your own")
        if self.freeze and self.weights == "none":
            raise ValueError("freeze: without pretrained weights there is nothing to keep; set it to false")
        if self.activation is not None and self.name in ACTIVATIONS_IN_CODE:
            raise ValueError(f"activation must be null with {self.name}: torchvision wrote its ReLU into the code")
        return self
