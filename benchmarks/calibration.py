"""How far confidence can be trusted: before and after the temperature, at a coverage, and of classes never seen.

    python -m benchmarks.calibration
    python -m benchmarks.calibration --recipes mnist-modern --epochs 2 --seeds 1

Networks are trained without the last two classes. Of the recipe's held-out images one half calibrates, the other half
and those of the two classes are measured. Keeps `benchmarks/calibration.json`, which `benchmarks/README.md` shows.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import DATA, FOLDER, command_line, hardware, keep, versions
from benchmarks.problems import Problem, problem
from src.compute.batches import Batches
from src.compute.device import prepare
from src.compute.forward import logits
from src.core.errors import command
from src.data.prepared import LabelledImages
from src.evaluation.calibration import calibrate
from src.evaluation.metrics import measure
from src.training.loop import train

RESULTS = FOLDER / "calibration.json"
RECIPES = ("mnist-modern", "fashion-mnist-modern", "cifar10-basic")
UNSEEN = 2  # classes
COVERAGE = "0.95"


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, metavar="RECIPE")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the archives")
    arguments = parser.parse_args()
    for recipe in arguments.recipes:
        runs = list(trainings(problem(recipe, arguments.data), arguments.epochs, arguments.seeds))
        mean = {name: round(float(np.mean([run[name] for run in runs])), 4) for name in runs[0]}
        result = {"recipe": recipe, "epochs": arguments.epochs, "seeds": arguments.seeds, "hardware": hardware()}
        keep(RESULTS, result | {"versions": versions("torch"), "mean": mean, "runs": runs}, same=("recipe",))
        print(recipe, mean, flush=True)


def trainings(known: Problem, epochs: int, seeds: int) -> Iterator[dict[str, float]]:
    """Train with each seed on the classes that are to be seen; yield what was measured."""
    classes = list(known.spec.classes)[:-UNSEEN]
    settings = known.params.train.model_copy(update={"epochs": epochs, "record_every": 0, "device": "cpu"})
    compute = prepare(settings, known.params.model.name)
    seen, held_out, unseen = (
        Batches(chosen, compute.device)
        for chosen in (
            part(known.training, known.training.labels < len(classes)),
            part(known.evaluation, known.evaluation.labels < len(classes)),
            part(known.evaluation, known.evaluation.labels >= len(classes)),
        )
    )
    spec = known.spec.model_copy(update={"classes": classes})
    nothing = Batches(part(known.training, np.zeros(len(known.training.labels), bool)), compute.device)
    for seed in range(seeds):
        classifier = spec.build(seed)
        list(train(classifier, seen, nothing, settings, seed, compute))
        found, labels = logits(classifier, held_out).cpu().numpy(), held_out.labels.cpu().numpy()
        half = np.random.default_rng(seed).permutation(len(labels)) < len(labels) // 2
        yield measured(found[half], labels[half], found[~half], labels[~half], logits(classifier, unseen).cpu().numpy())


def part(data: LabelledImages, chosen: NDArray[np.bool_]) -> LabelledImages:
    """Take the chosen images."""
    return LabelledImages(data.images[np.flatnonzero(chosen)], data.labels[chosen])


def measured(
    first: NDArray[Any], first_labels: NDArray[Any], second: NDArray[Any], labels: NDArray[Any], unseen: NDArray[Any]
) -> dict[str, float]:
    """Calibrate with the first logits and labels; measure on the second, and on images of classes never seen."""
    calibration = calibrate(first, first_labels)
    assert calibration is not None
    least, temperature = calibration.least[COVERAGE], calibration.temperature or 1.0
    probabilities, strange = (torch.from_numpy(each / temperature).softmax(dim=1).numpy() for each in (second, unseen))
    plain, calibrated = measure(second, labels), measure(second / temperature, labels)
    return {
        "accuracy": float(plain["accuracy"]),
        "temperature": temperature,
        **{f"ece{end}": float(plain[f"ece{end}"]) for end in ("", "_ci_low", "_ci_high")},
        **{f"ece_calibrated{end}": float(calibrated[f"ece{end}"]) for end in ("", "_ci_low", "_ci_high")},
        "coverage": float((probabilities[np.arange(len(labels)), labels] >= least).mean()),
        "possible": float((probabilities >= least).sum(axis=1).mean()),
        "refused": float((probabilities.max(axis=1) < least).mean()),
        "unseen_refused": float((strange.max(axis=1) < least).mean()),
    }


if __name__ == "__main__":
    command(main)
