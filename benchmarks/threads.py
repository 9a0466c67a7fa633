"""How many threads a network gains by: steps of training with one and with all processors, from which
`src.compute.device.ONE_THREAD` was chosen.

    python -m benchmarks.threads [--rounds 7]

Random images, the recipe's batch size, optimiser and precision; the two take turns. A turn does not count while other
processes take more than a tenth of the processors: threads that wait for each other then lose all that they gain. Keeps
images per second in `benchmarks/threads.json`.
"""

import argparse
import statistics
import time
from pathlib import Path

import psutil
import torch

from benchmarks.choices import LARGEST, LARGEST_BATCH, RECIPES, ROUND
from benchmarks.common import hardware, keep, versions
from benchmarks.problems import synthetic
from src.compute.device import prepare, threads
from src.core.errors import command
from src.training.losses import Target
from src.training.step import TrainStep

RESULTS = Path("benchmarks/threads.json")
NETWORKS = {name: recipe for name, recipe in RECIPES.items() if name != "others"} | {"resnet18": RECIPES["others"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    everything = torch.get_num_threads()
    rows = {network: measure(network, everything, rounds) for network in NETWORKS}
    result = {
        "threads": everything,
        "runs": rounds,
        "images_per_second": rows,
        "hardware": hardware(),
        "versions": versions("torch"),
    }
    keep(RESULTS, result, same=("threads",))
    for network, row in rows.items():
        one, all_of_them = row["1"], row[str(everything)]
        print(f"{network:<14} 1: {one:,.0f}, {everything}: {all_of_them:,.0f} images/s, auto is {row['auto']:.0f}")


def measure(network: str, everything: int, rounds: int) -> dict[str, float]:
    """Return the median images per second with one thread and with all, and how many `auto` takes."""
    recipe = NETWORKS[network]
    known = synthetic(recipe, LARGEST_BATCH if network == "resnet18" else LARGEST)
    section = known.params.train
    compute = prepare(section.model_copy(update={"device": "cpu"}), network)
    count = min(section.batch_size, len(known.training.labels))
    images, labels = (torch.from_numpy(values[:count]) for values in known.training)
    train_step = TrainStep(known.classifier().train(), section, labels, compute)
    speeds: dict[int, list[float]] = {1: [], everything: []}
    train_step.step(images, Target(labels), 1e-3, 1)  # warms up
    while min(map(len, speeds.values())) < rounds:
        for chosen, found in speeds.items():
            torch.set_num_threads(chosen)
            started, others, steps = time.perf_counter(), others_seconds(), 0
            while not steps or time.perf_counter() - started < ROUND:
                steps += 1
                train_step.step(images, Target(labels), 1e-3, steps)
            seconds = time.perf_counter() - started
            if others_seconds() - others < 0.1 * everything * seconds:
                found.append(steps * count / seconds)
    medians = {str(chosen): round(statistics.median(found), 1) for chosen, found in speeds.items()}
    return medians | {"auto": threads(section, network)}


def others_seconds() -> float:
    """Return the processor time that all other processes have taken."""
    every, own = psutil.cpu_times(), time.process_time()
    return sum(every) - every.idle - getattr(every, "iowait", 0.0) - own


if __name__ == "__main__":
    command(main)
