"""How fast a device is: its ceilings, every loop in every precision, sizes of batches.

Each function is the work of a part (`benchmarks.gpu.runner`): it yields what it found so far.
"""

import statistics
import subprocess
import traceback
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks import loops
from benchmarks.common import hardware, summary, versions
from benchmarks.contenders import Turn, spread, timed
from benchmarks.gpu.runner import Place
from benchmarks.loops import COMPILED, FLOOR, PLAIN, TUTORIAL, Contender
from benchmarks.problems import ARCHIVES, Problem, prepared, problem, synthetic
from src.compute.batches import Batches
from src.compute.device import capability, prepare
from src.params import Train, writing
from src.training import augment

PRECISIONS = ("float32", "tf32", "bfloat16")  # from the finest to the coarsest
ROUNDS, TURN = 3, 0.3  # alternated turns of each loop, and about how many seconds each
WORKERS = 8  # processes that load for the plain loader
EVALUATION = (128, 512, 2048, 8192)  # images of a batch
TOGETHER = (2**20, 2**22, 2**24, 2**26, 2**28)  # values of pixels that are augmented at once
DRAWN = 50_000  # images of an epoch whose augmentation is timed


def real(recipe: str, place: Place) -> bool:
    """Tell if the recipe's images are in the pack, and to be used: on a processor those of MNIST alone."""
    name = writing.load_recipe(recipe).data.name
    return (place.pack / "data" / ARCHIVES[name]).exists() and (not place.small or name == "mnist")


def opened(recipe: str, place: Place) -> Problem:
    """The recipe with its images, with noise instead where the pack does not have them; few on a processor."""
    if not real(recipe, place):
        photos = writing.load_recipe(recipe).data.name == "image_folder"
        count = 32 if place.small else 1024 if photos else 20_000
        return synthetic(recipe, count, 32 if place.small and photos else None)
    known = problem(recipe, place.pack / "data")
    if not place.small:
        return known
    return known._replace(training=spread(known.training, 32), evaluation=spread(known.evaluation, 32))


def settings(known: Problem, place: Place, **changes: Any) -> Train:
    """The recipe's, on this device; small batches on a processor, which would compile for minutes."""
    few = {"batch_size": 8, "epochs": 2, "compile": False} if place.small else {}
    return known.params.train.model_copy(update={"device": place.device, "threads": 1} | few | changes)


# ---- the machine ----


