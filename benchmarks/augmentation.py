"""Augmentation of batches of 32×32 colour images: ours, kornia, and torchvision called for every image.

    python -m benchmarks.augmentation [--device cuda] [--runs 25]

The eleven operators and the batch sizes of the table in kornia's documentation. Keeps milliseconds per batch in
`benchmarks/augmentation.json`, one entry per device. kornia is not part of the environment: where it is not installed,
its column says so.

Each gets its images in its own form: ours uint8 (N, H, W, C), torchvision uint8 (C, H, W) one by one, kornia float32
(N, C, H, W) in [0, 1]. Ours draws once an epoch: its times hold the batch's share of the draws for 50,000 images.
torchvision's operators on a whole batch are not compared: they draw once for all its images. On a CPU the times are
those of one thread while it really runs, so that other work on the machine matters little; on a GPU they are elapsed.
"""

import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torchvision.transforms import v2

from benchmarks.common import FOLDER, command_line, hardware, keep, versions
from src import params
from src.core.errors import command
from src.params.writing import load_recipe
from src.training import augment

kornia: Any = importlib.import_module("kornia.augmentation") if importlib.util.find_spec("kornia") else None
RESULTS = FOLDER / "augmentation.json"
BATCHES = (1, 32, 128)
SIZE, EPOCH = 32, 50_000
SAMPLE = 0.005  # seconds: quick calls are repeated until they take as long

AFFINE: dict[str, Any] = {"degrees": 15, "translate": (0.1, 0.1), "scale": (0.8, 1.2), "shear": 10}
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
CROP: dict[str, Any] = {"size": (SIZE, SIZE)}
BILINEAR = v2.InterpolationMode.BILINEAR

# Operator: our keys, kornia's class and arguments, torchvision's operator. A centre crop is a slice in ours.
OPERATORS: dict[str, tuple[dict[str, Any], tuple[str, dict[str, Any]], v2.Transform]] = {
    "perspective": (
        {"perspective": 0.5},
        ("RandomPerspective", {"distortion_scale": 0.5, "p": 1.0}),
        v2.RandomPerspective(0.5, p=1.0),
    ),
    "colour jitter": (JITTER, ("ColorJiggle", JITTER | {"p": 1.0}), v2.ColorJitter(**JITTER)),
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
    "padded crop": ({"crop": 0.125}, ("RandomCrop", CROP | {"padding": 4}), v2.RandomCrop(SIZE, padding=4)),
    "erasing": ({"erase": 1.0}, ("RandomErasing", {"p": 1.0}), v2.RandomErasing(p=1.0)),
    "grey": ({"grey": 0.5}, ("RandomGrayscale", {"p": 0.5}), v2.RandomGrayscale(0.5)),
    "resized crop": (
        {"resized_crop": [0.08, 1.0]},
        ("RandomResizedCrop", CROP | {"scale": (0.08, 1.0)}),
        v2.RandomResizedCrop(SIZE),
    ),
    "centre crop": ({}, ("CenterCrop", {"size": SIZE - 4}), v2.CenterCrop(SIZE - 4)),
}


def main() -> None:
    parser = command_line(__doc__ or "")
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
            print(rows[-1], flush=True)
    result = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "hardware": hardware(),
        "versions": versions("torch", "torchvision", "kornia"),
        "runs": arguments.runs,
        "rows": rows,
    }
    keep(RESULTS, result, same=("device",))


def measure(operator: str, batch: int, device: torch.device, runs: int) -> dict[str, Any]:
    """Measure the milliseconds of one operator on one batch: median, quartiles and minimum for each library.

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

    times: dict[str, list[float]] = {library: [] for library in calls}
    repeats = {}
    for library, call in calls.items():
        call()
        repeats[library] = min(20, max(1, round(SAMPLE / timed(call, 1, device))))
    for _ in range(runs):
        for library, call in calls.items():
            times[library].append(timed(call, repeats[library], device) + (drawing if library == "ours" else 0))
    row: dict[str, Any] = {"operator": operator, "batch": batch, "kornia": "not installed"}
    for library, seconds in times.items():
        low, median, high = statistics.quantiles(seconds, n=4)
        found = {"median": median, "quartile_1": low, "quartile_3": high, "min": min(seconds)}
        row[library] = {key: round(value * 1e3, 4) for key, value in found.items()}
    return row


def ours(keys: dict[str, Any], images: Tensor) -> tuple[Callable[[], object], float]:
    """Return what augments the batch, and the seconds that its share of an epoch's draws takes."""
    if not keys:
        return lambda: images[:, 2:-2, 2:-2].contiguous(), 0.0
    section = load_recipe("digits").train.augment.model_dump()
    off = {name: None if value is None else type(value)(0) for name, value in section.items()}
    asked = params.Augment.model_validate(off | {"pad": "zeros"} | keys)

    def epoch() -> augment.AugmentParams:
        return augment.draw(asked, EPOCH, (SIZE, SIZE), Generator().manual_seed(0)).to(images.device)

    drawing = statistics.median(timed(epoch, 1, images.device) for _ in range(3)) * len(images) / EPOCH
    draws = next(epoch().split(len(images)))
    return lambda: augment.apply(asked, images, draws), drawing


def timed(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the seconds of a call: of processor on a CPU, elapsed on a GPU."""

    def clock() -> float:
        if device.type == "cpu":
            return time.process_time()
        torch.accelerator.synchronize(device)
        return time.perf_counter()

    started = clock()
    for _ in range(repeats):
        call()
    return (clock() - started) / repeats


if __name__ == "__main__":
    command(main)
