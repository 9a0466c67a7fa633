"""What precision, layout, compilation, threads and the size of evaluation batches do, network by network.

    python -m benchmarks.switches                            the five networks on a processor, one and two threads
    python -m benchmarks.switches --systems mnist --compile
    python -m benchmarks.switches --device cuda --precisions float32 bfloat16 float16 --compile

Training is `benchmarks.contenders.learn`, forward, backward and optimiser on one resident batch of the recipe's size;
evaluation is the forward pass in batches of 64 to 1,024, eager, with the first of the numbers of threads. The images
are noise, which changes no time. The settings of a network take turns, in an order that is reversed every round. How
long the first step of a compiled network takes depends on what the compiler's cache holds. Keeps
`benchmarks/switches.json`, one entry per system and device.
"""

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.common import hardware, keep, summary, versions
from benchmarks.contenders import defaults, learn, timed
from benchmarks.loops import device_name
from benchmarks.problems import Problem, synthetic
from benchmarks.systems import ARCHIVES
from src.compute.device import Compute, prepare
from src.faults import command
from src.training.optimizers import optimizer

RESULTS = Path("benchmarks/switches.json")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
EVALUATION = (64, 128, 512, 1024)
PHOTOS = 64  # of 224×224 pixels: larger batches would only fill memory


class Setting(NamedTuple):
    """One way to compute. batch_size: of training the recipe's."""

    precision: str
    layout: str
    compiled: bool
    threads: int
    batch_size: int

    def autocast(self) -> torch.dtype | None:
        return None if self.precision == "float32" else getattr(torch, self.precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=list(ARCHIVES), choices=list(ARCHIVES), metavar="SYSTEM")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], metavar="PRECISION")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--compile", action="store_true", help="compiled networks too, beside eager ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn, about; at least one step")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    for name in arguments.systems:
        known = synthetic(name, PHOTOS if name == "dogs-vs-cats" else max(EVALUATION))
        section = known.params.train.model_copy(update={"device": arguments.device, "precision": "float32"})
        device = prepare(section, known.params.model.name).device
        modes = (False, True) if arguments.compile else (False,)
        training = [
            Setting(precision, layout, compiled, threads, section.batch_size)
            for precision, layout, compiled, threads in itertools.product(
                arguments.precisions, LAYOUTS, modes, arguments.threads
            )
        ]
        evaluation = [
            Setting(precision, layout, False, arguments.threads[0], size)
            for precision, layout, size in itertools.product(arguments.precisions, LAYOUTS, EVALUATION)
            if size <= len(known.training.labels)
        ]
        result = {
            "system": name,
            "device": device_name(known, section),
            "rounds": arguments.rounds,
            "hardware": hardware(),
            "versions": versions("torch"),
            "training": measured(known, training, learning, device, arguments.rounds, arguments.seconds),
            "evaluation": measured(known, evaluation, looking, device, arguments.rounds, arguments.seconds),
        }
        keep(RESULTS, result, same=("system", "device"))
        print(table(result), flush=True)


Work = Callable[[int], object]  # of so many steps


def measured(
    known: Problem,
    settings: list[Setting],
    work: Callable[[Problem, Setting, torch.device], Work],
    device: torch.device,
    rounds: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """A row for every setting: images per second of `rounds` alternated turns, and the seconds of its first step."""
    ready = []
    for setting in settings:
        defaults(setting.threads)
        run = work(known, setting, device)
        first = timed(lambda run=run: run(1))  # type: ignore[misc]
        second = timed(lambda run=run: run(1))  # type: ignore[misc]
        ready.append((setting, run, max(1, round(seconds / second)), first - second))
    rates: dict[Setting, list[float]] = {setting: [] for setting in settings}
    for number in range(rounds):
        for setting, run, steps, _ in ready[:: -1 if number % 2 else 1]:
            defaults(setting.threads)
            elapsed = timed(lambda run=run, steps=steps: run(steps))  # type: ignore[misc]
            rates[setting].append(steps * setting.batch_size / elapsed)
    return [
        {
            **setting._asdict(),
            "steps": steps,
            "first_step_seconds": round(max(first, 0.0), 2),
            "images_per_second": summary(rates[setting]),
        }
        for setting, _, steps, first in ready
    ]


def placed(known: Problem, setting: Setting, device: torch.device) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The network and a resident batch, images float32 (N, C, H, W), both in the layout of the setting."""
    layout = LAYOUTS[setting.layout]
    classifier = known.classifier().to(device).to(memory_format=layout)
    images, labels = (np.resize(values, (setting.batch_size, *values.shape[1:])) for values in known.training)
    batch = classifier.normalize(torch.from_numpy(images).to(device)).contiguous(memory_format=layout)
    network = classifier.network
    if setting.compiled:
        network.compile(dynamic=False)
    return network, batch, torch.from_numpy(labels).to(device)


def learning(known: Problem, setting: Setting, device: torch.device) -> Work:
    network, images, labels = placed(known, setting, device)
    optimiser = optimizer(known.params.train.optimizer, network, known.params.train.decay_biases)
    compute = Compute(device, setting.autocast())
    return lambda steps: learn(network.train(), images, labels, optimiser, compute, steps)


def looking(known: Problem, setting: Setting, device: torch.device) -> Work:
    network, images, _ = placed(known, setting, device)
    compute = Compute(device, setting.autocast())

    def look(steps: int) -> None:
        network.eval()
        with torch.no_grad(), compute.autocasting():
            for _ in range(steps):
                network(images)

    return look


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['system']}: {result['device']}, {result['rounds']} rounds; {result['hardware']}; {result['versions']}"
    ]
    for part in ("training", "evaluation"):
        best = max(row["images_per_second"]["median"] for row in result[part])
        lines.append(f"{part:<12}{'batch':>6}{'threads':>8}  {'':<12}{'':<14}{'':<9}images/s (quartiles)")
        for row in result[part]:
            rate = "{median:,} ({quartile_1:,} to {quartile_3:,})".format(**row["images_per_second"])
            compiled = f"compiled in {row['first_step_seconds']} s" if row["compiled"] else ""
            mark = "  ← fastest" if row["images_per_second"]["median"] == best else ""
            lines.append(
                f"{'':<12}{row['batch_size']:>6}{row['threads']:>8}  {row['precision']:<12}{row['layout']:<14}"
                f"{rate}{mark} {compiled}".rstrip()
            )
    return "\n".join(lines)


if __name__ == "__main__":
    command(main)
