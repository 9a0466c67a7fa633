"""One point trained, as the stage train would: the same engine, data and order of random numbers."""

import gc
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from optuna.trial import TrialState

from src.core.errors import UserError, out_of_memory
from src.core.files import digest
from src.models.file import save
from src.params import with_values
from src.search.plan import Plan
from src.search.points import Point
from src.training.results import Epoch
from src.training.trainer import Trainer, Training

_CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr")


class Failed(Exception):
    """A training that cannot go on: its reason, in one line."""


def run(point: Point, plan: Plan, trainer: Trainer) -> None:
    """Trains the point and records what came of it, also that it failed; not that the storage does."""
    values, seed = point.propose()
    result: dict[str, Any] = {"values": dict(values), "seed": seed, "crowded": point.crowded}
    history: list[Epoch] = []
    reason = None
    with point.beating():
        try:
            _train(point, plan, trainer, result, history)
        except Failed as failed:
            reason = str(failed)
        if reason is not None:
            # Not before the exception is gone: what raised it, and so network and optimiser, live as long as it does.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            point.finish(TrialState.FAIL, None, result | _curves(history) | {"reason": reason})


def _train(point: Point, plan: Plan, trainer: Trainer, result: dict[str, Any], history: list[Epoch]) -> None:
    """Train the point to its end, or until it is pruned or another worker has taken it over.

    history: gains its epochs. Raises `Failed`.
    """
    with _as_failed():
        params = with_values(plan.params, result["values"])
        training = trainer.start(params.model, params.train, result["seed"])
    with closing(_guarded(training.epochs)) as epochs:
        for epoch in epochs:
            if not point.mine():
                return
            history.append(epoch)
            if point.report(epoch.number, plan.objective(epoch)) and epoch.number < params.train.epochs:
                point.finish(TrialState.PRUNED, None, result | _curves(history))
                return
    kept = next(epoch for epoch in reversed(history) if epoch.best)
    kept_result = {"best_epoch": kept.number, "model_md5": _digest(training)}
    point.finish(TrialState.COMPLETE, plan.best(history), result | _curves(history) | kept_result)


def _guarded(epochs: Iterator[Epoch]) -> Generator[Epoch]:
    with _as_failed():
        yield from epochs


@contextmanager
def _as_failed() -> Iterator[None]:
    """Raise as `Failed` what a training raises: a loss that is not finite, memory, a network too deep for its images.

    torch says most of it with `RuntimeError`. An error of the accelerator other than too little memory passes: no later
    trial of this process could compute there.
    """
    try:
        yield
    except (UserError, MemoryError, RuntimeError) as error:
        if isinstance(error, torch.AcceleratorError) and not out_of_memory(error):
            raise
        raise Failed(" ".join(str(error).split())[:300] or type(error).__name__) from None


def _curves(history: Sequence[Epoch]) -> dict[str, Any]:
    return {"history": {name: [getattr(epoch, name) for epoch in history] for name in _CURVES}}


def _digest(training: Training) -> str:
    """MD5 of the file that the stage train would write, the one in `dvc.lock`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.safetensors")
        save(file, training.classifier, training.spec)
        return digest(file)
