"""Define what goes through the pipe between a search and its workers, besides an `Epoch` after every epoch."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from src.params import Model, Train


class Task(NamedTuple):
    """A training. Its number tells it from the others."""

    number: int
    model: Model
    train: Train
    seed: int


class Outcome(NamedTuple):
    """Say how a training ended. `measured` is what the workers' `measure` returned; `reason` says why it failed."""

    state: Literal["complete", "pruned", "failed"]
    measured: Mapping[str, Any] = {}
    reason: str = ""
    out_of_memory: bool = False
