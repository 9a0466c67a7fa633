"""The tutorials' five systems as the benchmarks take them: parameters, prepared images, an untrained network.

The images are made from the archives by the project's own `download` and `split`, once, in `.cache/benchmarks/`.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.core.errors import UserError
from src.core.paths import PARAMS
from src.data.prepared import LabelledImages, open_split, read_dataset
from src.models.classifier import Classifier
from src.models.model_file import ModelSpec
from src.params import Params, parse, writing

CACHE = Path(".cache/benchmarks")
SYSTEMS = ("mnist", "fashion-mnist", "cifar10-basic", "cifar10-vgg", "dogs-vs-cats")
ARCHIVES = {  # by data.name
    "mnist": "mnist-idx.tar.xz",
    "fashion_mnist": "fashion-mnist-idx.tar.xz",
    "cifar10": "cifar10.tar.xz",
    "image_folder": "dogs-vs-cats.tar",
}


class Problem(NamedTuple):
    """Hold what a training needs. evaluation: the validation images, where a recipe has none the test images."""

    recipe: str
    params: Params
    spec: ModelSpec
    training: LabelledImages
    evaluation: LabelledImages

    def classifier(self) -> Classifier:
        """Build the untrained classifier, always with the same weights."""
        return self.spec.build(0)


def archive_of(recipe: str, folder: Path) -> Path:
    """Find the archive of a recipe's images. Raises `UserError` where it is missing."""
    archive = (folder / ARCHIVES[writing.load_recipe(recipe).data.name]).resolve()
    if not archive.exists():
        raise UserError(f"{archive} is missing: name the folder of the archives with --data")
    return archive


def problem(recipe: str, archives: Path) -> Problem:
    """Take a system with its real images; ImageNet's weights are not fetched: they change no time."""
    params = untrained(recipe)
    with contextlib.chdir(prepared(recipe, {"data.source": str(archive_of(recipe, archives))})):
        dataset = read_dataset()
        training, validation, test = open_split("train"), open_split("validation"), open_split("test")
    evaluation = validation if len(validation.labels) else test
    return Problem(recipe, params, ModelSpec.of(params.model, dataset), training, evaluation)


def untrained(recipe: str) -> Params:
    """Return a recipe's parameters, without pretrained weights."""
    params = writing.load_recipe(recipe)
    return params.model_copy(update={"model": params.model.model_copy(update={"weights": "none"})})


def prepared(recipe: str, changes: Mapping[str, Any]) -> Path:
    """Return a folder in which `download` and `split` of the recipe have run, with some values changed, now or earlier.

    They run without DVC, which a machine with a GPU may lack.
    """
    text = writing.changed(writing.recipe(recipe), changes)
    wanted = parse(text, recipe)
    content = repr((wanted.data, wanted.split)).encode()  # recipes with the same images share them
    folder = CACHE / f"{wanted.data.name}-{hashlib.sha256(content).hexdigest()[:12]}"
    if not (folder / ".ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        place(folder, text)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
        for stage in ("download", "split"):
            subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=folder, env=environment, check=True)
        (folder / ".ready").touch()
    return folder


def place(folder: Path, params: str) -> None:
    """Make a folder in which stages and benchmarks run with these parameters: the code lies there as links."""
    (folder / "data/images").mkdir(parents=True)
    for name in ("src", "stages", "benchmarks", "recipes"):
        (folder / name).symlink_to(Path(name).resolve())
    (folder / PARAMS).write_text(params, encoding="utf-8")


def synthetic(recipe: str, count: int, size: int | None = None) -> Problem:
    """Take a system with noise for images, `size` pixels high and wide, where their content does not matter."""
    params = untrained(recipe)
    random = np.random.default_rng(0)
    name = params.data.name
    grey = name in ("digits", "mnist", "fashion_mnist")
    side = size or params.data.image_size or (8 if name == "digits" else 28 if grey else 32)
    shape = (count, side, side, 1 if grey else 3)
    classes = [str(number) for number in range({"image_folder": 2, "cifar100": 100}.get(name, 10))]
    data = LabelledImages(random.integers(256, size=shape, dtype=np.uint8), random.integers(len(classes), size=count))
    image = {"height": side, "width": side, "channels": shape[3], "resize": None}
    spec = ModelSpec.model_validate({"model": params.model, "classes": classes, "image": image,
                                "mean": [0.5] * shape[3], "std": [0.25] * shape[3]})  # fmt: skip
    return Problem(recipe, params, spec, data, data)


def spread(data: LabelledImages, count: int) -> LabelledImages:
    """Take so many images from all over the arrays, without copying: the first ones may be all of one class."""
    every = max(1, len(data.labels) // max(1, count))
    return LabelledImages(data.images[::every][:count], data.labels[::every][:count])
