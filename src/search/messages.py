"""Define the messages between a search and its workers, besides `Epoch`."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from src.params import Model, Train


class Task(NamedTuple):
    """Ask for a training."""

    model: Model
    train: Train
    seed: int


class Outcome(NamedTuple):
    """Tell how a training ended, and what was measured after it, or why it failed."""

    state: Literal["complete", "pruned", "failed"]
    measured: Mapping[str, Any] = {}
    reason: str = ""
    spent: bool = False  # its process should end: it gives memory back, or has lost its device
