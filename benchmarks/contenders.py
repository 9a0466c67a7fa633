"""The loops that `benchmarks.loops` sets against each other; each makes turns of a fixed number of steps.

Every loop gets the same images, batch size, optimiser and augmentation. What runs before a turn's first batch is asked
for is not timed, nor are the first `warm` steps where worker processes load: they begin with full queues.
"""

import importlib.util
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.problems import Problem
from benchmarks.tutorials import TUTORIALS, Images, Photos, evaluate
from src.compute.batches import Batches
from src.compute.device import Compute, prepare
from src.data.prepared import LabelledImages
from src.models.classifier import Classifier
from src.params import Train
from src.training.loop import measure, train
from src.training.optimizers import optimizer
from src.training.step import TrainStep

# Itself it is imported where it runs: it brings onnx and much else with it.
LIGHTNING_INSTALLED = importlib.util.find_spec("pytorch_lightning") is not None

TORCHS_OWN = torch.get_num_threads()  # all processors, as long as nobody sets another number

EVALUATED = 4  # an image is evaluated for so many that train

V2_AUGMENTATION: dict[str, list[v2.Transform]] = {
    "fashion-mnist": [v2.RandomHorizontalFlip(), v2.RandomRotation(12)],
    "cifar10-vgg": [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()],
}


class Turn(NamedTuple):
    """Images per second, of training and of evaluation where that was measured too."""

    training: float
    evaluation: float | None = None


Entry = Callable[[], Turn]
Maker = Callable[[int], Entry]  # of turns of so many steps


