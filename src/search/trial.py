"""One point trained, as the stage train would: the same engine, data and order of random numbers."""

import gc
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from optuna.trial import TrialState

from src.atomic import digest
from src.compute import device
from src.compute.batches import Batches
from src.data.intact import open_checked
from src.data.prepared import read_dataset
from src.faults import Fault
from src.models.classifier import Classifier
from src.models.file import Card, save
from src.params import Params, with_values
from src.search.plan import Plan
from src.search.points import Point
from src.training.loop import train
from src.training.results import Epoch

_CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr")


class Failed(Exception):
    """A training that cannot go on: its reason, in one line."""


class Trainer:
    """Data and device, made ready once for all trials of a process. The test images stay closed."""

    def __init__(self, params: Params) -> None:
        compute = device.prepare(params.train, params.model.name)
        self._device = compute.device
        self._dataset = read_dataset()
        self._training, self._validation = (
            Batches(split, compute.device) for split in open_checked(self._dataset, "train", "validation")
        )

    def card(self, params: Params) -> Card:
        return Card.of(params.model, self._dataset)

    def epochs(self, classifier: Classifier, params: Params, seed: int) -> Iterator[Epoch]:
        compute = device.prepare(params.train, params.model.name)  # the space may hold networks and precisions
        return train(classifier, self._training, self._validation, params.train, seed, compute)

    def build(self, params: Params, seed: int) -> Classifier:
        return self.card(params).build(seed)

    def free(self) -> None:
        """Gives back what a training that ran out of memory still holds."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def run(point: Point, plan: Plan, trainer: Trainer) -> None:
    """Trains the point and records what came of it, also that it failed; not that the storage does."""
    values, seed = point.propose()
    result: dict[str, Any] = {"values": dict(values), "seed": seed, "crowded": point.crowded}
    history: list[Epoch] = []
    with point.beating():
        try:
            params, classifier = _begin(plan, trainer, values, seed)
            with closing(_guarded(trainer.epochs(classifier, params, seed))) as epochs:
                for epoch in epochs:
                    if not point.mine():
                        return
                    history.append(epoch)
                    if point.report(epoch.number, plan.objective(epoch)) and epoch.number < params.train.epochs:
                        point.finish(TrialState.PRUNED, None, result | _curves(history))
                        return
        except Failed as failed:
            trainer.free()
            point.finish(TrialState.FAIL, None, result | _curves(history) | {"reason": str(failed)})
            return
        kept = next(epoch for epoch in reversed(history) if epoch.best)
        result |= _curves(history) | {"best_epoch": kept.number}
        result["model_md5"] = _digest(classifier, trainer.card(params))
        point.finish(TrialState.COMPLETE, plan.objective(kept), result)


def _begin(plan: Plan, trainer: Trainer, values: Any, seed: int) -> tuple[Params, Classifier]:
    """The parameters with the point's values, and the untrained network."""
    try:
        params = with_values(plan.params, values)
        return params, trainer.build(params, seed)
    except (Fault, MemoryError, RuntimeError) as error:
        raise Failed(_line(error)) from None


def _guarded(epochs: Iterator[Epoch]) -> Generator[Epoch]:
    """The epochs; what training raises (a loss that is not finite, memory, a network too deep for its images) as
    `Failed`. torch says most of it with `RuntimeError`."""
    try:
        yield from epochs
    except (Fault, MemoryError, RuntimeError) as error:
        raise Failed(_line(error)) from None


def _curves(history: Sequence[Epoch]) -> dict[str, Any]:
    return {"history": {name: [getattr(epoch, name) for epoch in history] for name in _CURVES}}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _digest(classifier: Classifier, card: Card) -> str:
    """MD5 of the file that the stage train would write, the one in `dvc.lock`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.safetensors")
        save(file, classifier, card)
        return digest(file)
