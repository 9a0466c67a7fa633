"""The table that `train.precision: auto` looks up: the precision by capability of the device and network.

    python -m benchmarks.choices [--device cuda] [--rounds 5]

Times steps of training (random images, the recipe's batch size and optimiser) in both precisions, in alternation; keeps
the images per second in `benchmarks/choices.json` and the choices in `src/compute/choices.json`. bfloat16 is chosen
where it is at least a tenth faster. Only what is measured is rewritten: other rows stay. (Telling oneDNN not to use AMX
does not make a processor without it: where bfloat16 has no AMX, an AMD EPYC gains by it and this Intel Xeon loses.)
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import hardware, keep, versions
from src.compute.device import CHOICES, Compute, capability
from src.data.prepared import ImageFormat
from src.models.build import build
from src.params import Model, Params, load
from src.paths import RECIPES
from src.training.learner import Learner
from src.training.losses import Target

RESULTS = Path("benchmarks/choices.json")
# The network of which recipe, and the images it is for; resnet18 stands for all that torchvision has.
NETWORKS = {
    "cifar_basic": ("cifar10-basic", (32, 32, 3)),
    "fashion_net": ("fashion-mnist", (28, 28, 1)),
    "mnist_convnet": ("mnist", (28, 28, 1)),
    "cifar_vgg": ("cifar10-vgg", (32, 32, 3)),
    "others": ("dogs-vs-cats", (224, 224, 3)),
}
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
FASTER = 1.1  # than float32, to be chosen instead
LARGEST_BATCH = 8  # of 224×224 pixels: enough to fill a processor
ROUND = 0.3  # seconds that a round of one kind takes at least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(1)
    able = capability(device)
    speeds = {network: measure(network, device, arguments.rounds) for network in NETWORKS}
    result = {
        "capability": able,
        "device": device.type,
        "runs": arguments.rounds,
        "images_per_second": speeds,
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else hardware(),
        "versions": versions("torch"),
    }
    keep(RESULTS, result, same=("capability",))
    table = json.loads(CHOICES.read_text(encoding="utf-8"))
    table[able] = {network: chosen(speed) for network, speed in speeds.items()}
    CHOICES.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for network, speed in speeds.items():
        compared = ", ".join(f"{name} {statistics.median(values):,.0f} images/s" for name, values in speed.items())
        print(f"{able:<16} {network:<14} {compared}: {table[able][network]}", flush=True)


def measure(network: str, device: torch.device, rounds: int) -> dict[str, list[float]]:
    """Images per second of training steps by precision, a number for each round."""
    recipe, (height, width, channels) = NETWORKS[network]
    recipe_params = load(RECIPES / f"{recipe}.yaml")
    batch_size = min(recipe_params.train.batch_size, LARGEST_BATCH if height == 224 else 1024)
    numbers = np.random.default_rng(0)
    images = torch.from_numpy(numbers.integers(0, 256, (batch_size, height, width, channels), dtype=np.uint8)).to(
        device
    )
    target = Target.of(torch.from_numpy(numbers.integers(0, 2, batch_size)).to(device), None)
    learners = {name: learner(recipe_params, (height, width, channels), device, name) for name in PRECISIONS}
    speeds: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    for number in range(rounds + 1):
        for name in PRECISIONS:
            speed = steps_per_second(learners[name], images, target, device) * batch_size
            if number:  # the first warms up
                speeds[name].append(round(speed, 1))
    return speeds


def learner(recipe: Params, shape: tuple[int, int, int], device: torch.device, precision: str) -> Learner:
    height, width, channels = shape
    torch.manual_seed(0)
    model = Model.model_validate(recipe.model.model_dump() | {"weights": "none", "normalize": "half"})
    image = ImageFormat(height=height, width=width, channels=channels, resize=None)
    classifier = build(model, image, 10, [0.5] * channels, [0.25] * channels).train()
    compute = Compute(device, PRECISIONS[precision])
    return Learner(classifier, recipe.train, torch.zeros(10, dtype=torch.int64), compute)


def steps_per_second(learner: Learner, images: torch.Tensor, target: Target, device: torch.device) -> float:
    """On a CPU of the time in which the one thread really runs, so that other work on the machine matters little."""
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    started, steps = clock(), 0
    while not steps or clock() - started < ROUND:
        steps += 1
        learner.step(images, target, 1e-3, steps)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return steps / (clock() - started)


def chosen(speeds: dict[str, list[float]]) -> str:
    """The precision, by the medians."""
    single, half = (statistics.median(speeds[name]) for name in ("float32", "bfloat16"))
    return "bfloat16" if half >= FASTER * single else "float32"


if __name__ == "__main__":
    main()
