"""Training on more and more images: images per second and memory, resident against streamed.

    python -m benchmarks.growth                                     10k, 50k, 200k and 1M images of 32×32 pixels
    python -m benchmarks.growth --sizes 10000 50000 --rounds 5

One epoch of each case in a process of its own, in alternation, on synthetic images (noise: the content changes no time
here) in memory-mapped shards, with the network of `mnist`: the quicker the network, the more its images show. The
augmentation is that of `cifar10-vgg`, so that its parameters grow too. Memory is the most RssAnon that /proc showed:
what the process filled itself, imports included, without the pages of the files. Linux only. Keeps
`benchmarks/growth.json`, one entry per device.
"""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.common import FOLDER, anonymous_mib, command_line, hardware, keep, summary, versions
from src.compute.batches import Batches
from src.compute.device import prepare
from src.core.errors import command
from src.data.prepared import ImageFormat, LabelledImages, Shards
from src.models.file import ModelSpec
from src.params.writing import load_recipe
from src.training.loop import train

RESULTS = FOLDER / "growth.json"
SIDE, CLASSES, SHARD = 32, 10, 50_000
EVERY = 0.02  # seconds between two looks at memory
WAYS = ("resident", "streamed")


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000, 200_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5, help="for up to 50,000 images; one for more")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="where the images are written: 3 GB for 1M (default: temporary)")
    parser.add_argument("--case", nargs=2, metavar=("IMAGES", "WAY"), help="in the process that is measured")
    arguments = parser.parse_args()
    if arguments.case:
        print(epoch(arguments.folder, int(arguments.case[0]), arguments.case[1], arguments.device))
        return
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        write(Path(temporary), max(arguments.sizes))
        for size in arguments.sizes:
            rounds = arguments.rounds if size <= 50_000 else 1
            rows += measured(Path(temporary), size, rounds, arguments.device)
            print(*map(json.dumps, rows[-2:]), sep="\n", flush=True)
    device = arguments.device
    result = {"device": device, "hardware": hardware(), "versions": versions("torch"), "rows": rows}
    keep(RESULTS, result, same=("device",))


def write(folder: Path, count: int) -> None:
    """Write shards of images, and labels: the same noise again and again, on the disk as often as asked."""
    random = np.random.default_rng(0)
    noise = random.integers(256, size=(SHARD, SIDE, SIDE, 3), dtype=np.uint8)
    for start in range(0, count, SHARD):
        np.save(folder / f"images-{start // SHARD:05d}.npy", noise[: count - start])
    np.save(folder / "labels.npy", random.integers(CLASSES, size=count))


def measured(folder: Path, size: int, rounds: int, device: str) -> list[dict[str, Any]]:
    """Return a row for each way: what processes of their own took for an epoch of so many images."""
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    peaks = dict.fromkeys(WAYS, 0.0)
    command = [sys.executable, "-m", "benchmarks.growth", "--folder", str(folder), "--device", device, "--case"]
    for _ in range(rounds):
        for way in WAYS:
            with subprocess.Popen([*command, str(size), way], stdout=subprocess.PIPE, text=True) as process:
                while process.poll() is None:
                    with suppress(OSError):  # it has just ended
                        peaks[way] = max(peaks[way], anonymous_mib(process.pid))
                    time.sleep(EVERY)
                rates[way].append(float(process.communicate()[0]))
    return [
        {
            "images": size,
            "way": way,
            "runs": rounds,
            "images_per_second": summary(rates[way]),
            "of_resident": summary([a / b for a, b in zip(rates[way], rates["resident"], strict=True)]),
            "rss_anon_mib": round(peaks[way]),
        }
        for way in WAYS
    ]


def epoch(folder: Path, count: int, way: str, device: str) -> float:
    """Train for an epoch in this process; return images per second. Two first ones, of few images, warm up."""
    section = load_recipe("cifar10-vgg").train.model_copy(update={"device": device, "epochs": 1})
    network = load_recipe("mnist").model
    image = ImageFormat(height=SIDE, width=SIDE, channels=3, resize=None)
    classes = [str(number) for number in range(CLASSES)]
    spec = ModelSpec(model=network, classes=classes, image=image, mean=[0.5] * 3, std=[0.25] * 3)
    compute = prepare(section, network.name)
    shards = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("images-*.npy"))]
    labels = np.load(folder / "labels.npy", mmap_mode="r")
    few = 20 * section.batch_size
    for number in (few, few, count):
        first = [shard[: max(0, number - SHARD * index)] for index, shard in enumerate(shards)]
        training, nothing = (
            Batches(LabelledImages(cast(Any, Shards(arrays)), labels[:n]), compute.device, resident=way == "resident")
            for arrays, n in ((first, number), ([shards[0][:0]], 0))
        )
        (report,) = train(spec.build(), training, nothing, section, 0, compute)
    return report.images_per_second


if __name__ == "__main__":
    command(main)
