"""Write the history and the summary of a training to `reports/`, and what it ran on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import version

import pandas
from torch import nn

from src.compute import distributed
from src.compute.device import Compute
from src.core.files import write_json
from src.core.paths import ENVIRONMENT, HISTORY, STEPS, TRAINING
from src.evaluation import tables
from src.models.layers import bytes_of, count_parameters
from src.training.epoch import CURVES, Epoch, Errors


def write(epochs: Sequence[Epoch], network: nn.Module, environment: Mapping[str, str | int]) -> None:
    """Write the curves, the summary and the environment of a training to `reports/`."""
    tables.write(HISTORY, history(epochs))
    tables.write(STEPS, steps(epochs))
    write_json(TRAINING, summary(epochs, network))
    write_json(ENVIRONMENT, environment)


def history(epochs: Sequence[Epoch]) -> pandas.DataFrame:
    """Return a table of `epoch` and `CURVES`, a row for every epoch.

    It holds no times, so that equal runs write equal files; validation is empty without validation images.
    """
    table = pandas.DataFrame([[getattr(epoch, name) for name in CURVES] for epoch in epochs], columns=list(CURVES))
    table.insert(0, "epoch", [epoch.number for epoch in epochs])
    table["lr"] = [f"{epoch.lr:.6g}" for epoch in epochs]  # six decimals would show a small rate as 0
    return table


def steps(epochs: Sequence[Epoch]) -> pandas.DataFrame:
    """Return a table `step,epoch,train_error,validation_error`, a row every `train.record_every` steps."""
    columns = [field.name for field in fields(Errors)]
    return pandas.DataFrame([asdict(record) for epoch in epochs for record in epoch.steps], columns=columns)


def summary(epochs: Sequence[Epoch], network: nn.Module) -> dict[str, float | int | None]:
    """Return the epochs trained, the one whose weights are kept, its validation numbers, and the network's size.

    `size_mib` counts parameters and buffers in memory, in MiB (2**20 bytes).
    """
    kept = next(epoch for epoch in reversed(epochs) if epoch.best)
    accuracy, loss = kept.validation_accuracy, kept.validation_loss
    return {
        "epochs": epochs[-1].number,
        "best_epoch": kept.number,
        "validation_accuracy": None if accuracy is None else round(accuracy, 6),
        "validation_loss": None if loss is None else round(loss, 6),
        "parameters": count_parameters(network),
        "size_mib": round(bytes_of(network) / 2**20, 2),
    }


def environment(compute: Compute, threads: int) -> dict[str, str | int]:
    """Return what the last digits of a result depend on besides parameters, data and code."""
    return {
        "device": compute.device.type,
        "precision": compute.precision,
        "threads": threads,
        "processes": distributed.world_size(),
        "torch": version("torch"),
        "torchvision": version("torchvision"),
    }
