"""The tutorials' five systems as the benchmarks take them: parameters, prepared images, an untrained network.

The images are made from the archives by the project's own `download` and `split`, once, in `.cache/benchmarks/`.
"""

import contextlib
import hashlib
import importlib
import multiprocessing
import shutil
import tarfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.core.errors import UserError
from src.core.paths import DATASET, PARAMS, PREPARED
from src.data.prepared import Dataset, LabelledImages
from src.models.classifier import Classifier
from src.models.file import ModelSpec
from src.params import Params, parse, writing

CACHE = Path(".cache/benchmarks")
ARCHIVES = {  # by data.name
    "mnist": "mnist-idx.tar.xz",
    "fashion_mnist": "fashion-mnist-idx.tar.xz",
    "cifar10": "cifar10.tar.xz",
    "image_folder": "dogs-vs-cats.tar",
}


class Problem(NamedTuple):
    """evaluation: the validation images, where a recipe has none the test images. photos: the files from which the
    training images were decoded, in their order, where they came as files of any size."""

    recipe: str
    params: Params
    spec: ModelSpec
    training: LabelledImages
    evaluation: LabelledImages
    photos: list[Path]

    def classifier(self) -> Classifier:
        """Untrained, always with the same weights."""
        return self.spec.build(0)


def problem(recipe: str, archives: Path) -> Problem:
    """A system with its real images. ImageNet's weights are not fetched: they change no time."""
    chosen = writing.load_recipe(recipe)
    chosen = chosen.model_copy(update={"model": chosen.model.model_copy(update={"weights": "none"})})
    archive = archives / ARCHIVES[chosen.data.name]
    folder = prepared(recipe, {"data.source": str(archive.resolve())})
    dataset = Dataset.model_validate_json((folder / DATASET).read_text(encoding="utf-8"))
    spec = ModelSpec.of(chosen.model, dataset)
    splits = {split: open_split(folder, split) for split in ("train", "validation", "test")}
    evaluation = splits["validation"] if len(splits["validation"].labels) else splits["test"]
    photos = unpacked(archive, dataset.splits["train"].names) if chosen.data.name == "image_folder" else []
    return Problem(recipe, chosen, spec, splits["train"], evaluation, photos)


def prepared(recipe: str, changes: dict[str, str]) -> Path:
    """A folder in which `download` and `split` of the recipe, with some values changed, have run: now or earlier."""
    if "data.source" in changes and not Path(changes["data.source"]).exists():
        raise UserError(f"{changes['data.source']} is missing: name the folder of the archives with --data")
    text = writing.changed(writing.recipe(recipe), changes)
    wanted = parse(text, recipe)
    content = repr((wanted.data, wanted.split)).encode()  # recipes with the same images share them
    folder = CACHE / f"{wanted.data.name}-{hashlib.sha256(content).hexdigest()[:12]}"
    ready = folder / ".ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "data/images").mkdir(parents=True)
        for name in ("src", "stages"):
            (folder / name).symlink_to(Path(name).resolve())
        (folder / PARAMS).write_text(text, encoding="utf-8")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
            apart.submit(prepare_in, folder).result()
        ready.touch()
    (folder / PARAMS).write_text(text, encoding="utf-8")
    return folder


def prepare_in(folder: Path) -> None:
    """Do the work of `download` and `split` in the folder; without DVC, which a machine with a GPU may lack."""
    with contextlib.chdir(folder):
        for stage in ("download", "split"):
            importlib.import_module(f"stages.{stage}").main()


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
    chosen = writing.load_recipe(recipe)
    chosen = chosen.model_copy(update={"model": chosen.model.model_copy(update={"weights": "none"})})
    random = np.random.default_rng(0)
    name = chosen.data.name
    side = size or chosen.data.image_size or {"digits": 8, "mnist": 28, "fashion_mnist": 28}.get(name, 32)
    shape = (count, side, side, 1 if name in ("digits", "mnist", "fashion_mnist") else 3)
    classes = [str(number) for number in range({"image_folder": 2, "cifar100": 100}.get(name, 10))]
    data = LabelledImages(random.integers(256, size=shape, dtype=np.uint8), random.integers(len(classes), size=count))
    image = {"height": side, "width": side, "channels": shape[3], "resize": None}
    spec = ModelSpec.model_validate({"model": chosen.model, "classes": classes, "image": image,
                                "mean": [0.5] * shape[3], "std": [0.25] * shape[3]})  # fmt: skip
    return Problem(recipe, chosen, spec, data, data, [])
