"""One and several processes that train one model: images per second of an epoch.

    python -m benchmarks.scaling                                   1 and 2 processes, on a processor
    python -m benchmarks.scaling --device cuda --processes 1 2 4 8

Each system with its batch size and augmentation on noise; the batch is that of all processes together, as in
`train.processes`. The first epoch warms up, the others count. Keeps `benchmarks/scaling.json`.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import hardware, keep, summary, versions
from benchmarks.problems import synthetic
from benchmarks.systems import ARCHIVES
from src.compute import device, processes
from src.compute.batches import Batches
from src.data.prepared import LabelledImages
from src.faults import command
from src.training.loop import train

RESULTS = Path("benchmarks/scaling.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=["cifar10-basic", "cifar10-vgg"], choices=list(ARCHIVES))
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="of an epoch")
    arguments = parser.parse_args()
    for system in arguments.systems:
        rates = {}
        for number in arguments.processes:
            with tempfile.TemporaryDirectory() as temporary:
                report = Path(temporary, "rates.json")
                processes.launch(
                    work, number, report, system, arguments.device, arguments.rounds + 1, arguments.steps, number
                )
                rates[number] = json.loads(report.read_text(encoding="utf-8"))[1:]
        result = {
            "system": system,
            "device": arguments.device,
            "runs": arguments.rounds,
            "hardware": hardware(),
            "versions": versions("torch"),
            "images_per_second": {str(number): summary(values) for number, values in rates.items()},
        }
        keep(RESULTS, result, same=("system", "device"))
        for number, row in result["images_per_second"].items():
            print(f"{system}: {number} processes, {row['median']:,.0f} images/s", flush=True)


def work(report: Path, system: str, wanted: str, epochs: int, steps: int, number: int) -> None:
    """In each of the processes; the first one writes the images per second of every epoch."""
    known = synthetic(system, 2_000)
    changes = {"device": wanted, "threads": 1, "processes": number, "epochs": epochs, "record_every": 0}
    section = known.params.train.model_copy(update=changes)
    compute = device.prepare(section, known.params.model.name)
    # A round number of whole batches, the same images again and again.
    count = steps * section.batch_size
    again = np.resize(np.arange(len(known.training.labels)), count)
    training, nothing = (
        Batches(LabelledImages(known.training.images[rows], known.training.labels[rows]), compute.device)
        for rows in (again, again[:0])
    )
    with processes.joined(compute.device):
        rates = [epoch.images_per_second for epoch in train(known.classifier(), training, nothing, section, 0, compute)]
        if processes.number() == 0:
            report.write_text(json.dumps(rates), encoding="utf-8")


if __name__ == "__main__":
    command(main)
