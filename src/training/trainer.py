"""From parameters and a seed to a trained network, for the stage, `src.seeds` and searches alike."""

from collections.abc import Iterator
from typing import NamedTuple

from src import params
from src.compute import device
from src.compute.batches import Batches
from src.data.prepared import SplitName, open_split, read_dataset
from src.models.classifier import Classifier
from src.models.model_file import ModelSpec
from src.training.epoch import Epoch
from src.training.features import features_of, head_classifier
from src.training.loop import train
from src.training.resume import Progress

LESS_MEMORY = "reduce train.batch_size, raise train.accumulate or reduce data.image_size"


class Training(NamedTuple):
    """Hold a network and the generator that trains it by epochs; at its end the network has the kept weights.

    learned, validation: the network and the validation images; or its last layer, if that learns alone, and what it
    takes for them, their features.
    """

    spec: ModelSpec
    classifier: Classifier
    learned: Classifier
    validation: Batches
    epochs: Iterator[Epoch]


class Trainer:
    """Prepare data and device once for all trainings of a process. Only the named splits are opened.

    Raises `UserError` where the data are missing or damaged, or the device is absent.
    """

    def __init__(self, model: params.Model, settings: params.Train, *splits: SplitName) -> None:
        self.compute = device.prepare(settings, model.name)
        self.dataset = read_dataset()
        self.images = {name: Batches(open_split(name), self.compute.device) for name in splits}

    def start(
        self, model: params.Model, settings: params.Train, seed: int, progress: Progress | None = None
    ) -> Training:
        """Build the network with weights drawn by the seed, and return it with the generator that trains it.

        progress: where an interrupted training of the same arguments stood (see `loop.train`). Precision and network
        may differ from those of the trainer, as in a search. Raises `UserError` if the network cannot take the images.
        """
        compute = device.prepare(settings, model.name)
        spec = ModelSpec.of(model, self.dataset)
        classifier = spec.build(seed)
        learned, images = classifier, self.images
        if model.freeze is True and not settings.augment.changes:
            frozen = compute.place(classifier)
            if last := head_classifier(frozen, images["train"]):
                splits: tuple[SplitName, ...] = ("train", "validation")
                learned = last
                images = {name: features_of(frozen, images[name], self.dataset, name) for name in splits}
        epochs = train(learned, images["train"], images["validation"], settings, seed, compute, progress)
        return Training(spec, classifier, learned, images["validation"], epochs)
