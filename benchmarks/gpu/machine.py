"""The machine and what the parts train on it: the packed images, the marked tests.

Parts (`benchmarks.gpu.runner`) are generators that yield what they found so far.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.common import hardware, versions
from benchmarks.gpu.runner import LINES, Place
from benchmarks.problems import ARCHIVES, Problem, problem, spread, synthetic
from src.compute.device import capability
from src.params import Train, writing

ENDED = "ended: "  # begins the line that tells how a test ended


def real(recipe: str, place: Place) -> bool:
    """Tell if the recipe's images are in the pack, and to be used: on a processor those of MNIST alone."""
    name = writing.load_recipe(recipe).data.name
    return (place.pack / ARCHIVES[name]).exists() and (not place.small or name == "mnist")


def opened(recipe: str, place: Place) -> Problem:
    """Take the recipe with its images, with noise where the pack does not have them; few on a processor."""
    if not real(recipe, place):
        photos = writing.load_recipe(recipe).data.name == "image_folder"
        count = 32 if place.small else 2048 if photos else 20_000
        return synthetic(recipe, count, 32 if place.small and photos else None)
    known = problem(recipe, place.pack)
    if not place.small:
        return known
    return known._replace(training=spread(known.training, 32), evaluation=spread(known.evaluation, 32))


def settings(known: Problem, place: Place, **changes: Any) -> Train:
    """Return the recipe's `train`, on this device; small batches on a processor, which would compile for minutes."""
    few = {"batch_size": 8, "epochs": 2, "compile": False} if place.small else {}
    return known.params.train.model_copy(update={"device": place.device, "threads": 1} | few | changes)


def device(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Name the device."""
    chosen = torch.device(place.device)
    yield {"device": place.device, "hardware": hardware(), "versions": versions("torch", "torchvision")}
    yield {"capability": capability(chosen)}
    if place.device == "cuda":
        driver = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        yield {
            "device": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "driver": subprocess.run(driver, capture_output=True, text=True, check=True).stdout.split("\n")[0],
        }


def images(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Prepare the packed images, so that the parts that time find them ready."""
    for recipe in ("mnist", "cifar10-basic", "fashion-mnist"):
        yield {recipe: len(opened(recipe, place).training.labels), f"{recipe} is real": real(recipe, place)}


def tests(place: Place, file: str) -> Iterator[dict[str, Any]]:
    """Run the tests of a file that need a GPU: how many end how, and the last lines of each that fails, as it fails.

    Raises `RuntimeError` where one fails.
    """
    options = ["-m", "gpu", "-p", __name__, "-p", "no:cacheprovider", "--tb=short", "-o", "addopts="]
    options += ["-o", "filterwarnings=default", *([] if place.small else ["-n", "12"])]
    counts, failing = Counter[str](), dict[str, list[str]]()
    command = [sys.executable, "-m", "pytest", *options, file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if line.startswith(ENDED):
                test, outcome, words = json.loads(line.removeprefix(ENDED))
                counts[outcome] += 1
                failing |= {test: words} if words else {}
                yield {**counts, "failing": failing}
    if process.returncode:
        raise RuntimeError(f"pytest ended with exit code {process.returncode}")


def pytest_runtest_logreport(report: Any) -> None:
    """Print how a test ended, as a line of JSON: `tests` makes this module a plugin of pytest, which calls this."""
    if report.when == "call" or not report.passed:
        words = report.longreprtext.splitlines()[-LINES:] if report.failed else []
        print(f"\n{ENDED}{json.dumps([report.nodeid.partition('::')[2], report.outcome, words])}", flush=True)
