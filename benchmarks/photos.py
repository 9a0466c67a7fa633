"""What is best for photos of your own: features first, fine-tuning, or both; and with a rare class, or an unknown one.

    python -m benchmarks.photos --weights ../shared/weights/tf_efficientnet_lite0.safetensors
    python -m benchmarks.photos --weights … --sets "dogs and cats" --ways "features first" --test

Three sets, of each of which 1,200 photos train: dogs and cats, animals and vehicles of CIFAR-10. Ways are chosen by
validation alone; with `--test` those that are named are measured on test images, too. Keeps `benchmarks/photos.json`,
which `benchmarks/README.md` shows.
"""

import time
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.audit import CIFAR10, some_of_cifar10
from benchmarks.calibration import measured, part
from benchmarks.common import DATA, FOLDER, command_line, hardware, keep, versions
from benchmarks.problems import archive_of, prepared
from src import params
from src.compute.batches import Batches
from src.compute.forward import logits
from src.core.errors import command
from src.data.prepared import LabelledImages, SplitName
from src.evaluation.calibration import fit_temperature
from src.evaluation.metrics import measure
from src.models.file import ModelSpec
from src.params import parse, writing
from src.training.features import features_of, head_classifier
from src.training.loop import train
from src.training.trainer import Trainer

RESULTS = FOLDER / "photos.json"
# CIFAR-10's 32×32 pixels are brought to 96×96, which takes a fourth of the time of the 224×224 of dogs and cats.
SMALL = {"data.image_size": 96, "model.normalize": "half", "split.validation": 0.3, "split.test": 0.3}
FINE = {
    "model.freeze": "batch_norm",
    "train.epochs": 3,
    "train.batch_size": 32,
    "train.optimizer.lr": 5e-4,
    "train.first_layer_lr": 0.1,
    "train.augment.flip": True,
}
FIRST = "features first"
WAYS: dict[str, dict[str, Any]] = {
    FIRST: {},
    "fine-tuned": FINE,
    "fine-tuned, TrivialAugment": FINE | {"train.augment.policy": "trivial"},
    "fine-tuned, mixup and EMA": FINE | {"train.augment.mixup": 0.2, "train.ema": 0.99},
    "fine-tuned, batch norm too": FINE | {"model.freeze": False},
    f"{FIRST}, then fine-tuned": FINE,
}
BALANCING: dict[str, dict[str, Any]] = {
    "every image counts the same": {},
    "sampling: balanced": {"train.sampling": "balanced"},
    "class_weights: balanced": {"train.loss.class_weights": "balanced"},
}
KEPT = 0.1  # of the training images of a class that is made rare


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("--weights", type=Path, required=True, help="of timm's tf_efficientnet_lite0")
    parser.add_argument("--sets", nargs="+", default=("dogs and cats", *CIFAR10), metavar="SET")
    parser.add_argument("--ways", nargs="+", default=(*WAYS, *BALANCING, "unknown"), metavar="WAY")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", action="store_true", help="measure on test images, too, what validation has chosen")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the archives")
    arguments = parser.parse_args()
    one_thread = {"model.weights": str(arguments.weights.resolve()), "train.device": "cpu", "train.threads": 1}
    for name in arguments.sets:
        if name in CIFAR10:
            changes = SMALL | {"data.source": str(some_of_cifar10(name, arguments.data))}
        else:
            changes = {"data.source": str(archive_of("dogs-vs-cats", arguments.data))}
        with chdir(prepared("own-images", changes)):
            photos = Photos(writing.changed(writing.recipe("own-images"), changes | one_thread))
            for way in arguments.ways:
                if way in WAYS:
                    runs = [photos.reached(way, seed, arguments.test) for seed in range(arguments.seeds)]
                elif len(photos.spec.classes) == 2:
                    continue
                elif way in BALANCING:
                    runs = [run for seed in range(arguments.seeds) for run in photos.with_rare(BALANCING[way], seed)]
                else:
                    runs = list(photos.with_unknown())
                mean = {key: round(float(np.mean([run[key] for run in runs])), 4) for key in runs[0]}
                result = {"set": name, "way": way, "hardware": hardware(), "versions": versions("torch", "timm")}
                keep(RESULTS, result | {"mean": mean, "runs": runs}, same=("set", "way"))
                print(name, way, mean, flush=True)


