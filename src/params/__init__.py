"""`params.yaml` as typed, frozen objects. It alone decides a run: nothing here has a default.

    python -m src.params        checks the whole file

Functions elsewhere receive one section (`params.split`) or one value, never the whole file.
"""

from src.params.augment import Augment
from src.params.data import Data, Split
from src.params.evaluation import Evaluate, Robustness
from src.params.losses import Loss
from src.params.model import Activation, Constants, Model
from src.params.optimizers import Optimizer
from src.params.reader import check, load, parse
from src.params.schedules import Schedule
from src.params.training import Train
from src.params.tune import Tune
from src.params.whole import Params, Report, Visualize

__all__ = [
    "Activation",
    "Augment",
    "Constants",
    "Data",
    "Evaluate",
    "Loss",
    "Model",
    "Optimizer",
    "Params",
    "Report",
    "Robustness",
    "Schedule",
    "Split",
    "Train",
    "Tune",
    "Visualize",
    "check",
    "load",
    "parse",
]
