"""Name every file and folder; no other module spells a path. All are relative to the root, where commands run."""

import os
from pathlib import Path

PARAMS = Path("params.yaml")
RECIPES = Path("recipes")
DEFAULTS = RECIPES / "default.yaml"  # every key, with a comment; a recipe names what differs
PIPELINE = Path("dvc.yaml")
LOCK = Path("dvc.lock")
REQUIREMENTS = Path("requirements.lock")

IMAGES = Path("data/images")  # where users put their own
CORRECTIONS = Path("data/corrections.csv")  # of labels and images, which the split stage applies
RAW = Path("data/raw")
PREPARED = Path("data/prepared")
DATASET = PREPARED / "dataset.json"

MODEL = Path("models/model.safetensors")
ONNX = Path("models/model.onnx")  # by src.export, not a result of the pipeline
SNAPSHOTS = Path("models/snapshots.npz")  # kernels of the first two convolutions, by epoch
AUGMENTATION = Path("models/augmentation.npz")  # `images`: a training image (H, W, C) and 23 draws of its augmentation
LOGITS = Path("models/test_logits.npz")  # `logits`: float32 (N, K) of the test images

REPORTS = Path("reports")
HISTORY = REPORTS / "history.csv"
STEPS = REPORTS / "steps.csv"
TRAINING = REPORTS / "training.json"
ENVIRONMENT = REPORTS / "environment.json"
VALIDATION_PREDICTIONS = REPORTS / "validation_predictions.csv"
METRICS = REPORTS / "metrics.json"
MEASURED = REPORTS / "measured.csv"  # those and more, with their intervals
PREDICTIONS = REPORTS / "predictions.csv"
PER_CLASS = REPORTS / "per_class.csv"
CONFUSION = REPORTS / "confusion.csv"
GROUPS = REPORTS / "groups.csv"
CALIBRATION = REPORTS / "calibration.csv"
ROBUSTNESS = REPORTS / "robustness.csv"
LAYERS = REPORTS / "layers.csv"
FIGURES = REPORTS / "figures"
PAGE = REPORTS / "index.html"
SEEDS = REPORTS / "seeds.csv"

AUDIT = REPORTS / "audit"  # what src.audit found

TUNING = REPORTS / "tuning"  # what a search found
TRIALS = TUNING / "trials.csv"
CONFIRMATION = TUNING / "confirmation.csv"
BEST = TUNING / "best.json"


def main_root() -> Path:
    """Return the root of the clone, where files lie that outlive an experiment.

    `dvc exp run --temp` and `--queue` work in copies that are deleted afterwards; DVC names the clone in `DVC_ROOT`.
    """
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def downloads() -> Path:
    """Return where fetched files lie. They survive every rerun, whereas DVC deletes a stage's outputs before it."""
    return main_root() / ".cache" / "downloads"


def features_folder() -> Path:
    """Return where the features of frozen networks are kept, so that they are computed once."""
    return main_root() / ".cache" / "features"


def states() -> Path:
    """Return where the states are kept from which interrupted trainings go on."""
    return main_root() / ".cache" / "state"


def costs() -> Path:
    """Return where each training writes its seconds and its memory, which differ from machine to machine."""
    return main_root() / ".cache" / "costs"


def shown(path: Path) -> str:
    """Return the path as messages show it: relative where it lies below the user's folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def searches() -> Path:
    """Return where Optuna's journals of searches lie; DVC would delete them before a rerun if they were outputs."""
    return main_root() / ".cache" / "searches"
