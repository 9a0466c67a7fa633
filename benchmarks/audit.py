"""How many wrong labels `src.audit` finds, and what accuracy its suggestions give back.

    python -m benchmarks.audit --weights ../shared/weights/tf_efficientnet_lite0.safetensors

In three sets of photos the labels of 5 % of train and validation are replaced by other classes, at random: dogs and
cats, animals and vehicles of CIFAR-10. Then features-first training is measured on test images, whose labels are right:
with the labels as they were, with the wrong ones, and with as many suggestions applied as labels are estimated wrong.
Keeps `benchmarks/audit.json`, which `benchmarks/README.md` shows.
"""

import io
import tarfile
from contextlib import chdir
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import DATA, FOLDER, command_line, hardware, keep, versions
from benchmarks.problems import CACHE, archive_of, prepared
from src import params
from src.auditing.findings import label_issues, wrong_labels
from src.auditing.probabilities import out_of_fold, pretrained_features
from src.auditing.samples import together
from src.core.errors import command
from src.data.prepared import SplitName, open_split
from src.data.splitting import Indices
from src.params.writing import load_recipe
from src.training.features import features_of, head_classifier
from src.training.loop import measure
from src.training.trainer import Trainer

RESULTS = FOLDER / "audit.json"
CIFAR10 = {  # classes of each set, and training images of each class
    "animals of CIFAR-10": (("bird", "cat", "deer", "dog", "frog", "horse"), 500),
    "vehicles of CIFAR-10": (("airplane", "automobile", "ship", "truck"), 750),
}
FLIPPED = 0.05


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("--weights", type=Path, required=True, help="of timm's tf_efficientnet_lite0")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the archives")
    arguments = parser.parse_args()
    recipe = load_recipe("own-images")
    model = recipe.model.model_copy(update={"weights": str(arguments.weights.resolve())})
    settings = recipe.train.model_copy(update={"threads": 1, "device": "cpu"})
    sets: dict[str, tuple[Path, int | None]] = {"dogs and cats": (archive_of("dogs-vs-cats", arguments.data), 224)}
    sets |= {name: (some_of_cifar10(name, arguments.data), None) for name in CIFAR10}
    for name, (source, size) in sets.items():
        with chdir(prepared("own-images", {"data.source": str(source), "data.image_size": size})):
            runs = audits(model, settings, arguments.seeds)
        mean = {key: round(float(np.mean([run[key] for run in runs])), 4) for key in runs[0]}
        result = {"set": name, "seeds": arguments.seeds, "hardware": hardware()}
        result |= {"versions": versions("cleanlab", "scikit-learn"), "mean": mean, "runs": runs}
        keep(RESULTS, result, same=("set",))
        print(name, mean, flush=True)


def some_of_cifar10(name: str, folder: Path) -> Path:
    """Pack some of CIFAR-10's training images into an archive of class folders, once."""
    classes, count = CIFAR10[name]
    target = CACHE.resolve() / f"{name.replace(' ', '-')}.tar"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive_of("cifar10-basic", folder)) as whole, tarfile.open(target, "w") as part:
            for member in whole:
                split, label, file = member.name.split("/")
                if split == "train" and label in classes and int(Path(file).stem) < count:
                    content = whole.extractfile(member).read()  # type: ignore[union-attr]
                    member.name = f"{label}/{file}"
                    part.addfile(member, io.BytesIO(content))
    return target


def audits(model: params.Model, settings: params.Train, seeds: int) -> list[dict[str, float]]:
    """Return what was measured with the wrong labels of each seed, in the prepared data of the current folder."""
    trainer = Trainer(model, settings, "train", "validation", "test")
    splits: tuple[SplitName, ...] = ("train", "validation")
    opened = {split: open_split(split) for split in splits}
    samples, classes = together(opened, near=True), trainer.dataset.classes
    features = pretrained_features(model, settings, trainer.dataset, opened)

    def accuracy(labels: Indices, seed: int) -> float:
        """Return the test accuracy of features-first training with these labels of train and validation."""
        for split, part in zip(splits, np.split(labels, [len(opened["train"].labels)]), strict=True):
            trainer.images[split].labels = torch.from_numpy(part)
        trained = trainer.start(model, settings, seed)
        list(trained.epochs)
        head = head_classifier(trained.classifier, trainer.images["test"])
        assert head is not None
        right = measure(head, features_of(trained.classifier, trainer.images["test"], trainer.dataset, "test"))[1]
        assert right is not None
        return round(right, 4)

    runs = []
    for seed in range(seeds):
        random, given = np.random.default_rng(seed), samples.labels.copy()
        wrong = random.choice(len(given), round(FLIPPED * len(given)), replace=False)
        given[wrong] = (given[wrong] + random.integers(1, len(classes), len(wrong))) % len(classes)
        probabilities = out_of_fold(features, given, samples.units, classes)
        issues = label_issues(given, probabilities)
        estimate = wrong_labels(given, probabilities)
        applied = given.copy()
        applied[issues[:estimate]] = probabilities[issues[:estimate]].argmax(axis=1)
        runs.append(
            {
                "images": len(given),
                "wrong": len(wrong),
                "estimate": estimate,
                "suggested": len(issues),
                "precision": float(np.isin(issues[: len(wrong)], wrong).sum() / len(wrong)),
                "recall": float(np.isin(wrong, issues).mean()),
                "accuracy_right": accuracy(samples.labels, seed),
                "accuracy_wrong": accuracy(given, seed),
                "accuracy_applied": accuracy(applied, seed),
            }
        )
    return runs


if __name__ == "__main__":
    command(main)
