"""Write what remains of a training in `reports/`: its history, its summary, and what it ran on."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import pandas
from torch import nn

from src.compute import distributed
from src.compute.device import Compute
from src.core.files import write_json
from src.core.paths import ENVIRONMENT, HISTORY, STEPS, TRAINING
from src.evaluation import tables
from src.models.layers import bytes_of, count_parameters
from src.training.results import Epoch


def write(epochs: Sequence[Epoch], network: nn.Module, environment: Mapping[str, str | int]) -> None:
    """Write the curves, the summary and the environment of a training to `reports/`."""
    tables.write(HISTORY, history(epochs))
    tables.write(STEPS, steps(epochs))
    write_json(TRAINING, summary(epochs, network))
    write_json(ENVIRONMENT, environment)


def history(epochs: Sequence[Epoch]) -> pandas.DataFrame:
    """Return a table `epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,lr`, a row for every epoch.

    It holds no times, so that equal runs write equal files; validation is empty without validation images.
    """
    columns = ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    return pandas.DataFrame(
        {
            "epoch": [epoch.number for epoch in epochs],
            **{name: pandas.Series([getattr(epoch, name) for epoch in epochs], dtype="float64") for name in columns},
            "lr": [f"{epoch.lr:.6g}" for epoch in epochs],  # six decimals would show a small rate as 0
        }
    )


def steps(epochs: Sequence[Epoch]) -> pandas.DataFrame:
    """Return a table `step,epoch,train_error,validation_error`, a row every `train.record_every` steps."""
    records = [record for epoch in epochs for record in epoch.steps]
    columns = ["train_error", "validation_error"]
    return pandas.DataFrame(
        {
            "step": pandas.Series([record.step for record in records], dtype="int64"),
            "epoch": pandas.Series([record.epoch for record in records], dtype="int64"),
            **{name: pandas.Series([getattr(record, name) for record in records], dtype="float64") for name in columns},
        }
    )


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
    """Return what a result's last digits depend on besides parameters, data and code; no host names, no times."""
    return {
        "device": compute.device.type,
        "precision": compute.precision,
        "threads": threads,
        "processes": distributed.world_size(),
        "torch": version("torch"),
        "torchvision": version("torchvision"),
    }
