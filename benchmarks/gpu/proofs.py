"""What must hold on a device: equal bits, nothing that waits, compiled gradients, evaluation, neighbours, export.

Each function is the work of a part (`benchmarks.gpu.runner`): it yields what it found so far. A case whose entry has
`faults` does not keep what the project promises; the part goes on to the others, and then fails.
"""

import hashlib
import importlib
import io
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.runner import Place
from benchmarks.loops import apart
from benchmarks.problems import Problem, change, synthetic
from src import params
from src.compute.batches import Batches
from src.compute.device import prepare
from src.faults import Fault
from src.models.classifier import Classifier, Probabilities
from src.models.file import save
from src.params import Train
from src.paths import LOGITS, METRICS, MODEL, PARAMS, RECIPES
from src.training import augment
from src.training.learner import Learner
from src.training.loop import train
from src.training.losses import Target
from src.training.progress import Progress

ALL = sorted(file.stem for file in RECIPES.glob("*.yaml"))
STEPS, WARM = 20, 10  # steps that are watched, after those that compile, tune and record graphs
TOLERANCE = 1e-3  # ‖difference‖ / ‖gradient‖ of two ways to compute in float32
LOGIT = 1e-3  # of logits in float32, by what two devices may differ
CUDA_TESTS = Path("tests/test_cuda.py")

Case = Callable[[str], dict[str, Any]]


