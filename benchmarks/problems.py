"""The tutorials' five systems as the benchmarks take them: parameters, prepared images, an untrained network.

The images are made from the archives by the project's own `download` and `split`, once, in `.cache/benchmarks/`.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.pipeline import substitute
from benchmarks.systems import ARCHIVES
from src import params
from src.data.prepared import Dataset, LabelledImages
from src.faults import Fault
from src.models.classifier import Classifier
from src.models.file import Card
from src.params import Params
from src.paths import DATASET, PARAMS, PREPARED, RECIPES

CACHE = Path(".cache/benchmarks")


class Problem(NamedTuple):
    """evaluation: the validation images, where a recipe has none the test images. photos: the files from which the
    training images were decoded, in their order, where they came as files of any size."""

    recipe: str
    params: Params
    card: Card
    training: LabelledImages
    evaluation: LabelledImages
    photos: list[Path]

    def classifier(self) -> Classifier:
        """Untrained, always with the same weights."""
        return self.card.build(0)


def problem(recipe: str, archives: Path) -> Problem:
    """A system with its real images. ImageNet's weights are not fetched: they change no time."""
    chosen = params.load(RECIPES / f"{recipe}.yaml")
    chosen = chosen.model_copy(update={"model": chosen.model.model_copy(update={"weights": "none"})})
    archive = archives / ARCHIVES[recipe]
    folder = prepared(recipe, {"data.source": str(archive.resolve())})
    dataset = Dataset.model_validate_json((folder / DATASET).read_text(encoding="utf-8"))
    card = Card.of(chosen.model, dataset)
    splits = {split: open_split(folder, split) for split in ("train", "validation", "test")}
    evaluation = splits["validation"] if len(splits["validation"].labels) else splits["test"]
    photos = unpacked(archive, dataset.splits["train"].names) if chosen.data.name == "image_folder" else []
    return Problem(recipe, chosen, card, splits["train"], evaluation, photos)


def prepared(recipe: str, changes: dict[str, str]) -> Path:
    """A folder in which `download` and `split` of the recipe, with some values changed, have run: now or earlier."""
    if "data.source" in changes and not Path(changes["data.source"]).exists():
        raise Fault(f"{changes['data.source']} is missing: name the folder of the archives with --data")
    scratch = CACHE / "params.yaml"
    scratch.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(RECIPES / f"{recipe}.yaml", scratch)
    for key, value in changes.items():
        substitute(scratch, key, value)
    wanted = params.load(scratch)
    content = repr((wanted.data, wanted.split)).encode()  # recipes with the same images share them
    folder = CACHE / f"{wanted.data.name}-{hashlib.sha256(content).hexdigest()[:12]}"
    ready = folder / ".ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "data/images").mkdir(parents=True)
        for name in ("src", "stages"):
            (folder / name).symlink_to(Path(name).resolve())
        for stage in ("download", "split"):
            shutil.copy(scratch, folder / PARAMS)
            subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=folder, check=True)
        ready.touch()
    shutil.copy(scratch, folder / PARAMS)
    return folder


def open_split(folder: Path, split: str) -> LabelledImages:
    """As `src.data.prepared.open_split`, of another folder."""
    images, labels = (folder / PREPARED / f"{split}.{kind}.npy" for kind in ("images", "labels"))
    return LabelledImages(np.load(images, mmap_mode="r"), np.load(labels, mmap_mode="r"))


def unpacked(archive: Path, names: list[str]) -> list[Path]:
    """The archive's files of these names, as files in the cache."""
    folder = CACHE / archive.stem
    if any(not (folder / name).exists() for name in names):
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
    return [folder / name for name in names]


def synthetic(recipe: str, count: int, size: int | None = None) -> Problem:
    """A system with noise for images, for where their content does not matter; `size` pixels high and wide."""
    chosen = params.load(RECIPES / f"{recipe}.yaml")
    chosen = chosen.model_copy(update={"model": chosen.model.model_copy(update={"weights": "none"})})
    random = np.random.default_rng(0)
    side = size or chosen.data.image_size or {"digits": 8, "mnist": 28, "fashion_mnist": 28}.get(chosen.data.name, 32)
    shape = (count, side, side, 1 if chosen.data.name in ("digits", "mnist", "fashion_mnist") else 3)
    classes = [str(number) for number in range(2 if recipe == "dogs-vs-cats" else 10)]
    data = LabelledImages(random.integers(256, size=shape, dtype=np.uint8), random.integers(len(classes), size=count))
    image = {"height": side, "width": side, "channels": shape[3], "resize": None}
    card = Card.model_validate({"model": chosen.model, "classes": classes, "image": image, "mean": [0.5] * shape[3],
                                "std": [0.25] * shape[3]})  # fmt: skip
    return Problem(recipe, chosen, card, data, data, [])
