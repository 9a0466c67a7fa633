"""Every recipe through all stages, from its images to the page, on some hundred of them and for one epoch.

One clone serves all, and one process, which has imported everything and forks for each stage: what DVC does around them
is test_pipeline's. The images are noise, in archives of each data set's own form: `tests/data` reads the real ones.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas
import pytest
from clones import committed, copy_of_the_repository
from data_samples import class_folders, mnist_files, pack_tar, png
from forked import Forked

from benchmarks import report
from src.core.dvc import read_pipeline, written
from src.data.known import PUBLISHED_SETS
from src.params import writing

pytestmark = pytest.mark.slow

# digits runs in test_pipeline; dogs-vs-cats-modern trains as own-images does.
RECIPES = [name for name in writing.names() if name not in ("digits", "dogs-vs-cats-modern")]
DRAWN = ("mnist", "cifar10-speed", "own-images")  # of each kind one: drawing is half of the time

# Of those that every run has, one of each kind; the others depend on the network and on what was asked for.
FIGURES = {"samples", "class_distribution", "learning_curves", "confusion_matrix", "kernels", "feature_maps"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return committed(copy_of_the_repository(tmp_path_factory.mktemp("recipes") / "clone"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the pretrained network of timm that recipes name: random ones, which takes no network."""
    import timm
    from safetensors.torch import save_file

    file = tmp_path_factory.mktemp("weights") / "tf_efficientnet_lite0.safetensors"
    save_file(timm.create_model("tf_efficientnet_lite0").state_dict(), file)
    return file


def archive(dataset: str, folder: Path) -> Path:
    """A few images, packed as those of the data set are."""
    if dataset == "image_folder":  # flat, as dogs-vs-cats
        files = {f"{kind}.{n}.png": png(2 * n + k, 64) for n in range(20) for k, kind in enumerate(("cat", "dog"))}
    elif "mnist" in dataset:
        files = mnist_files(120, 80)
    else:
        each = dict.fromkeys(PUBLISHED_SETS[dataset].classes, 10 if dataset == "cifar10" else 2)
        files = class_folders(each, "train/", size=32) | class_folders(each, "test/", start=10**6, size=32)
    return pack_tar(folder / "images.tar", files)


def repro(clone: Path, forked: Forked, drawn: bool) -> None:
    """As `dvc repro --force`: the outputs of a stage are removed before it runs, and must be there afterwards."""
    for stage, entry in read_pipeline((clone / "dvc.yaml").read_bytes()).items():
        if stage == "visualize" and not drawn:
            continue
        paths = [clone / path for path in written(entry)]
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        forked.run(clone, f"stages.{stage}")
        assert [path for path in paths if not path.exists()] == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs_from_its_images_to_the_page(
    recipe: str, clone: Path, weights: Path, forked: Forked, tmp_path: Path
) -> None:
    params = writing.load_recipe(recipe)
    changes: dict[str, Any] = {"train.epochs": 1, "evaluate.robustness.images": 4}
    changes |= {"visualize.samples": 8, "visualize.mistakes": 4}
    changes["train.threads"] = 1  # tests share the processors
    changes["data.source"] = str(archive(params.data.name, tmp_path))
    if params.split.validation_from_test:
        changes["split.validation_from_test"] = 40
    if params.train.record_every:
        changes["train.record_every"] = 1
    if params.train.compile:  # a minute; test_training compiles
        changes["train.compile"] = False
    if params.train.schedule.name == "one_cycle":
        changes["train.schedule.warmup_epochs"] = 0.5
    if params.data.image_size:
        timm = params.model.name.startswith("timm/")
        changes |= {"data.image_size": 32, "model.weights": str(weights) if timm else "none"}
    text = writing.changed(writing.recipe(recipe), changes)
    (clone / "params.yaml").write_text(text, encoding="utf-8")

    repro(clone, forked, drawn=recipe in DRAWN)

    dataset, training, metrics = (
        json.loads((clone / path).read_text(encoding="utf-8"))
        for path in ("data/prepared/dataset.json", "reports/training.json", "reports/metrics.json")
    )
    assert training["epochs"] == 1
    measured = pandas.read_csv(clone / "reports/measured.csv").set_index("metric")
    assert measured["low"]["accuracy"] <= metrics["accuracy"] <= measured["high"]["accuracy"]
    assert metrics["images"] == dataset["splits"]["test"]["count"]
    if recipe in DRAWN:
        assert params.model.name in (clone / "reports/index.html").read_text(encoding="utf-8")
        figures = {path.stem for path in (clone / "reports/figures").iterdir()}
        assert figures >= FIGURES
        assert ("error_by_step" in figures) == bool(params.train.record_every)


def test_the_table_of_results_is_that_of_the_files() -> None:
    assert report.README.read_text(encoding="utf-8") == report.render()
