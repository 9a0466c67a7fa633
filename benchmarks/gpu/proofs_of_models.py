"""What must hold of models and neighbours on a device: evaluation, export, trainings side by side, marked tests.

Each function is the work of a part, as in `benchmarks.gpu.proofs_of_training`.
"""

import contextlib
import importlib
import json
import multiprocessing
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.gpu.proofs_of_training import digest, each, faults, small
from benchmarks.gpu.runner import Place
from benchmarks.problems import synthetic
from src.compute.batches import Batches
from src.compute.device import prepare
from src.core.errors import UserError
from src.core.paths import LOGITS, METRICS, MODEL, PARAMS
from src.models.classifier import Probabilities
from src.models.file import save
from src.params import writing
from src.training.loop import train

LOGIT = 1e-3  # of logits in float32, by what two devices may differ
CUDA_TESTS = Path("tests/test_cuda.py")


# ---- evaluation ----


def staged(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Run the stages' own work from the digits to the test metrics, without tracking; evaluate on the CPU, too."""
    wanted = {"train.deterministic": True, "train.epochs": 1 if place.small else 10, "train.threads": 1}
    wanted |= {"evaluate.robustness.images": 30 if place.small else 500}
    root = Path.cwd()
    recipe = writing.recipe("digits")
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        for name in ("src", "stages", "dvc.yaml", "requirements.lock"):
            Path(name).symlink_to(root / name)
        PARAMS.write_text(writing.changed(recipe, wanted | {"train.device": place.device}), encoding="utf-8")
        for stage in ("download", "split", "train", "evaluate"):
            staging(stage)
        metrics = json.loads(METRICS.read_text(encoding="utf-8"))
        own = np.load(LOGITS)["logits"]
        PARAMS.write_text(writing.changed(recipe, wanted | {"train.device": "cpu"}), encoding="utf-8")
        staging("evaluate")
        difference = float(np.abs(own - np.load(LOGITS)["logits"]).max())
    yield {key: metrics[key] for key in ("accuracy", "loss")} | {"logits_differ_from_cpu": float(f"{difference:.3g}")}
    if not difference <= LOGIT:
        raise RuntimeError(f"logits on {place.device} differ by {difference:.2g} from those of the CPU in float32")


def staging(stage: str) -> None:
    """Do the work of a stage in this process, its run told to nobody."""
    module = importlib.import_module(f"stages.{stage}")
    with mock.patch.object(module, "tracking", create=True):
        module.main()


# ---- neighbours ----


def neighbours(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Train four at once on one device, the last of which asks for more memory than there is: on a GPU alone, since a
    processor's memory is that of all programs."""
    processes = ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn"))
    with tempfile.TemporaryDirectory() as folder, processes:
        begun = [Path(folder, str(number)) for number in range(3)]
        futures = [processes.submit(enduring, place, file) for file in begun]
        starved = None
        if place.device == "cuda":
            while not all(file.exists() for file in begun):
                time.sleep(0.1)
                for future in futures:
                    if future.done():
                        future.result()  # raises where it could not even begin
            starved = processes.submit(starving, place).result()
        digests = [future.result() for future in futures]
    yield {"trainings": len(digests), "weights": digests[0][:12], "out_of_memory": starved}
    if len(set(digests)) > 1:
        raise RuntimeError(f"equal trainings beside each other ended with other bits: {digests}")


def enduring(place: Place, begun: Path) -> str:
    """Train on while the others do; tells by a file that its first epoch is over. Returns the digest of its weights."""
    known, section = small("cifar10-vgg", place, epochs=2 if place.small else 400)
    compute = prepare(section, known.params.model.name)
    classifier, images = known.classifier(), Batches(known.training, compute.device)
    for _ in train(classifier, images, images, section, 0, compute):
        begun.touch()
    return digest(classifier)


def starving(place: Place) -> str:
    """Fill all memory but 1 GiB, then train with a batch that needs more; return how the training says so."""
    known, section = small("cifar10-vgg", place)
    many = synthetic("cifar10-vgg", 16_384)
    compute = prepare(section, known.params.model.name)
    images = Batches(many.training, compute.device)
    filling = torch.empty(torch.cuda.mem_get_info()[0] - 2**30, dtype=torch.uint8, device=compute.device)
    section = section.model_copy(update={"batch_size": len(images)})
    try:
        list(train(known.classifier(), images, images, section, 0, compute))
    except UserError as fault:
        if "out of memory" in str(fault):
            return str(fault)
        raise
    raise RuntimeError(f"{len(images):,} images fitted beside {len(filling) / 2**30:.1f} GiB")


# ---- export ----


def exported(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Export a model that was trained on the device: by torch, to ONNX as `src.export` does, and as MLflow keeps it."""
    known, section = small("cifar10-basic", place)
    compute = prepare(section, known.params.model.name)
    classifier, images = known.classifier(), Batches(known.training, compute.device)
    list(train(classifier, images, images, section, 0, compute))
    probabilities = Probabilities(classifier).eval()
    examples = known.training.images[:4].copy()

    def graph(_: str) -> dict[str, Any]:
        batch = torch.from_numpy(examples).to(compute.device)
        dynamic = ({0: torch.export.Dim("batch", min=1)},)
        program = torch.export.export(probabilities, (batch[:2],), dynamic_shapes=dynamic)
        with torch.no_grad():
            difference = float((program.module()(batch) - probabilities(batch)).abs().max())
        return {"difference": difference, **faults({f"the graph differs by {difference:.2g}": not difference <= 1e-4})}

    def onnx(folder: str) -> dict[str, Any]:
        if missing := [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]:
            return {"skipped": f"{missing[0]} is not installed"}
        from src.prediction.model import load
        from src.prediction.onnx_file import export

        save(Path(folder, MODEL.name), classifier, known.spec)
        return {"difference": export(load(str(Path(folder, MODEL.name))), Path(folder, "model.onnx"))}

    def mlflow(folder: str) -> dict[str, Any]:
        if find_spec("mlflow") is None:
            return {"skipped": "MLflow is not installed"}
        from src.tracking.model import export_model

        save(Path(folder, MODEL.name), classifier, known.spec)
        export_model(Path(folder, "logged"), probabilities, examples, Path(folder, MODEL.name))
        return {"checked": True}

    kinds = {"torch.export": graph, "src.export": onnx, "log_model": mlflow}
    with tempfile.TemporaryDirectory() as folder:
        yield from each(kinds, lambda name: kinds[name](folder))


# ---- tests ----


def tests(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Run the tests that are marked to need a GPU."""
    if not CUDA_TESTS.exists():
        yield {"skipped": f"{CUDA_TESTS} is not there"}
        return
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", str(CUDA_TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    counts = re.findall(r"(\d+) (passed|failed|skipped|deselected|errors?)", done.stdout)
    yield {kind: int(number) for number, kind in counts}
    if done.returncode not in (0, 5):  # 5: none was chosen
        raise RuntimeError(done.stdout[-3000:])
