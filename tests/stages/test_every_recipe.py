"""Every recipe through all stages, from real images to the page, on some hundred of them and for one epoch.

One clone serves all, and one process, which has imported everything and forks for each stage: what DVC does around them
is test_pipeline's. CIFAR-10's 60,000 files become a small archive first: decoding them all takes 15 s each time.
"""

import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
from clones import ROOT, committed, copy_of_the_repository
from forked import Forked
from ruamel.yaml import YAML

from benchmarks import report
from src.params import writing

pytestmark = pytest.mark.slow

RECIPES = [name for name in writing.names() if name != "digits"]  # it runs in test_pipeline
DATA = ROOT.parent / "shared/datasets"
WEIGHTS = ROOT.parent / "shared/weights/tf_efficientnet_lite0.safetensors"
ARCHIVES = {
    "mnist": "mnist-idx.tar.xz",
    "fashion_mnist": "fashion-mnist-idx.tar.xz",
    "cifar10": "cifar10.tar.xz",
    "cifar100": "cifar10.tar.xz",  # there is no archive of CIFAR-100: its recipe runs on CIFAR-10's images
    "image_folder": "dogs-vs-cats.tar",
}
OF_A_CLASS = 40

PARAMETERS = {  # DESIGN.md's; of the others the tutorials say nothing
    "cifar10-vgg": (5_852_170, 22.33),
}
# Of those that every run has, one of each kind; the others depend on the network and on what was asked for.
FIGURES = {"samples", "class_distribution", "learning_curves", "confusion_matrix", "kernels", "feature_maps"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return committed(copy_of_the_repository(tmp_path_factory.mktemp("recipes") / "clone"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the path of a data set's archive, made small where its images are files."""
    folder = tmp_path_factory.mktemp("archives")

    def find(dataset: str) -> Path:
        path = DATA / ARCHIVES[dataset]
        if not path.exists():
            pytest.skip(f"{path} is absent")
        if "idx" in path.name:
            return path
        small = folder / path.name.removesuffix(".xz")
        if not small.exists():
            first_of_each_class(path, small)
        return small

    return find


def first_of_each_class(source: Path, target: Path) -> None:
    """The first images below each folder, or of each prefix in a flat one, as they are."""
    taken: Counter[str] = Counter()
    with tarfile.open(source, "r|*") as images, tarfile.open(target, "w") as few:
        for member in images:
            kind = member.name.partition(".")[0].rstrip("0123456789")
            taken[kind] += 1
            if taken[kind] <= OF_A_CLASS:
                few.addfile(member, images.extractfile(member))


def outputs(clone: Path) -> dict[str, list[Path]]:
    """What `dvc.yaml` says that each stage writes."""
    stages = YAML(typ="safe", pure=True).load(clone / "dvc.yaml")["stages"]
    found: dict[str, list[Path]] = {}
    for name, stage in stages.items():
        entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
        found[name] = [clone / (entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]
    return found


def repro(clone: Path, forked: Forked, drawn: bool) -> None:
    """As `dvc repro --force`: the outputs of a stage are removed before it runs, and must be there afterwards."""
    for stage, paths in outputs(clone).items():
        if stage == "visualize" and not drawn:
            continue
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        forked.run(clone, f"stages.{stage}")
        assert [path for path in paths if not path.exists()] == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs_from_its_images_to_the_page(
    recipe: str, clone: Path, archive: Callable[[str], Path], forked: Forked
) -> None:
    params = writing.load_recipe(recipe)
    changes: dict[str, Any] = {"data.limit": 200, "train.epochs": 1, "evaluate.robustness.images": 10}
    changes |= {"visualize.samples": 8, "visualize.mistakes": 4}  # drawing is half of the time
    changes["train.threads"] = 1  # tests share the processors
    if params.train.record_every:
        changes["train.record_every"] = 1
    if params.data.name != "digits":
        changes["data.source"] = str(archive(params.data.name))
    if params.data.name == "cifar100":
        changes["data.name"] = "cifar10"
    if params.train.compile:  # a minute; test_training compiles
        changes["train.compile"] = False
    if params.train.schedule.name == "one_cycle":
        changes["train.schedule.warmup_epochs"] = 0.5
    if params.data.image_size:
        timm = params.model.name.startswith("timm/")
        changes |= {"data.image_size": 64, "model.weights": str(WEIGHTS) if timm else "none"}
    text = writing.changed(writing.recipe(recipe), changes)
    (clone / "params.yaml").write_text(text, encoding="utf-8")

    drawn = not recipe.endswith("-modern")  # its pictures are those of the recipe without this word
    repro(clone, forked, drawn)

    dataset, training, metrics = (
        json.loads((clone / path).read_text(encoding="utf-8"))
        for path in ("data/prepared/dataset.json", "reports/training.json", "reports/metrics.json")
    )
    assert training["epochs"] == 1
    measured = pandas.read_csv(clone / "reports/measured.csv").set_index("metric")
    assert measured["low"]["accuracy"] <= metrics["accuracy"] <= measured["high"]["accuracy"]
    assert metrics["images"] == dataset["splits"]["test"]["count"]
    if recipe in PARAMETERS:
        assert (training["parameters"], training["size_mib"]) == PARAMETERS[recipe]
    if drawn:
        assert params.model.name in (clone / "reports/index.html").read_text(encoding="utf-8")
        figures = {path.stem for path in (clone / "reports/figures").iterdir()}
        assert figures >= FIGURES
        assert ("error_by_step" in figures) == bool(params.train.record_every)


def test_the_table_of_results_is_that_of_the_files() -> None:
    assert report.README.read_text(encoding="utf-8") == report.render()
