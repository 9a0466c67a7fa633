"""Augmentation of batches of 32×32 colour images: ours, kornia, and torchvision called for every image.

    python -m benchmarks.augmentation [--device cuda] [--runs 25]

The eleven operators and the batch sizes of the table in kornia's documentation. Prints milliseconds per batch and keeps
them in `benchmarks/augmentation.json`, one entry per device. kornia is not part of the environment: where it is not
installed, its columns say so.

Each gets its images in its own form: ours uint8 (N, H, W, C), torchvision uint8 (C, H, W) one by one, kornia float32
(N, C, H, W) in [0, 1]. Ours draws once an epoch: its times hold the batch's share of the draws for 50,000 images.
torchvision's operators on a whole batch are not compared: they draw once for all its images. On a CPU the times are
those of one thread while it really runs, so that other work on the machine matters little; on a GPU they are elapsed.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from torchvision.transforms import v2

from benchmarks.common import hardware, keep, versions
from src import params
from src.params.writing import load_recipe
from src.training import augment

try:
    import kornia.augmentation as kornia
except ModuleNotFoundError:
    kornia = None

RESULTS = Path("benchmarks/augmentation.json")
BATCHES = (1, 32, 128)
SIZE, EPOCH = 32, 50_000
SAMPLE = 0.005  # seconds: quick calls are repeated until they take as long

AFFINE: dict[str, Any] = {"degrees": 15, "translate": (0.1, 0.1), "scale": (0.8, 1.2), "shear": 10}
BILINEAR = v2.InterpolationMode.BILINEAR

# Operator: our keys, kornia's class and arguments, torchvision's operator. A centre crop is a slice in ours.
OPERATORS: dict[str, tuple[dict[str, Any], tuple[str, dict[str, Any]], v2.Transform]] = {
    "perspective": (
        {"perspective": 0.5},
        ("RandomPerspective", {"distortion_scale": 0.5, "p": 1.0}),
        v2.RandomPerspective(0.5, p=1.0),
    ),
    "colour jitter": (
        {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
        ("ColorJiggle", {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "p": 1.0}),
        v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
    ),
    "affine": (
        {"rotate": 15, "translate": 0.1, "scale": 0.2, "shear": 10},
        ("RandomAffine", AFFINE | {"p": 1.0}),
        v2.RandomAffine(**AFFINE, interpolation=BILINEAR),
    ),
    "vertical flip": ({"flip_vertical": True}, ("RandomVerticalFlip", {"p": 0.5}), v2.RandomVerticalFlip()),
    "horizontal flip": ({"flip": True}, ("RandomHorizontalFlip", {"p": 0.5}), v2.RandomHorizontalFlip()),
    "rotation": (
        {"rotate": 15},
        ("RandomRotation", {"degrees": 15, "p": 1.0}),
        v2.RandomRotation(15, interpolation=BILINEAR),
    ),
    "padded crop": (
        {"crop": 4},
        ("RandomCrop", {"size": (SIZE, SIZE), "padding": 4}),
        v2.RandomCrop(SIZE, padding=4),
    ),
    "erasing": ({"erase": 1.0}, ("RandomErasing", {"p": 1.0}), v2.RandomErasing(p=1.0)),
    "grey": ({"grey": 0.5}, ("RandomGrayscale", {"p": 0.5}), v2.RandomGrayscale(0.5)),
    "resized crop": (
        {"resized_crop": [0.08, 1.0]},
        ("RandomResizedCrop", {"size": (SIZE, SIZE), "scale": (0.08, 1.0)}),
        v2.RandomResizedCrop(SIZE),
    ),
    "centre crop": ({}, ("CenterCrop", {"size": SIZE - 4}), v2.CenterCrop(SIZE - 4)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=25)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    rows = []
    for operator in OPERATORS:
        for batch in BATCHES:
            rows.append(measure(operator, batch, device, arguments.runs))
            print(line(rows[-1]), flush=True)
    result = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "hardware": hardware(),
        "versions": versions("torch", "torchvision", "kornia"),
        "threads": 1,
        "runs": arguments.runs,
        "unit": "ms per batch, elapsed" if device.type != "cpu" else "ms per batch, of processor time",
        "rows": rows,
    }
    keep(RESULTS, result, same=("device",))
    print(f"\n{arguments.runs} runs, one thread, {result['device']}, {result['hardware']}; {result['versions']}")


def measure(operator: str, batch: int, device: torch.device, runs: int) -> dict[str, Any]:
    """Median, quartiles and minimum of the milliseconds of one operator on one batch, for each library.

    The libraries take turns, so that what else runs on the machine strikes them alike.
    """
    keys, (name, arguments), transform = OPERATORS[operator]
    images = torch.randint(256, (batch, SIZE, SIZE, 3), dtype=torch.uint8).to(device)
    planes = images.permute(0, 3, 1, 2).contiguous()
    calls: dict[str, Callable[[], object]] = {}
    calls["ours"], drawing = ours(keys, images)
    if kornia is not None:
        operation, floats = getattr(kornia, name)(**arguments), planes.float() / 255
        calls["kornia"] = lambda: operation(floats)
    calls["torchvision per image"] = lambda: torch.stack([transform(plane) for plane in planes])

    repeats: dict[str, int] = {}
    times: dict[str, list[float]] = {library: [] for library in calls}
    for library, call in calls.items():
        call()
        repeats[library] = min(20, max(1, round(SAMPLE / timed(call, 1, device))))
    for _ in range(runs):
        for library, call in calls.items():
            times[library].append(timed(call, repeats[library], device) + (drawing if library == "ours" else 0))
    row = {"operator": operator, "batch": batch, **{library: summary(values) for library, values in times.items()}}
    return row if kornia is not None else row | {"kornia": "not installed"}


def ours(keys: dict[str, Any], images: Tensor) -> tuple[Callable[[], object], float]:
    """What augments the batch, and the seconds that its share of an epoch's draws takes."""
    if not keys:
        return lambda: images[:, 2:-2, 2:-2].contiguous(), 0.0
    section = load_recipe("digits").train.augment.model_dump()
    off = {name: None if name == "resized_crop" else type(value)(0) for name, value in section.items()}
    asked = params.Augment.model_validate(off | keys)

    def epoch() -> augment.AugmentParams:
        return augment.draw(asked, EPOCH, (SIZE, SIZE), Generator().manual_seed(0)).to(images.device)

    drawing = statistics.median(timed(epoch, 1, images.device) for _ in range(3)) * len(images) / EPOCH
    draws = next(epoch().split(len(images)))
    return lambda: augment.apply(asked, images, draws), drawing


def timed(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Seconds per call."""
    if device.type == "cpu":
        started = time.process_time()
        for _ in range(repeats):
            call()
        return (time.process_time() - started) / repeats
    torch.accelerator.synchronize(device)
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    torch.accelerator.synchronize(device)
    return (time.perf_counter() - started) / repeats


def summary(seconds: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(seconds, n=4)
    values = {"median": median, "quartile_1": low, "quartile_3": high, "min": min(seconds)}
    return {name: round(value * 1e3, 4) for name, value in values.items()}


def line(row: dict[str, Any]) -> str:
    cells = [f"{row['operator']:<16}{row['batch']:>4}"]
    for library in ("ours", "kornia", "torchvision per image"):
        cell = row[library]
        times = cell if isinstance(cell, str) else "{median:.3f} ({quartile_1:.3f}–{quartile_3:.3f})".format(**cell)
        cells.append(f"{library} {times:<26}")
    return "  ".join(cells)


if __name__ == "__main__":
    main()
