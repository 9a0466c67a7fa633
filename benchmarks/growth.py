"""Training on more and more images: seconds per image and memory, resident against streamed.

    python -m benchmarks.growth                                     10k, 50k, 200k and 1M images of 32×32 pixels
    python -m benchmarks.growth --sizes 10000 50000 --rounds 5

One epoch of each case in a process of its own, in alternation, on synthetic images (noise: the content changes no time
here) in one memory-mapped file, with the network of `mnist`: the quicker the network, the more its images show. The
augmentation is that of `cifar10-vgg`, so that the draws grow too. A case is timed from the epoch's first image to its
last, and its memory is the most RssAnon that /proc showed, above what a bare interpreter has: what the process filled
itself, without the pages of the file. Linux only. Keeps `benchmarks/growth.json`, one entry per device.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import hardware, keep, summary, versions
from src.compute.batches import Batches
from src.compute.device import prepare
from src.core.errors import command
from src.data.prepared import ImageFormat, LabelledImages
from src.models.file import ModelSpec
from src.params.writing import load_recipe
from src.training.loop import train

RESULTS = Path("benchmarks/growth.json")
SIDE, CLASSES, CHUNK = 32, 10, 10_000
EVERY = 0.02  # seconds between two looks at memory
WAYS = ("resident", "streamed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000, 200_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5, help="for up to 50,000 images; one for more")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="where the images are written: 3 GB for 1M (default: temporary)")
    parser.add_argument("--case", nargs=2, metavar=("IMAGES", "WAY"), help=argparse.SUPPRESS)  # in the process measured
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(epoch(arguments.folder, int(arguments.case[0]), arguments.case[1], arguments.device)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        write(Path(temporary), max(arguments.sizes))
        device, rows = measured(Path(temporary), arguments.sizes, arguments.rounds, arguments.device)
    result = {
        "device": device,
        "threads": 1,
        "hardware": hardware(),
        "versions": versions("torch"),
        "interpreter_mib": round(bare(), 1),
        "rows": rows,
    }
    keep(RESULTS, result, same=("device",))
    print(f"{result['device']}, one thread; {result['hardware']}; {result['versions']}")


def write(folder: Path, count: int) -> None:
    """Images and labels as `split` writes them; the same noise again and again, on the disk as often as asked."""
    random = np.random.default_rng(0)
    noise = random.integers(256, size=(CHUNK, SIDE, SIDE, 3), dtype=np.uint8)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, SIDE, SIDE, 3))
    for start in range(0, count, CHUNK):
        images[start : start + CHUNK] = noise[: count - start]
    images.flush()
    np.save(folder / "labels.npy", random.integers(CLASSES, size=count))


def measured(folder: Path, sizes: list[int], rounds: int, device: str) -> tuple[str, list[dict[str, Any]]]:
    """The device's name and a row for every size and way: medians of the processes' own reports."""
    name, rows = "", []
    for size in sizes:
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(rounds if size <= 50_000 else 1):
            for way in WAYS:
                own = [sys.executable, "-m", "benchmarks.growth", "--folder", str(folder), "--device", device]
                run = subprocess.run([*own, "--case", str(size), way], stdout=subprocess.PIPE, text=True, check=True)
                found[way].append(json.loads(run.stdout))
        for way, reports in found.items():
            rates = [report["images_per_second"] for report in reports]
            row = {
                "images": size,
                "way": way,
                "runs": len(reports),
                "images_per_second": summary(rates),
                "microseconds_per_image": summary([1e6 / rate for rate in rates]),
                "of_resident": summary(
                    [a / b["images_per_second"] for a, b in zip(rates, found["resident"], strict=True)]
                ),
                "rss_anon_mib": round(max(report["peak_mib"] for report in reports)),
                "imports_mib": round(statistics.median(report["imports_mib"] for report in reports)),
            }
            name = reports[0]["device"]
            print(line(row), flush=True)
            rows.append(row)
    return name, rows


def line(row: dict[str, Any]) -> str:
    rate = "{median:,} ({quartile_1:,} to {quartile_3:,}) images/s".format(**row["images_per_second"])
    share = f"{row['of_resident']['median']:.2f} of resident" if row["way"] != WAYS[0] else ""
    memory = f"{row['rss_anon_mib']:,} MiB, of which {row['imports_mib']:,} for imports"
    return f"{row['images']:>9,} {row['way']:<9} {rate:<44}{share:<18} {memory}"


def epoch(folder: Path, count: int, way: str, device: str) -> dict[str, Any]:
    """One epoch in this process, and what it took. Two first ones, of few images, warm the network up."""
    section = load_recipe("cifar10-vgg").train.model_copy(update={"device": device, "epochs": 1})
    network = load_recipe("mnist").model
    image = ImageFormat(height=SIDE, width=SIDE, channels=3, resize=None)
    spec = ModelSpec(
        model=network, classes=[str(n) for n in range(CLASSES)], image=image, mean=[0.5] * 3, std=[0.25] * 3
    )
    compute = prepare(section, network.name)
    data = LabelledImages(*(np.load(folder / f"{kind}.npy", mmap_mode="r") for kind in ("images", "labels")))
    imports = anonymous()
    watcher = Watcher()
    watcher.start()

    def pass_over(images: int) -> float:
        training, nothing = (
            batches(LabelledImages(data.images[:n], data.labels[:n]), way, compute.device) for n in (images, 0)
        )
        (report,) = train(spec.build(), training, nothing, section, 0, compute)
        return report.images_per_second

    for _ in range(2):
        pass_over(min(count, 20 * section.batch_size))
    rate = pass_over(count)
    name = torch.cuda.get_device_name(compute.device) if compute.device.type == "cuda" else compute.device.type
    base = bare()
    return {
        "device": name,
        "images_per_second": rate,
        "peak_mib": watcher.peak() - base,
        "imports_mib": imports - base,
    }


def batches(data: LabelledImages, way: str, device: torch.device) -> Batches:
    """Resident or streamed, whatever fits."""
    return Batches(data, device, resident=way == "resident")


class Watcher(threading.Thread):
    """The most anonymous memory that this process has had."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.done = 0.0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(EVERY):
            self.most = max(self.most, anonymous())

    def peak(self) -> float:
        """Ends the watch."""
        self.done.set()
        self.join()
        return max(self.most, anonymous())


def anonymous() -> float:
    """MiB of anonymous memory of this process now."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if not found:
        raise OSError("/proc/self/status does not tell RssAnon")
    return int(found[1]) / 1024


def bare() -> float:
    """MiB of anonymous memory of an interpreter that does nothing."""
    code = "import re; print(re.search(r'RssAnon:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) / 1024


if __name__ == "__main__":
    command(main)
