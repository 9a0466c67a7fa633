"""How long our training takes to the tutorials' published results, and to 94 % on CIFAR-10 where there is a recipe.

    python -m benchmarks.reaching --device cuda                          every system with a published result
    python -m benchmarks.reaching cifar10-basic --device cuda --runs 5   seeds 0 to 4

A recipe trains with its own settings until the held-out images, its validation or else the test images, show the
published result; they are looked at after every epoch, outside the clock. The clock runs through the epochs alone:
imports, loading and tracking are in `benchmarks.overhead`. A first training of one epoch, not counted, warms the device
up. All weights start at random (`dogs-vs-cats` was published with ImageNet's). On CUDA the utilisation is what
`nvidia-smi` says every 0.2 s, evaluations included. Keeps `benchmarks/reaching.json`, one entry per recipe and device.
"""

import argparse
import contextlib
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.common import hardware, keep, summary, versions
from benchmarks.contenders import now
from benchmarks.loops import device_name
from benchmarks.problems import Problem, problem
from benchmarks.systems import ARCHIVES
from src.compute.batches import Batches
from src.compute.device import prepare
from src.data.prepared import LabelledImages
from src.faults import command
from src.params import Train
from src.training.loop import measure, train

RESULTS = Path("benchmarks/reaching.json")
EVERY = 200  # milliseconds between two looks at the utilisation


class Target(NamedTuple):
    """Reached at this accuracy or above, and at this loss or below."""

    accuracy: float = 0.0
    loss: float = float("inf")

    def reached(self, loss: float, accuracy: float) -> bool:
        return accuracy >= self.accuracy and loss <= self.loss


# `mnist` was published with curves only.
TARGETS = {
    "cifar10-basic": Target(accuracy=0.72),
    "fashion-mnist": Target(loss=0.57),
    "cifar10-vgg": Target(accuracy=0.8647),
    "dogs-vs-cats": Target(accuracy=0.874),
    "cifar10-speed": Target(accuracy=0.94),
}


def main() -> None:
    known = [name for name in TARGETS if name in ARCHIVES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--epochs", type=int, help="at most; default: the recipe's")
    parser.add_argument("--runs", type=int, default=3, help="seeds from 0 on")
    parser.add_argument("--data", type=Path, default=Path("../shared/datasets"), help="folder of the archives")
    arguments = parser.parse_args()
    if unknown := set(arguments.systems) - set(known):
        parser.error(f"{', '.join(sorted(unknown))}: must be of {', '.join(known)}")
    for name in arguments.systems or known:
        system = problem(name, arguments.data)
        changes = {"device": arguments.device, "precision": arguments.precision}
        section = system.params.train.model_copy(update=changes)
        result = {
            "recipe": name,
            "device": device_name(system, section),
            "precision": prepare(section, system.params.model.name).precision,
            "target": {key: value for key, value in TARGETS[name]._asdict().items() if 0 < value < float("inf")},
            "hardware": hardware(),
            "versions": versions("torch"),
            **measured(system, section, TARGETS[name], arguments.epochs or section.epochs, arguments.runs),
        }
        keep(RESULTS, result, same=("recipe", "device"))
        print(line(result), flush=True)


def measured(system: Problem, section: Train, target: Target, epochs: int, runs: int) -> dict[str, Any]:
    """Every seed's epochs and seconds to the target, and their medians over those that reached it."""
    once(system, section, target, 1, 0)
    with utilisation(prepare(section, system.params.model.name).device) as percents:
        trained = [once(system, section, target, epochs, seed) for seed in range(runs)]
    reached = [run["seconds"] for run in trained if run["reached"]]
    return {
        "most_epochs": epochs,
        "runs": trained,
        "seconds_to_target": summary(reached) if reached else None,
        "gpu_utilisation_percent": round(statistics.mean(percents), 1) if percents else None,
    }


def once(system: Problem, section: Train, target: Target, epochs: int, seed: int) -> dict[str, Any]:
    """One training until the target, at most so many epochs of the recipe's schedule."""
    compute = prepare(section, system.params.model.name)
    training, held_out = (Batches(data, compute.device) for data in (system.training, system.evaluation))
    nothing = Batches(LabelledImages(system.evaluation.images[:0], system.evaluation.labels[:0]), compute.device)
    classifier = system.card.build(seed)
    report: dict[str, Any] = {"seed": seed, "reached": False, "seconds": 0.0}
    started = now()
    for epoch in train(classifier, training, nothing, section, seed, compute):
        report["seconds"] = round(report["seconds"] + now() - started, 3)
        loss, accuracy = measure(classifier, held_out)
        report |= {"epochs": epoch.number, "loss": loss, "accuracy": accuracy}
        if loss is not None and accuracy is not None and target.reached(loss, accuracy):
            report["reached"] = True
            break
        if epoch.number == epochs:
            break
        started = now()
    return report


@contextlib.contextmanager
def utilisation(device: torch.device) -> Iterator[list[float]]:
    """Percents of the GPU's utilisation while the block runs, filled in when it ends; none on other devices."""
    percents: list[float] = []
    if device.type != "cuda":
        yield percents
        return
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--loop-ms={EVERY}"]
    sampler = subprocess.Popen([*query, "--id=0"], stdout=subprocess.PIPE, text=True)
    try:
        yield percents
    finally:
        sampler.terminate()
        percents += [float(text) for text in sampler.communicate()[0].split() if text.isdigit()]


def line(result: dict[str, Any]) -> str:
    found = result["seconds_to_target"]
    runs = result["runs"]
    reached = sum(run["reached"] for run in runs)
    target = ", ".join(f"{key} {value}" for key, value in result["target"].items())
    seconds = "{median:.2f} s ({quartile_1:.2f} to {quartile_3:.2f})".format(**found) if found else "not reached"
    busy = result["gpu_utilisation_percent"]
    return (
        f"{result['recipe']:<16}{target}: {seconds}, {reached} of {len(runs)} runs, at most {result['most_epochs']} "
        f"epochs; {result['device']}, {result['precision']}" + (f", GPU {busy} % busy" if busy is not None else "")
    )


if __name__ == "__main__":
    command(main)