def each(names: Iterable[str], case: Case) -> Iterator[dict[str, Any]]:
    """Yield the entry of each case; then raise `RuntimeError` where some have `faults`, or raised something."""
    broken = []
    for name in names:
        try:
            entry = case(name)
        except Exception as error:
            traceback.print_exc()
            entry = {"faults": [f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"]}
        broken += [f"{name}: {fault}" for fault in entry.get("faults", [])]
        yield {name: entry}
    if broken:
        raise RuntimeError("\n".join(broken))


def faults(claims: dict[str, bool]) -> dict[str, Any]:
    """Return those claims that are false, as an entry has them."""
    false = [claim for claim, holds in claims.items() if not holds]
    return {"faults": false} if false else {}


def small(recipe: str, place: Place, **changes: Any) -> tuple[Problem, Train]:
    """Take a recipe with noise for images: a few of its batches, on a processor two of 8 small images."""
    asked = params.load(RECIPES / f"{recipe}.yaml")
    batch_size = 8 if place.small else min(asked.train.batch_size, 512)
    photos = asked.data.name == "image_folder"
    known = synthetic(recipe, (2 if place.small else 4) * batch_size, 32 if place.small and photos else None)
    # A processor would compile for minutes.
    wanted = {"device": place.device, "batch_size": batch_size, "threads": 1, "epochs": 2, "deterministic": True}
    wanted |= {"compile": asked.train.compile and not place.small}
    return known, asked.train.model_copy(update=wanted | changes)


# ---- equal bits ----


class Trained(NamedTuple):
    """digest: of the weights; state: after the first epoch, as bytes."""

    digest: str
    state: bytes
    alerts: list[str]
    peak_gib: float | None


def trained(recipe: str, place: Place, state: bytes = b"", **changes: Any) -> Trained:
    """Train a recipe small, from the beginning or from where another training stood."""
    known, section = small(recipe, place, **changes)
    compute = prepare(section, known.params.model.name)
    classifier, images = known.classifier(), Batches(known.training, compute.device)
    progress, kept, peaks = Progress(), io.BytesIO(), [0.0]
    if state:
        progress.restore(torch.load(io.BytesIO(state), weights_only=True))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in train(classifier, images, images, section, 0, compute, progress):
            peaks.append(epoch.peak_gpu_memory_gib or 0.0)
            if epoch.number == 1:
                torch.save(progress.state(), kept)
    alerts = sorted({f"{one.category.__name__}: {' '.join(str(one.message).split())[:200]}" for one in caught})
    return Trained(digest(classifier), kept.getvalue(), alerts, round(max(peaks), 3) or None)


def digest(classifier: Classifier) -> str:
    found = hashlib.sha256()
    for weights in classifier.state_dict().values():
        found.update(weights.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def equal_bits(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Train every recipe, train it again in another process, and go on there from the state after one epoch."""
    with apart() as other:

        def case(recipe: str) -> dict[str, Any]:
            first = trained(recipe, place)
            again = other.submit(trained, recipe, place).result()
            resumed = other.submit(trained, recipe, place, first.state).result()
            alerts = sorted({*first.alerts, *again.alerts, *resumed.alerts})
            claims = {
                "a second training ended with other bits": again.digest == first.digest,
                "a resumed training ended with other bits": resumed.digest == first.digest,
                "there were warnings": not alerts,
            }
            return {"weights": first.digest[:12], "alerts": alerts, "peak_gib": first.peak_gib, **faults(claims)}

        yield from each(ALL, case)


# ---- nothing waits ----


def waiting(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Tell where in `src` the host waits for the GPU within the steps of each recipe.

    In torch's mode that warns, not the one that raises: it tells all places, with their numbers in `STEPS` steps.
    """

    def case(recipe: str) -> dict[str, Any]:
        asked = params.load(RECIPES / f"{recipe}.yaml").train.deterministic
        known, section = small(recipe, place, deterministic=asked)
        step = stepping(known, section)
        for _ in range(2 if place.small else WARM):
            step()
        places = Counter[str]()

        def note(message: Warning | str, *rest: Any, **options: Any) -> None:
            if "synchronizing" in str(message):
                places[last_of_ours(traceback.extract_stack())] += 1

        steps = 2 if place.small else STEPS
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = note
            if place.device == "cuda":
                torch.cuda.synchronize()
                torch.cuda.set_sync_debug_mode("warn")
            try:
                for _ in range(steps):
                    step()
            finally:
                if place.device == "cuda":
                    torch.cuda.set_sync_debug_mode("default")
        return {"waits": dict(places), "steps": steps, **faults({f"waits at {', '.join(places)}": not places})}

    yield from each(ALL, case)


def stepping(known: Problem, section: Train) -> Callable[[], None]:
    """Return what makes one step of training, as the loop does between two batches: augmentation and learning."""
    compute = prepare(section, known.params.model.name)
    images = Batches(known.training, compute.device)
    learner = Learner(known.classifier(), section, images.labels, compute)
    learner.classifier.train()
    count, (height, width, _) = len(images), images.image_shape
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(count, generator=generator)
    alternate = augment.alternating(order, count, 0, 1) if section.augment.flip == "alternate" else None
    draws = augment.draw(section.augment, count, (height, width), generator, alternate).to(compute.device)
    batches = list(zip(images.take(order, section.batch_size), draws.split(section.batch_size), strict=True))
    done = 0

    def step() -> None:
        nonlocal done
        (batch, labels), part = batches[done % len(batches)]
        done += 1
        pixels, mix = augment.apply(section.augment, batch, part)
        learner.step(pixels, Target.of(labels, mix), 1e-3, done)

    return step


def last_of_ours(stack: traceback.StackSummary) -> str:
    """Name the innermost line of `src` on a stack."""
    root = Path("src").resolve()
    for frame in reversed(stack):
        if (file := Path(frame.filename).resolve()).is_relative_to(root):
            return f"src/{file.relative_to(root)}:{frame.lineno} in {frame.name}"
    return "outside src"


# ---- compiled ----


def compiled(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Compare compiled gradients, added up from parts of a batch, with eager ones; and bits of two fresh compilers."""
    recipes = ("mnist",) if place.small else ("cifar10-basic", "cifar10-speed")

    def accumulated(recipe: str) -> dict[str, Any]:
        parts = 2 if place.small else 4
        eager, own = (gradients(recipe, place, parts, compiled=mode) for mode in (False, True))
        largest = max(map(distance, own, eager))
        claims = {f"compiled gradients differ by {largest:.2g} from eager ones": largest < TOLERANCE}
        return {"parts": parts, "largest_difference": float(f"{largest:.3g}"), **faults(claims)}

    def fresh(recipe: str) -> dict[str, Any]:
        first, second = compiled_apart(recipe, place)
        claims = {"a second compiler made other bits": first.digest == second.digest}
        return {"weights": first.digest[:12], "alerts": sorted({*first.alerts, *second.alerts}), **faults(claims)}

    kinds = {"accumulated": accumulated, "deterministic": fresh}
    names = [f"{kind} {recipe}" for kind in kinds for recipe in recipes]
    yield from each(names, lambda name: kinds[name.split()[0]](name.split()[1]))


def gradients(recipe: str, place: Place, parts: int, *, compiled: bool) -> list[Tensor]:
    """Return the whole gradient, one vector, after each of some steps that change no weights; without dropout."""
    known, section = small(recipe, place, precision="float32", accumulate=parts, compile=compiled)
    model = known.params.model.model_copy(update={"dropout": 0.0})
    classifier = known.card.model_copy(update={"model": model}).build(0)
    compute = prepare(section, model.name)
    images, labels = (torch.from_numpy(part[: section.batch_size].copy()).to(compute.device) for part in known.training)
    learner = Learner(classifier, section, labels, compute)
    learner.classifier.train()
    found = []
    for number in range(1, 3 if place.small else 6):  # CUDA graphs are recorded at the second, and replayed later
        learner.step(images, Target.of(labels, None), 0.0, number)
        found.append(torch.cat([weight.grad.flatten() for weight in learner.weights if weight.grad is not None]))
    return found


def distance(found: Tensor, expected: Tensor) -> float:
    """Return ‖found − expected‖ / ‖expected‖; infinite where there is a NaN."""
    ratio = float((found - expected).norm() / expected.norm())
    return ratio if np.isfinite(ratio) else float("inf")


def compiled_apart(recipe: str, place: Place) -> list[Trained]:
    """Train compiled in two processes at once, none of which finds what the other, or an earlier one, compiled."""
    with tempfile.TemporaryDirectory() as folder, apart() as one, apart() as other:
        futures = []
        for number, process in enumerate((one, other)):
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/{number}"  # its process begins now, with it
            futures.append(process.submit(trained, recipe, place, compile=True, epochs=1))
        return [future.result() for future in futures]


# ---- evaluation ----


def staged(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Run the stages' own work from the digits to the test metrics, without tracking; evaluate on the CPU, too."""
    wanted = {"train.deterministic": True, "train.epochs": 1 if place.small else 10, "train.threads": 1}
    wanted |= {"evaluate.robustness.images": 30 if place.small else 500}
    root = Path.cwd()
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("src", "stages", "dvc.yaml", "requirements.lock"):
            Path(temporary, name).symlink_to(root / name)
        os.chdir(temporary)
        try:
            change(root / RECIPES / "digits.yaml", PARAMS, wanted | {"train.device": place.device})
            for stage in ("download", "split", "train", "evaluate"):
                staging(stage)
            metrics = json.loads(METRICS.read_text(encoding="utf-8"))
            own = np.load(LOGITS)["logits"]
            yield {"accuracy": metrics["accuracy"], "loss": metrics["loss"]}
            change(root / RECIPES / "digits.yaml", PARAMS, wanted | {"train.device": "cpu"})
            staging("evaluate")
            difference = float(np.abs(own - np.load(LOGITS)["logits"]).max())
        finally:
            os.chdir(root)
    yield {"logits_differ_from_cpu": float(f"{difference:.3g}")}
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
    except Fault as fault:
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
        return {"difference": difference, **faults({f"the graph differs by {difference:.2g}": difference < 1e-4})}

    def onnx(folder: str) -> dict[str, Any]:
        if missing := [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]:
            return {"skipped": f"{missing[0]} is not installed"}
        from src.prediction.model import load
        from src.prediction.onnx_file import export

        save(Path(folder, MODEL.name), classifier, known.card)
        return {"difference": export(load(str(Path(folder, MODEL.name))), Path(folder, "model.onnx"))}

    def mlflow(folder: str) -> dict[str, Any]:
        if find_spec("mlflow") is None:
            return {"skipped": "MLflow is not installed"}
        from src.tracking.model import export_model

        save(Path(folder, MODEL.name), classifier, known.card)
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
