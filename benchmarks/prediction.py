"""Photos that `python -m src.predict` classifies per minute and core, and the memory that it takes for many of them.

    python -m benchmarks.prediction [--files 2000 20000] [--photos ../shared/datasets/dogs-vs-cats.tar] [--runs 3]

Each small network, in the size and colour of its tutorial's images, on JPEG photos of 300×300 pixels: 200 different
ones from the archive (without one: smooth random ones), linked as often as needed. The whole command is measured, its
start and all: photos by the processor time of all its threads, and the peak of RssAnon, which is what the process has
filled itself. Keeps the results in `benchmarks/prediction.json`. Linux only.
"""

import argparse
import io
import re
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from benchmarks.common import hardware, keep, versions
from src import params
from src.data.prepared import ImageFormat
from src.models.file import Card, save

RESULTS = Path("benchmarks/prediction.json")
SIDE, DIFFERENT, QUALITY = 300, 200, 90
EVERY = 0.05  # seconds between two looks at memory

# Side and channels of the images.
NETWORKS = {"mnist_convnet": (28, 1), "fashion_net": (28, 1), "cifar_basic": (32, 3), "cifar_vgg": (32, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--photos", type=Path, default=Path("../shared/datasets/dogs-vs-cats.tar"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kinds = write_photos(folder / "different", arguments.photos)
        for files in arguments.files:
            link_photos(kinds, folder / str(files), files)
        for network in arguments.networks:
            model = folder / f"{network}.safetensors"
            write_model(model, network)
            for files in arguments.files:
                runs = [measure(model, folder / str(files), files) for _ in range(arguments.runs)]
                result = {
                    "network": network,
                    "image": "{0}×{0}×{1}".format(*NETWORKS[network]),
                    "files": files,
                    "photos": arguments.photos.name if arguments.photos.exists() else "random",
                    "runs": len(runs),
                    "photos_per_minute_and_core": round(statistics.median(60 * files / run["cpu"] for run in runs)),
                    "seconds": round(statistics.median(run["seconds"] for run in runs), 1),
                    "rss_anon_mib": round(max(run["rss_anon_mib"] for run in runs)),
                    "hardware": hardware(),
                    "versions": versions("torch", "pillow"),
                }
                print(*(result[key] for key in ("network", "image", "files")), end=": ")
                print(f"{result['photos_per_minute_and_core']:,} photos per minute and core, ", end="")
                print(f"{result['seconds']} s, {result['rss_anon_mib']} MiB", flush=True)
                keep(RESULTS, result, same=("network", "files"))


def write_photos(folder: Path, archive: Path) -> list[Path]:
    folder.mkdir()
    paths = []
    for number, image in enumerate(islice(from_archive(archive) if archive.exists() else random(), DIFFERENT)):
        paths.append(folder / f"{number}.jpg")
        ImageOps.fit(image.convert("RGB"), (SIDE, SIDE)).save(paths[-1], quality=QUALITY)
    return paths


def from_archive(archive: Path) -> Iterator[Image.Image]:
    with tarfile.open(archive, "r|*") as tar:
        for member in tar:
            if (file := tar.extractfile(member)) is not None:
                yield Image.open(io.BytesIO(file.read()))


def random() -> Iterator[Image.Image]:
    generator = np.random.default_rng(0)
    while True:
        coarse = Image.fromarray(generator.integers(0, 256, (24, 24, 3), np.uint8))
        yield coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def link_photos(kinds: list[Path], folder: Path, files: int) -> None:
    folder.mkdir()
    for number in range(files):
        (folder / f"{number:06}.jpg").hardlink_to(kinds[number % len(kinds)])


def write_model(path: Path, network: str) -> None:
    side, channels = NETWORKS[network]
    torch.manual_seed(0)
    model = params.Model(name=network, weights="none", freeze=False, activation=None, dropout=0.2, normalize="half")
    image = ImageFormat(height=side, width=side, channels=channels, resize="crop")
    classes = [str(number) for number in range(10)]
    card = Card(model=model, classes=classes, image=image, mean=[0.5] * channels, std=[0.25] * channels)
    save(path, card.build(), card)


def measure(model: Path, folder: Path, files: int) -> dict[str, float]:
    """Processor and elapsed seconds and the peak of MiB of one command. It must classify every file."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-m", "src.predict", str(folder), "--model", str(model), "--format", "csv"]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, anonymous(process.pid))
            time.sleep(EVERY)
        seconds = time.perf_counter() - started
        output.seek(0)
        lines = sum(1 for _ in output)
    if process.returncode or lines != files + 1:
        sys.exit(f"{' '.join(command)} ended with {process.returncode} after {lines} lines")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "seconds": seconds, "rss_anon_mib": peak}


def anonymous(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main()