def ours(problem: Problem, section: Train) -> Maker:
    """`src.training.loop.train`, an epoch of so many steps at each turn: one training that goes on and on."""

    def make(steps: int) -> Entry:
        compute = prepare(section, problem.params.model.name)
        training = Batches(spread(problem.training, steps * section.batch_size), compute.device)
        nothing, evaluation = (
            Batches(spread(problem.evaluation, n), compute.device) for n in (0, max(1, len(training) // EVALUATED))
        )
        classifier = problem.classifier()
        endless = section.model_copy(update={"epochs": 10**9, "record_every": 0, "patience": None})
        epochs = train(classifier, training, nothing, endless, problem.params.seed, compute)

        def turn() -> Turn:
            prepare(section, problem.params.model.name)
            epoch = next(epochs)
            seconds = timed(lambda: measure(classifier, evaluation))
            return Turn(epoch.images_per_second, len(evaluation) / seconds)

        return turn

    return make


def floor(problem: Problem, section: Train) -> Maker:
    """Forward, backward and optimiser on one resident batch, in the layout and precision of our loop: see `learn`."""

    def make(steps: int) -> Entry:
        compute = prepare(section, problem.params.model.name)
        batch = spread(problem.training, section.batch_size)
        classifier, images, labels = resident(problem.classifier(), batch, section, compute)
        optimiser = optimizer(section.optimizer, classifier, section.decay_biases)

        def turn() -> Turn:
            prepare(section, problem.params.model.name)
            classifier.train()
            seconds = timed(lambda: learn(classifier.network, images, labels, optimiser, compute, steps))
            return Turn(steps * len(labels) / seconds)

        return turn

    return make


def resident(
    classifier: Classifier, batch: LabelledImages, section: Train, compute: Compute
) -> tuple[Classifier, Tensor, Tensor]:
    """The classifier as our loop trains it, on its device and in its layout, and a batch as its network gets it."""
    labels = torch.from_numpy(batch.labels.copy()).to(compute.device)
    classifier = TrainStep(classifier, section, labels, compute).classifier
    images = classifier.normalize(torch.from_numpy(batch.images.copy()).to(compute.device))
    return classifier, images.to(memory_format=layout(classifier)), labels


def layout(network: nn.Module) -> torch.memory_format:
    """How the network's convolutions lie in memory."""
    kernels = [weight for weight in network.parameters() if weight.ndim == 4 and min(weight.shape[1:3]) > 1]
    last = all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)
    return torch.channels_last if last else torch.contiguous_format


def learn(
    network: nn.Module, images: Tensor, labels: Tensor, optimiser: Optimizer, compute: Compute, steps: int
) -> None:
    """The floor: what no training loop can do without. images: float32 (N, C, H, W), normalised."""
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        with compute.autocasting():
            outputs = network(images)
        F.cross_entropy(outputs.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def tutorial(problem: Problem, section: Train, device: torch.device, workers: int = 0, files: bool = False) -> Maker:
    """The tutorial's own loop and network; with `files` from the photos themselves instead of decoded arrays."""
    told, side = TUTORIALS[problem.recipe], problem.spec.image.height

    def data(images: LabelledImages, count: int, training: bool) -> Dataset[Any]:
        transform = told.transform(side, training=training)
        if not files:
            return Images(*spread(images, count), transform)
        every = max(1, len(problem.photos) // count)
        return Photos(problem.photos[::every][:count], problem.training.labels[::every][:count], transform)

    def make(steps: int) -> Entry:
        count = steps * section.batch_size
        images = data(problem.training, count, True)
        loader = Timed(images, section.batch_size, warm(workers), shuffle=True, num_workers=workers)
        others = data(problem.evaluation, max(1, count // EVALUATED), False)
        held_out = DataLoader(others, section.batch_size, num_workers=workers)
        torch.manual_seed(0)
        network, criterion = told.network().to(device), nn.CrossEntropyLoss()
        optimiser = told.optimizer(network.parameters())

        def turn() -> Turn:
            defaults(section.threads)
            told.epoch(network, loader, criterion, optimiser, device)
            training = loader.rate()
            seconds = timed(lambda: evaluate(network, held_out, criterion, device))
            return Turn(training, len(others) / seconds)  # type: ignore[arg-type]

        return turn

    return make


def plain(problem: Problem, section: Train, device: torch.device, workers: int = 0) -> Maker:
    """`DataLoader` and torchvision's v2 transforms of uint8 tensors, our network, no `.item()`."""

    def make(steps: int) -> Entry:
        loader = v2_loader(problem, steps, section, workers, device)
        network = problem.classifier().network.to(device)
        optimiser = TUTORIALS[problem.recipe].optimizer(network.parameters())

        def turn() -> Turn:
            defaults(section.threads)
            network.train()
            total = torch.zeros((), device=device)
            for images, labels in loader:
                images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
                optimiser.zero_grad(set_to_none=True)
                loss = F.cross_entropy(network(images), labels)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total += loss.detach()
            return Turn(loader.rate())

        return turn

    return make


def with_lightning(problem: Problem, section: Train, device: torch.device, workers: int = 0) -> Maker:
    """The same in PyTorch Lightning, without logger, checkpoints and progress bar; only where it is installed."""
    lightning: Any = importlib.import_module("pytorch_lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = problem.classifier().network
            self.rate = 0.0

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            images, labels = batch
            loss = F.cross_entropy(self.network(images), labels)
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def on_train_epoch_end(self) -> None:
            self.rate = self.trainer.train_dataloader.rate()

        def configure_optimizers(self) -> Optimizer:
            return TUTORIALS[problem.recipe].optimizer(self.parameters())

    def make(steps: int) -> Entry:
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        loader = v2_loader(problem, steps, section, workers, device)
        module = Module()
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}

        def turn() -> Turn:
            defaults(section.threads)
            trainer = lightning.Trainer(
                max_epochs=1, accelerator=device.type, devices=1, enable_model_summary=False, **quiet
            )
            trainer.fit(module, loader)
            return Turn(module.rate)

        return turn

    return make


class _Tensors(Dataset[tuple[Tensor, int]]):
    def __init__(self, data: LabelledImages, transform: v2.Transform) -> None:
        self.images, self.labels = torch.from_numpy(data.images.copy()).permute(0, 3, 1, 2).contiguous(), data.labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


class Timed(DataLoader[Any]):
    """A loader that notes when its images were first asked for, or when `warm` steps were done, and when the last step
    was: what its worker processes take to end is no training."""

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
        """Images per second between the two; until now for a loop that asks for nothing after its last batch."""
        images = len(self.dataset) - self.warm * (self.batch_size or 1)  # type: ignore[arg-type]
        return images / (min(self.ended, now()) - self.started)


def v2_loader(problem: Problem, steps: int, section: Train, workers: int, device: torch.device) -> Timed:
    normalize = TUTORIALS[problem.recipe].normalize
    last = [v2.ToDtype(torch.float32, scale=True), *([] if normalize is None else [v2.Normalize(*normalize)])]
    data = spread(problem.training, steps * section.batch_size)
    transform = v2.Compose([*V2_AUGMENTATION.get(problem.recipe, []), *last])
    return Timed(
        _Tensors(data, transform),
        section.batch_size,
        warm(workers),
        shuffle=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )


def warm(workers: int) -> int:
    """The steps after which a loader is in its stride: each worker holds two batches ready and works on a third."""
    return 3 * workers


def spread(data: LabelledImages, count: int) -> LabelledImages:
    """So many images from all over the array, which stays a memory map: the first ones may be all of one class."""
    every = max(1, len(data.labels) // max(1, count))
    return LabelledImages(data.images[::every][:count], data.labels[::every][:count])


def defaults(threads: int | Literal["auto"]) -> None:
    """torch as a tutorial finds it: what `src.compute.device.prepare` sets for our loop is undone."""
    torch.set_num_threads(TORCHS_OWN if threads == "auto" else threads)
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")


def timed(call: Callable[[], object]) -> float:
    """Seconds, until the device is done."""
    started = now()
    call()
    return now() - started


def now() -> float:
    """Seconds on a clock that waits for the device."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()
