"""A small tree and settings for tests of tracking and programs that they start; `make_model` alone needs torch."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from src import params
from src.core.paths import DATASET
from src.data.prepared import ImageFormat
from src.params import Params
from src.params.writing import recipe

if TYPE_CHECKING:
    from src.models.classifier import Probabilities

ROOT = Path(__file__).resolve().parents[1]
RECIPE = recipe("digits")
PASSWORD = "s3cret-word"
DATA = {
    "name": "mnist",
    "classes": ["zero", "one", "two"],
    "image": {"height": 12, "width": 12, "channels": 3, "resize": None},
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.2, 0.2],
    "splits": {split: {"count": 3, "per_class": {}, "md5": {}} for split in ("train", "validation", "test")},
    "duplicates": {"equal": {"sets": 0, "conflicting": 0, "beside_train": {}, "examples": []}, "near": None},
    "unreadable": [],
}


def settings() -> Params:
    source = f"https://joe:{PASSWORD}@example.org/mnist.tar?token={PASSWORD}"
    text = RECIPE.replace("name: digits", "name: mnist").replace("source: ", f"source: {source}")
    Path("params.yaml").write_text(text, encoding="utf-8")
    return params.load()


def make_tree(root: Path) -> None:
    """What tracking reads of a repository, small."""
    (root / DATASET).parent.mkdir(parents=True)
    (root / DATASET).write_text(json.dumps(DATA), encoding="utf-8")
    (root / "stages").mkdir()
    (root / "src").mkdir()
    (root / "stages/train.py").write_text("print('train')\n")
    (root / "src/net.py").write_text("layers = 1\n")
    stage = "  {}: {{cmd: python, deps: [stages/train.py, src, data/prepared/dataset.json]}}\n"
    stages = "".join(stage.format(name) for name in ("train", "evaluate", "visualize"))
    (root / "dvc.yaml").write_text(f"stages:\n{stages}")
    (root / "requirements.lock").write_text("numpy==1\n")


def make_model(path: Path, name: str) -> "Probabilities":
    """A network with random weights and, where it has BatchNorm, statistics that are not the initial ones."""
    import torch

    from src.models.classifier import Probabilities
    from src.models.file import ModelSpec, save

    torch.manual_seed(0)
    model = params.Model(name=name, weights="none", freeze=False, activation=None, dropout=0.5, normalize="dataset")
    image = ImageFormat.model_validate(DATA["image"])
    spec = ModelSpec(
        model=model, classes=["zero", "one", "two"], image=image, mean=[0.4, 0.5, 0.6], std=[0.2, 0.2, 0.2]
    )
    classifier = spec.build()
    classifier(torch.randint(0, 256, (32, 12, 12, 3), dtype=torch.uint8))
    save(path, classifier, spec)
    return Probabilities(classifier)
