"""A small tree, as the pipeline leaves one, for tests of tracking and programs that they start."""

import json
from pathlib import Path

import pytest

from src.core import paths
from src.core.documents import read_yaml
from src.core.dvc import output_digest
from src.core.files import digest, write_json
from src.core.paths import DATASET
from src.data.prepared import ImageFormat
from src.params.writing import recipe
from src.training.epoch import Epoch

ROOT = Path(__file__).resolve().parents[2]
RECIPE = recipe("digits")
PASSWORD = "s3cret-word"
DATA = {
    "name": "mnist",
    "classes": ["zero", "one", "two"],
    "image": {"height": 12, "width": 12, "channels": 3, "resize": None},
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.2, 0.2],
    "splits": {split: {"count": 3, "per_class": {}, "md5": {}} for split in ("train", "validation", "test")},
    "duplicates": {
        "equal": {"images": 0, "sets": 0, "conflicting": 0, "beside_train": {}, "examples": []},
        "near": None,
    },
    "unreadable": [],
}


EPOCHS = 5
STAGES = {
    "train": [paths.TRAINING, paths.ENVIRONMENT, paths.HISTORY, paths.VALIDATION_PREDICTIONS],
    "evaluate": [paths.METRICS, paths.MEASURED],
    "visualize": [paths.FIGURES, paths.PAGE],
}


def enter_tree(root: Path, patch: pytest.MonkeyPatch) -> Path:
    """Enter a new folder with what tracking reads before a training, small: parameters with a secret, data, code.

    Programs that a test starts there find our code, and the end of a training waits for the store.
    """
    (root / DATASET).parent.mkdir(parents=True)
    (root / DATASET).write_text(json.dumps(DATA), encoding="utf-8")
    (root / "stages").mkdir()
    (root / "src/core").mkdir(parents=True)
    (root / "stages/train.py").write_text("print('train')\n")
    (root / "src/net.py").write_text("layers = 1\n")
    (root / "src/core/errors.py").touch()  # by which a command knows that it stands in a root
    stages = {
        name: {"cmd": "python", "deps": ["stages/train.py", "src", DATASET.as_posix()], "outs": [*map(str, outs)]}
        for name, outs in STAGES.items()
    }
    stages["train"]["outs"] = [*stages["train"]["outs"], str(paths.MODEL), str(paths.AUGMENTATION)]
    write_json(root / "dvc.yaml", {"stages": stages})
    (root / "requirements.lock").write_text("numpy==1\n")
    source = f"https://joe:{PASSWORD}@example.org/mnist.tar?token={PASSWORD}"
    text = RECIPE.replace("name: digits", "name: mnist").replace("source: ", f"source: {source}")
    (root / "params.yaml").write_text(text, encoding="utf-8")
    patch.chdir(root)
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setattr("src.tracking.live._PATIENCE", 60.0)
    return root


def epoch(number: int) -> Epoch:
    return Epoch(number, 1 / number, 0.5, 2 / number, 1 - 1 / number, 0.1, True, 0.5, 100.0, None, [])


def make_results(name: str = "mnist_convnet") -> None:
    """Write what a training of five epochs and the later stages leave in the current tree, and what DVC records."""
    import numpy as np
    from prediction_samples import make_model

    from src.core.files import write_arrays
    from src.evaluation import metric_files, tables
    from src.training.reports import history

    make_model(ImageFormat.model_validate(DATA["image"]), ["zero", "one", "two"], name)
    write_arrays(paths.AUGMENTATION, images=np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8))
    tables.write(paths.HISTORY, history([epoch(number) for number in range(1, EPOCHS + 1)]))
    kept = {"epochs": EPOCHS, "best_epoch": 4, "validation_accuracy": 0.75, "validation_loss": 0.5}
    write_json(paths.TRAINING, kept)
    write_json(paths.ENVIRONMENT, {"device": "cpu", "threads": 1})
    ends = {"accuracy_ci_low": 0.5, "accuracy_ci_high": 1.0}
    metric_files.write({"images": 3, "accuracy": 0.7, **ends}, {"shift_1_accuracy": 0.6, "robustness_images": 3})
    for path in (paths.VALIDATION_PREDICTIONS, paths.FIGURES / "one.png", paths.PAGE):
        path.parent.mkdir(exist_ok=True)
        path.write_text("first\n")
    lock()


def lock(*stages: str) -> None:
    """Record what lies in the current tree, as DVC does after these stages."""
    raw = read_yaml(paths.PARAMS.read_bytes())
    params = {section: raw[section] for section in ("seed", "data", "split", "model", "train")}
    locked = {}
    for stage in stages or STAGES:
        deps = [Path("src"), Path("stages/train.py")] + ([] if stage == "train" else [paths.MODEL])
        outs = STAGES[stage] + ([paths.MODEL, paths.AUGMENTATION] if stage == "train" else [])
        entries = [[{"path": str(path), "md5": output_digest(path)} for path in each] for each in (deps, outs)]
        locked[stage] = {"cmd": "python", "params": {"params.yaml": params}, "deps": entries[0], "outs": entries[1]}
    split = {"cmd": "python", "outs": [{"path": str(DATASET), "md5": output_digest(DATASET)}]}
    write_json(paths.LOCK, {"schema": "2.0", "stages": {"split": split, **locked}})


def finished(session: str) -> None:
    """Leave what a training of this session leaves when it has written the model that lies here."""
    from torch import nn

    from src.training.resume import Progress, Resumable
    from src.training.snapshots import Snapshots

    state = Resumable("key", Progress(), Snapshots(nn.Identity()), minutes=10)
    state.session = session
    state.finish(digest(paths.MODEL))
