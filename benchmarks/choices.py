"""The table that `train.precision: auto` looks up: the precision by capability of the device and network.

    python -m benchmarks.choices [--device cuda] [--rounds 5]

Times steps of training (random images, the recipe's batch size and optimiser) in both precisions, in alternation; keeps
the images per second in `benchmarks/choices.json` and the choices in `src/compute/choices.json`. A precision is chosen
where it is at least a tenth faster than the finer ones. Only what is measured is rewritten: other rows stay. (Telling
oneDNN not to use AMX does not make a processor without it: where bfloat16 has no AMX, an AMD EPYC gains by it and this
Intel Xeon loses.) `python -m benchmarks.gpu choices` writes both files from what a GPU measured.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import hardware, kept, replace, versions
from benchmarks.problems import synthetic
from src.compute.device import CHOICES, Compute, capability
from src.compute.memory import keep_freed
from src.training.losses import Target
from src.training.step import TrainStep

RESULTS = Path("benchmarks/choices.json")
# Where a network is trained; resnet18 stands for all that torchvision has.
RECIPES = {
    "cifar_basic": "cifar10-basic",
    "fashion_net": "fashion-mnist",
    "mnist_convnet": "mnist",
    "cifar_vgg": "cifar10-vgg",
    "others": "dogs-vs-cats",
}
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
FASTER = 1.1  # than a finer precision, to be chosen instead
LARGEST_BATCH = 8  # of 224×224 pixels: enough to fill a processor
LARGEST = 1024  # of small images: no recipe has more in a batch
ROUND = 0.3  # seconds that a round of one kind takes at least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(1)
    if device.type == "cpu":
        keep_freed()
    able = capability(device)
    speeds = {network: measure(network, device, arguments.rounds) for network in RECIPES}
    result = {
        "capability": able,
        "device": device.type,
        "runs": arguments.rounds,
        "images_per_second": speeds,
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else hardware(),
        "versions": versions("torch"),
    }
    print(write(result), flush=True)


def write(result: dict[str, Any]) -> str:
    """Keep the result, and make what it chooses its capability's row of the table. Return a line for each network.

    The table has one row for a capability, so a result replaces that of any other hardware of the same one.
    """
    able = result["capability"]
    replace(RESULTS, [entry for entry in kept(RESULTS) if entry["capability"] != able], result)
    table = json.loads(CHOICES.read_text(encoding="utf-8"))
    table[able] = {network: chosen(speeds) for network, speeds in result["images_per_second"].items()}
    CHOICES.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    lines = []
    for network, speeds in result["images_per_second"].items():
        compared = ", ".join(f"{name} {statistics.median(values):,.0f} images/s" for name, values in speeds.items())
        lines.append(f"{able:<16} {network:<14} {compared}: {table[able][network]}")
    return "\n".join(lines)


def measure(network: str, device: torch.device, rounds: int) -> dict[str, list[float]]:
    """Images per second of training steps by precision, a number for each round."""
    known = synthetic(RECIPES[network], LARGEST_BATCH if network == "others" else LARGEST)
    section = known.params.train
    batch_size = min(section.batch_size, len(known.training.labels))
    images, labels = (torch.from_numpy(values[:batch_size]).to(device) for values in known.training)
    target = Target.of(labels, None)
    learners = {
        name: TrainStep(known.classifier().train(), section, labels, Compute(device, autocast))
        for name, autocast in PRECISIONS.items()
    }
    speeds: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    for number in range(rounds + 1):
        for name in PRECISIONS:
            speed = steps_per_second(learners[name], images, target, device) * batch_size
            if number:  # the first warms up
                speeds[name].append(round(speed, 1))
    return speeds


def steps_per_second(train_step: TrainStep, images: torch.Tensor, target: Target, device: torch.device) -> float:
    """On a CPU of the time in which the one thread really runs, so that other work on the machine matters little."""
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    started, steps = clock(), 0
    while not steps or clock() - started < ROUND:
        steps += 1
        train_step.step(images, target, 1e-3, steps)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return steps / (clock() - started)


def chosen(speeds: dict[str, list[float]]) -> str:
    """Choose a precision by the medians; `speeds` are in the order from the finest to the coarsest."""
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    best, *coarser = medians
    for name in coarser:
        if medians[name] >= FASTER * medians[best]:
            best = name
    return best


if __name__ == "__main__":
    main()