class Photos:
    """Hold a prepared set, and train on it in several ways."""

    def __init__(self, text: str) -> None:
        recipe = parse(text, "own-images")
        self.text, self.model, self.settings = text, recipe.model, recipe.train
        self.trainer = Trainer(self.model, self.settings, "train", "validation", "test")
        self.spec = ModelSpec.of(self.model, self.trainer.dataset)

    def reached(self, way: str, seed: int, test: bool) -> dict[str, float]:
        """Train in one way; return what it reaches, and the seconds of the processor."""
        started, images = time.process_time(), self.trainer.images
        fine = parse(writing.changed(self.text, WAYS[way]), way)
        classifier = ModelSpec.of(fine.model, self.trainer.dataset).build(seed)
        if way.startswith(FIRST):
            first = self.trainer.start(self.model, self.settings, seed)
            list(first.epochs)
            classifier.load_state_dict(first.classifier.state_dict())
        if WAYS[way]:
            list(train(classifier, images["train"], images["validation"], fine.train, seed, self.trainer.compute))
        seconds = round(time.process_time() - started, 1)
        found, labels = logits(classifier, images["validation"]).numpy(), images["validation"].labels.numpy()
        scores = measure(found / (fit_temperature(found, labels) or 1.0), labels)
        run = {"validation_accuracy": scores["accuracy"], "validation_loss": scores["loss"], "seconds": seconds}
        if test:
            run |= measured(found, labels, logits(classifier, images["test"]).numpy(), images["test"].labels.numpy())
        print(way, seed, run, flush=True)
        return run

    def with_rare(self, changes: dict[str, Any], seed: int) -> Iterator[dict[str, float]]:
        """Yield what features first reaches on validation where a class, each in turn, has few training images."""
        settings = parse(writing.changed(self.text, changes), "balancing").train
        training, validation = self.features("train"), self.features("validation")
        for rare in range(len(self.spec.classes)):
            kept = training.labels != rare
            own = np.random.default_rng(seed).permutation(np.flatnonzero(~kept))
            kept[own[: round(KEPT * len(own))]] = True
            (found,) = self.last_layer(self.spec, settings, seed, part(training, kept), validation)
            right = found.argmax(axis=1) == validation.labels
            shares = [float(right[validation.labels == label].mean()) for label in range(found.shape[1])]
            yield {"balanced_accuracy": float(np.mean(shares)), "rare": shares[rare]}

    def with_unknown(self) -> Iterator[dict[str, float]]:
        """Yield how far confidence can be trusted on test images where a class, each in turn, was never seen."""
        splits = [self.features(split) for split in ("train", "validation", "test")]
        for unknown in range(len(self.spec.classes)):
            spec = self.spec.model_copy(update={"classes": np.delete(self.spec.classes, unknown).tolist()})
            known = [part(each, each.labels != unknown) for each in splits]
            known = [LabelledImages(each.images, each.labels - (each.labels > unknown)) for each in known]
            strange = part(splits[2], splits[2].labels == unknown)
            found = self.last_layer(spec, self.settings, unknown, *known, strange)
            yield measured(found[0], known[1].labels, found[1], known[2].labels, found[2])

    def features(self, split: SplitName) -> LabelledImages:
        """Return a split as the last layer sees it."""
        network = self.trainer.compute.place(self.spec.build(0))
        found = features_of(network, self.trainer.images[split], self.trainer.dataset, split)
        return LabelledImages(found.images, found.labels.numpy())

    def last_layer(
        self, spec: ModelSpec, settings: params.Train, seed: int, training: LabelledImages, *others: LabelledImages
    ) -> list[NDArray[Any]]:
        """Train the last layer alone on features; return the logits of the others, of which the first ones validate."""
        learned = head_classifier(spec.build(seed), self.trainer.images["train"])
        assert learned is not None
        batches = [Batches(each, self.trainer.compute.device) for each in (training, *others)]
        list(train(learned, batches[0], batches[1], settings, seed, self.trainer.compute))
        return [logits(learned, each).numpy() for each in batches[1:]]


if __name__ == "__main__":
    command(main)