def device(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Name the device and its software, and measure its two ceilings: copying memory, and a product of matrices."""
    chosen = torch.device(place.device)
    yield {"hardware": hardware(), "versions": versions("torch", "torchvision", "triton"), "device": place.device}
    yield {"capability": capability(chosen)}
    if place.device == "cuda":
        properties = torch.cuda.get_device_properties(chosen)
        yield {
            "device": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
        driver = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        yield {"driver": subprocess.run(driver, capture_output=True, text=True, check=True).stdout.split("\n")[0]}
    count, side, kind = (2**20, 256, torch.float32) if place.small else (2**32, 8192, torch.bfloat16)
    # Random: on zeros both are faster than on any real data.
    source = torch.randint(256, (count,), dtype=torch.uint8, device=chosen)
    target = torch.empty_like(source)
    seconds = typical(lambda: target.copy_(source))
    yield {"copied_gb_per_second": float(f"{2 * count / seconds / 1e9:.4g}")}
    left, right = (torch.randn(side, side, device=chosen, dtype=kind) for _ in range(2))
    seconds = typical(lambda: left @ right)
    yield {f"{str(kind).removeprefix('torch.')}_tflop_per_second": float(f"{2 * side**3 / seconds / 1e12:.4g}")}


def typical(call: Any, times: int = 10) -> float:
    """Seconds of a call: the median of five means, after one that warms up."""

    def repeated() -> None:
        for _ in range(times):
            call()

    repeated()
    return statistics.median(timed(repeated) for _ in range(5)) / times


def images(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Prepare the packed images, so that the parts that time find them ready."""
    for recipe in ("mnist", "cifar10-basic", "fashion-mnist"):
        if real(recipe, place):
            chosen = writing.load_recipe(recipe)
            archive = place.pack / "data" / ARCHIVES[chosen.data.name]
            seconds = timed(lambda: prepared(recipe, {"data.source": str(archive.resolve())}))  # noqa: B023
            yield {recipe: f"prepared in {seconds:.1f} s"}
        else:
            yield {recipe: "noise instead"}


# ---- the loops ----


def every_loop(place: Place, system: str) -> Iterator[dict[str, Any]]:
    """Compare the tutorial's loop, a plain loader, ours eager and compiled in each precision, and the floors."""
    known = opened(system, place)
    section = settings(known, place)
    known = known._replace(params=known.params.model_copy(update={"train": section}))
    precisions, workers = (("float32",), 0) if place.small else (PRECISIONS, WORKERS)
    # A processor compiles one of them: it takes its time.
    found = loops.contestants(known, section, precisions, workers, compiled=not place.small or system == "mnist")
    wanted = {name: one for name, one in found.items() if name in (TUTORIAL, PLAIN) or name.startswith(("ours", FLOOR))}
    eager = {name: one for name, one in wanted.items() if not name.endswith(COMPILED)}
    turns: dict[str, list[Turn]] = {}
    yield {"real_images": real(system, place), "batch_size": section.batch_size}
    # Compiling may take long, or fail: all others come first.
    yield from alternated(eager, known, place, turns)
    yield from alternated({name: one for name, one in wanted.items() if name not in eager}, known, place, turns)


def alternated(
    found: dict[str, Contender], known: Problem, place: Place, turns: dict[str, list[Turn]]
) -> Iterator[dict[str, Any]]:
    """Take turns of each loop in this process; adds them to `turns`, and yields a row for each after every round."""
    batch_size = known.params.train.batch_size
    most = max(1, len(known.training.labels) // batch_size)
    entries, steps = {}, {}
    for name, contender in found.items():
        least = min(most, contender.warm + (1 if place.small else 20))
        try:
            entries[name], steps[name] = loops.fitted(
                contender.maker, batch_size, 0.0 if place.small else TURN, least, most
            )
        except Exception as error:
            traceback.print_exc()
            yield {name: {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}}
            continue
        turns[name] = []
    for number in range(1 if place.small else ROUNDS):
        for name in list(entries)[:: -1 if number % 2 else 1]:
            turns[name].append(entries[name]())
        yield {name: {"steps": steps[name], **loops.row(name, found[name].floor, turns, known)} for name in entries}


# ---- sizes of batches ----


def sizes(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Time the forward pass by images of a batch, and augmentation by how much is augmented at once."""
    for recipe in ("mnist", "cifar10-vgg", "dogs-vs-cats"):
        yield {f"evaluation of {recipe}": evaluation(recipe, place)}
    for recipe in ("cifar10-vgg", "fashion-mnist"):
        yield {f"augmentation of {recipe}": augmentation(recipe, place)}


def evaluation(recipe: str, place: Place) -> dict[str, Any]:
    """Images per second in float32 and peak memory, by the size of batches."""
    photos = recipe == "dogs-vs-cats"
    known = synthetic(recipe, 32 if place.small else 2048 if photos else 10_000, 32 if place.small else None)
    compute = prepare(settings(known, place, precision="float32"), known.params.model.name)
    classifier = compute.place(known.classifier()).eval()
    held_out = Batches(known.evaluation, compute.device)
    order = torch.arange(len(held_out))
    found = {}
    for size in (8, 16) if place.small else EVALUATION:
        if size > len(held_out):
            break

        def pass_on(size: int = size) -> None:
            with torch.no_grad():
                for batch, _ in held_out.take(order, size):
                    classifier(batch)

        found[str(size)] = measured(pass_on, len(held_out), place)
    return found


def augmentation(recipe: str, place: Place) -> dict[str, Any]:
    """Images per second and peak memory, by how many values of pixels go together; and the host's seconds to draw."""
    known = synthetic(recipe, 64 if place.small else DRAWN)
    section = settings(known, place)
    compute = prepare(section, known.params.model.name)
    data = Batches(known.training, compute.device)
    (height, width, channels), count = data.image_shape, len(data)
    order, generator = torch.arange(count), torch.Generator().manual_seed(0)
    drawing = typical(lambda: augment.draw(section.augment, count, (height, width), generator), 1)
    draws = augment.draw(section.augment, count, (height, width), generator).to(compute.device)
    found: dict[str, Any] = {"seconds_to_draw": round(drawing, 4)}
    for values in (2**12, 2**14) if place.small else TOGETHER:
        size = max(1, values // (section.batch_size * height * width * channels)) * section.batch_size

        def pass_on(size: int = size) -> None:
            for (batch, _), part in zip(data.take(order, size), draws.split(size), strict=True):
                augment.apply(section.augment, batch, part)

        found[str(values)] = measured(pass_on, count, place)
    return found


def measured(call: Any, count: int, place: Place) -> dict[str, Any]:
    if place.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    call()
    rates = summary([count / timed(call) for _ in range(ROUNDS)])
    peak = round(torch.cuda.max_memory_allocated() / 2**30, 3) if place.device == "cuda" else None
    return {"images_per_second": rates, "peak_gib": peak}
