"""A million photos of 32×32 pixels and ten million of 8×8, from the source to the end of an epoch: seconds and memory.

    python -m benchmarks.growth                                     both, 20 GB on the disk, about an hour
    python -m benchmarks.growth "1M photos" --share 0.01            a hundredth of the images

The images are noise: their content changes no time. As files ten million do not fit a disk, nor would anybody keep
them so: the photos are JPEGs in class folders of one tar, those of 8×8 lie in IDX files as MNIST's do. `download` and
`split` run as they are, with one processor and with two, and must write the same bytes. Then a process trains for an
epoch of all images, streamed, with the network of `mnist`, the quickest, so that its images show most; and another for
rounds of fewer, streamed and resident in alternation. Memory is the most RssAnon that /proc showed: what a process
filled itself, imports included, without the pages of files. Linux only. Keeps `benchmarks/growth.json`.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.common import FOLDER, anonymous_mib, command_line, hardware, keep, summary, versions
from benchmarks.problems import place
from src.compute.batches import Batches
from src.compute.device import prepare
from src.core.errors import command
from src.core.files import digest
from src.data.prepared import LabelledImages, Shards, open_split, read_dataset
from src.models.model_file import ModelSpec
from src.params import writing
from src.training.loop import train

RESULTS = FOLDER / "growth.json"
CLASSES = 10
ROUNDS, ALTERNATED = 5, 50_000  # of resident and streamed images in alternation, and images of each
EVERY = 0.1  # seconds between two looks at memory


def jpegs(path: Path, count: int) -> None:
    """Pack JPEGs of 32×32 pixels in class folders into a tar."""
    random = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            content = io.BytesIO()
            Image.fromarray(random.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(content, "JPEG")
            info = tarfile.TarInfo(f"photos/class{number % CLASSES}/{number:07d}.jpg")
            info.size = content.tell()
            content.seek(0)
            tar.addfile(info, content)


def idx_files(path: Path, count: int) -> None:
    """Pack IDX files of images of 8×8 pixels and their labels into a tar; a tenth of them are the test set."""
    random = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for name, images in (("train", count - count // 10), ("t10k", count // 10)):
            arrays = {
                "images-idx3": random.integers(256, size=(images, 8, 8), dtype=np.uint8),
                "labels-idx1": (np.arange(images) % CLASSES).astype(np.uint8),
            }
            for kind, array in arrays.items():
                header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
                info = tarfile.TarInfo(f"{name}-{kind}-ubyte")
                info.size = len(header) + array.nbytes
                tar.addfile(info, io.BytesIO(header + array.tobytes()))


class Case(NamedTuple):
    images: int
    recipe: str
    changes: dict[str, Any]
    write: Callable[[Path, int], None]


CASES = {
    "1M photos": Case(1_000_000, "own-images", {"data.image_size": None}, jpegs),
    "10M arrays": Case(10_000_000, "mnist", {"split.validation_from_test": 0}, idx_files),
}


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--share", type=float, default=1.0, help="of the images")
    parser.add_argument("--folder", type=Path, help="where the images are written (default: temporary)")
    parser.add_argument("--train", type=int, metavar="IMAGES", help="in a process that is measured")
    parser.add_argument("--alternate", action="store_true", help="in a process of its own")
    arguments = parser.parse_args()
    if arguments.train:
        print(epoch(arguments.train, resident=False))
        return
    if arguments.alternate:
        print([epoch(ALTERNATED, resident=False) / epoch(ALTERNATED, resident=True) for _ in range(ROUNDS)])
        return
    for name in arguments.cases or CASES:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
            result = measured(Path(temporary), CASES[name], arguments.share)
        result = {"case": name, **result, "hardware": hardware(), "versions": versions("torch", "pillow")}
        print(json.dumps(result), flush=True)
        keep(RESULTS, result, same=("case", "images"))


def measured(folder: Path, case: Case, share: float) -> dict[str, Any]:
    """Make the images, split and train; return what each took."""
    images = round(case.images * share)
    case.write(folder / "images.tar", images)
    clone = folder / "clone"
    changes = {"data.source": str(folder / "images.tar"), **case.changes}
    place(clone, writing.changed(writing.recipe(case.recipe), changes))
    watched(clone, "stages.download")
    (folder / "images.tar").unlink()  # the clone has its copy
    split, written = [], []
    for processors in (2, 1):
        seconds, mib, _ = watched(clone, "stages.split", processors=processors)
        split.append({"processors": processors, "seconds": round(seconds, 1), "rss_anon_mib": round(mib)})
        written.append({str(path): digest(path) for path in sorted((clone / "data/prepared").rglob("*.*"))})
    seconds, mib, rate = watched(clone, "benchmarks.growth", "--train", str(images))
    _, _, of_resident = watched(clone, "benchmarks.growth", "--alternate")
    return {
        "images": images,
        "split": split,
        "equal_bytes": written[0] == written[1],
        "epoch": {"images_per_second": round(float(rate)), "rss_anon_mib": round(mib), "seconds": round(seconds)},
        "alternated_images": ALTERNATED,
        "of_resident": {"runs": ROUNDS, **summary(json.loads(of_resident))},
    }


def watched(clone: Path, module: str, *arguments: str, processors: int | None = None) -> tuple[float, float, str]:
    """Run a module in the clone; return its seconds, the MiB that it filled at most, and what it printed last."""
    started, peak = time.perf_counter(), 0.0
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=clone, stdout=subprocess.PIPE, text=True) as process:
        if processors:
            os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[:processors])
        while process.poll() is None:
            with suppress(OSError):  # it has just ended
                peak = max(peak, anonymous_mib(process.pid))
            time.sleep(EVERY)
        printed = process.communicate()[0].splitlines()
    if process.returncode:
        raise RuntimeError(f"{module} ended with exit code {process.returncode}")
    return time.perf_counter() - started, peak, printed[-1] if printed else ""


def epoch(count: int, resident: bool) -> float:
    """Train for an epoch in this process; return images per second. A first one, of few images, warms up."""
    config = writing.load_recipe("cifar10-vgg").train.model_copy(update={"device": "cpu", "epochs": 1})
    network = writing.load_recipe("mnist").model
    data = open_split("train")
    arrays = data.images.arrays if isinstance(data.images, Shards) else [data.images]
    starts = np.cumsum([0, *map(len, arrays)])
    compute = prepare(config, network.name)
    for number in (20 * config.batch_size, count):
        first = Shards([array[: max(0, number - start)] for array, start in zip(arrays, starts, strict=False)])
        training, nothing = (
            Batches(LabelledImages(images, data.labels[: len(images)]), compute.device, resident)  # type: ignore[arg-type]
            for images in (first, arrays[0][:0])
        )
        (report,) = train(ModelSpec.of(network, read_dataset()).build(0), training, nothing, config, 0, compute)
    return report.images_per_second


if __name__ == "__main__":
    command(main)
