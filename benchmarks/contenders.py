"""The loops that `benchmarks.loops` compares: ours, the floor, the tutorial's, a plain loader.

Each function prepares a loop and returns its turn: a call that trains for a fixed number of steps and returns the
images per second. Every loop gets the same images, batch size, optimiser and augmentation. What runs before a turn's
first batch is asked for is not timed, nor are the first `warm` steps where worker processes load: they begin with full
queues.
"""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.problems import Problem, spread
from benchmarks.tutorials import TUTORIALS, Images, train_epoch
from src.compute.batches import Batches
from src.compute.cuda_graph import RecordedStep
from src.compute.device import Compute, prepare
from src.compute.threads import cpu_threads
from src.data.prepared import LabelledImages
from src.models.classifier import Classifier
from src.params import Train
from src.training.loop import train
from src.training.optimizers import optimizer
from src.training.step import TrainStep

Turn = Callable[[], float]

V2_AUGMENTATION: dict[str, list[v2.Transform]] = {
    "fashion-mnist": [v2.RandomHorizontalFlip(), v2.RandomRotation(12)],
    "cifar10-vgg": [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()],
}


def ours(problem: Problem, section: Train, steps: int) -> Turn:
    """Prepare `src.training.loop.train`: one training that goes on and on, an epoch of so many steps at each turn."""
    compute = prepare(section, problem.params.model.name)
    training = Batches(spread(problem.training, steps * section.batch_size), compute.device)
    nothing = Batches(spread(problem.training, 0), compute.device)
    endless = section.model_copy(update={"epochs": 10**9, "record_every": 0, "patience": None})
    epochs = train(problem.classifier(), training, nothing, endless, problem.params.seed, compute)

    def turn() -> float:
        prepare(section, problem.params.model.name)
        return next(epochs).images_per_second

    return turn


def floor(problem: Problem, section: Train, steps: int) -> Turn:
    """Prepare forward, backward and optimiser on one resident batch, in the layout and precision of our loop.

    On a GPU they are recorded, as our steps are.
    """
    compute = prepare(section, problem.params.model.name)
    classifier, images, labels = resident(problem.classifier(), problem.training, section, compute)
    optimiser = optimizer(section.optimizer, classifier, section.decay_biases)

    def work() -> tuple[Tensor, ...]:
        learn(classifier.network, images, labels, optimiser, compute)
        return ()

    step = partial(RecordedStep(compute.device), work) if compute.device.type == "cuda" else work

    def turn() -> float:
        prepare(section, problem.params.model.name)
        classifier.train()
        seconds = timed(lambda: [step() for _ in range(steps)])
        return steps * len(labels) / seconds

    return turn


def resident(
    classifier: Classifier, data: LabelledImages, section: Train, compute: Compute
) -> tuple[Classifier, Tensor, Tensor]:
    """Return the classifier as our loop trains it, on its device and in its layout, and a batch as its network gets
    it."""
    images, labels = (torch.from_numpy(part.copy()).to(compute.device) for part in spread(data, section.batch_size))
    classifier = TrainStep(classifier, section, labels, compute).classifier
    return classifier, classifier.normalize(images), labels


def learn(network: nn.Module, images: Tensor, labels: Tensor, optimiser: Optimizer, compute: Compute) -> None:
    """Do what no training can do without. images: float32 (N, C, H, W), normalised."""
    optimiser.zero_grad(set_to_none=True)
    with compute.autocasting():
        outputs = network(images)
    F.cross_entropy(outputs.float(), labels).backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def tutorial(problem: Problem, section: Train, device: torch.device, workers: int, steps: int) -> Turn:
    """Prepare the tutorial's own loop and network."""
    known = TUTORIALS[problem.recipe]
    images = Images(*spread(problem.training, steps * section.batch_size), known.transform())
    loader = Timed(images, section.batch_size, warm(workers), shuffle=True, num_workers=workers)
    torch.manual_seed(0)
    network, criterion = known.network().to(device), nn.CrossEntropyLoss()
    optimiser = known.optimizer(network.parameters())

    def turn() -> float:
        defaults(cpu_threads(section, problem.params.model.name))
        train_epoch(network, loader, criterion, optimiser, device)
        return loader.rate()

    return turn


def plain(problem: Problem, section: Train, device: torch.device, workers: int, steps: int) -> Turn:
    """Prepare a `DataLoader` with torchvision's v2 transforms of uint8 tensors, and our network; no `.item()`."""
    normalize = TUTORIALS[problem.recipe].normalize
    last = [v2.ToDtype(torch.float32, scale=True), *([] if normalize is None else [v2.Normalize(*normalize)])]
    transform = v2.Compose([*V2_AUGMENTATION.get(problem.recipe, []), *last])
    pixels, targets = spread(problem.training, steps * section.batch_size)
    data = Images(torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).contiguous(), targets, transform)
    options = {"shuffle": True, "num_workers": workers, "pin_memory": device.type == "cuda"}
    loader = Timed(data, section.batch_size, warm(workers), **options)
    network = problem.classifier().network.to(device)
    optimiser = TUTORIALS[problem.recipe].optimizer(network.parameters())

    def turn() -> float:
        defaults(cpu_threads(section, problem.params.model.name))
        network.train()
        total = torch.zeros((), device=device)
        for images, labels in loader:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            optimiser.zero_grad(set_to_none=True)
            loss = F.cross_entropy(network(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.detach()
        return loader.rate()

    return turn


class Timed(DataLoader[Any]):
    """Note when images were first asked for, or when `warm` steps were done, and when the last step was: what worker
    processes take to end is no training."""

    def __init__(self, data: Dataset[Any], batch_size: int, warm: int = 0, **options: Any) -> None:
        super().__init__(data, batch_size, **options)
        self.warm, self.started, self.ended = warm, 0.0, math.inf

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.started, self.ended = now(), math.inf
        for number, batch in enumerate(super().__iter__(), start=1):
            yield batch
            if number == self.warm:
                self.started = now()
            if number == len(self):
                self.ended = now()

    def rate(self) -> float:
        """Return images per second between the two; until now for a loop that asks for nothing after its last batch."""
        images = len(self.dataset) - self.warm * (self.batch_size or 1)  # type: ignore[arg-type]
        return images / (min(self.ended, now()) - self.started)


def warm(workers: int) -> int:
    """Return after how many steps a loader is in its stride: each worker holds two batches and works on a third."""
    return 3 * workers


def defaults(threads: int) -> None:
    """Set torch as a tutorial finds it: undo what `src.compute.device.prepare` sets for our loop."""
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of a call, until the device is done."""
    started = now()
    call()
    return now() - started


def now() -> float:
    """Return the seconds of a clock that waits for the device."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()
