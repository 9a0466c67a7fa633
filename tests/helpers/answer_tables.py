"""Tables of answers, and repositories of them, made by hand."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from clones import git
from numpy.typing import NDArray
from ruamel.yaml import YAML

from src.core.dvc import output_digest, written
from src.evaluation import tables
from src.evaluation.predictions import predictions

PIPELINE = YAML(typ="safe").load("""
split:
  cmd: python -m stages.split
  params: [split]
  deps: [stages/split.py, data/images]
  outs: [data/raw, data/prepared/dataset.json, data/prepared/validation, data/prepared/test]
train:
  cmd: python -m stages.train
  params: [seed, train]
  deps: [src/models, stages/train.py, data/prepared/validation]
  outs: [models/model.safetensors]
  metrics: [{reports/training.json: {cache: false}}, {reports/environment.json: {cache: false}}]
  plots: [{reports/validation_predictions.csv: {cache: false}}]
evaluate:
  cmd: python -m stages.evaluate
  deps: [models/model.safetensors, data/prepared/test]
  metrics: [{reports/metrics.json: {cache: false}}]
  plots: [{reports/predictions.csv: {cache: false}}]
visualize:
  cmd: python -m stages.visualize
  deps: [src/figures.py, reports/metrics.json]
  outs: [reports/figures]
""")


def table(labels: NDArray[np.int64], logits: NDArray[np.float64]) -> pandas.DataFrame:
    """Return a table as the pipeline writes it, with the decimals of the file."""
    classes = [f"class {k}" for k in range(logits.shape[1])]
    written = predictions(logits, labels, [f"images/{n:05}.png" for n in range(len(labels))], classes)
    return written.round(6)


def answered(images: int, right: float, seed: int, classes: int = 10, labels: int = 0) -> pandas.DataFrame:
    """Return the answers of a model of about this accuracy. Other seeds give independent models of the same labels."""
    truth = np.random.default_rng(labels).integers(classes, size=images)
    draw = np.random.default_rng([seed, 1])
    logits = draw.normal(size=(images, classes))
    target = np.where(draw.random(images) < right, truth, draw.integers(classes, size=images))
    logits[np.arange(images), target] += 4
    return table(truth, logits)


VALIDATION, TEST = answered(2_000, 0.8, seed=1), answered(500, 0.8, seed=2, labels=1)


def with_flips(base: pandas.DataFrame, broken: int, fixed: int) -> pandas.DataFrame:
    """Make the first right answers wrong, and the first wrong ones right."""
    head = base.copy()
    was = (base["label"] == base["prediction"]).to_numpy()
    lost, won = np.flatnonzero(was)[:broken], np.flatnonzero(~was)[:fixed]
    others = {"class 0": "class 1"}
    head.loc[lost, "prediction"] = [others.get(label, "class 0") for label in base["label"].iloc[lost]]
    head.loc[lost, "label_probability"] = 0.1
    head.loc[won, "prediction"] = base["label"].iloc[won]
    head.loc[won, "label_probability"] = 0.9
    return head


def write(path: Path, content: str | dict[str, Any] | pandas.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pandas.DataFrame):
        tables.write(path, content)
    elif path.suffix == ".json":
        path.write_text(json.dumps(content), encoding="utf-8")
    elif isinstance(content, dict):
        with path.open("w", encoding="utf-8") as file:
            YAML().dump(content, file)
    else:
        path.write_text(content, encoding="utf-8")


def repository(folder: Path) -> Path:
    """Make a git repository with code and parameters, without results."""
    write(folder / "dvc.yaml", {"stages": PIPELINE})
    write(folder / "params.yaml", {
        "seed": 0, "data": {"name": "digits"}, "split": {"seed": 0}, "train": {"lr": 0.01, "epochs": 3},
        "report": {"margin": 1.0, "fail_on": "never"},
    })  # fmt: skip
    for name in ("src/models/net.py", "src/models/layers.py", "src/figures.py", "stages/split.py", "stages/train.py"):
        write(folder / name, f"# {name}\n")
    write(folder / "data/images/.gitkeep", "")
    ignored = "/data/images/*\n!.gitkeep\n/data/raw\n/data/prepared\n/models\n/mlflow.db*\n/mlartifacts\n"
    write(folder / ".gitignore", ignored)
    write(folder / "requirements.lock", "torch==2.14.1 \\\n    --hash=sha256:0\nnumpy==2.3.0\n")
    git(folder, "init", "-q", "-b", "main")
    return folder


def results(
    folder: Path,
    validation: pandas.DataFrame,
    test: pandas.DataFrame,
    model: str,
    images: str = "images",
    environment: str = "2.14.1",
) -> None:
    """Write results and `dvc.lock` as `dvc repro` would leave them."""
    accuracies = [float((each["label"] == each["prediction"]).mean()) for each in (validation, test)]
    write(folder / "reports/training.json", {"epochs": 3, "validation_accuracy": accuracies[0], "parameters": 94154})
    write(folder / "reports/metrics.json", {"images": len(test), "accuracy": accuracies[1], "accuracy_ci_low": 0.1})
    write(folder / "reports/environment.json", {"device": "cpu", "torch": environment})
    write(folder / "reports/validation_predictions.csv", validation)
    write(folder / "reports/predictions.csv", test)
    write(folder / "models/model.safetensors", model)
    write(folder / "data/raw", f"raw {images}")
    write(folder / "data/prepared/dataset.json", {"name": images})
    for split, answers in (("validation", validation), ("test", test)):
        pixels = np.full((len(answers), 2, 2, 1), len(images), dtype=np.uint8)
        (folder / f"data/prepared/{split}").mkdir(parents=True, exist_ok=True)
        np.save(folder / f"data/prepared/{split}/images-00000.npy", pixels)
        np.save(folder / f"data/prepared/{split}/labels.npy", np.zeros(len(answers), np.int64))
    lock(folder)


def lock(folder: Path) -> None:
    params = YAML(typ="safe").load(folder / "params.yaml")
    stages = {}
    for name, stage in PIPELINE.items():
        stages[name] = {
            "cmd": stage["cmd"],
            "deps": [entry(folder, path) for path in stage["deps"]],
            "params": {"params.yaml": {key: params[key] for key in stage.get("params", [])}},
            "outs": [entry(folder, path.as_posix()) for path in written(stage)],
        }
    write(folder / "dvc.lock", {"schema": "2.0", "stages": stages})


def entry(folder: Path, path: str) -> dict[str, Any]:
    place = folder / path
    size = place.stat().st_size if place.is_file() else 1
    return {"path": path, "hash": "md5", "md5": output_digest(place) or md5(b"figures"), "size": size}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
    return git(folder, "rev-parse", "HEAD").strip()
