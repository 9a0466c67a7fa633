"""`params.yaml` as typed, frozen objects without defaults: the file alone decides a run.

    python -m src.params        check the whole file

Functions elsewhere receive one map of it (`params.split`) or one value, never the whole.
"""

from src.params.reading import check, check_machine, check_space, device_named, load, parse, weights_file, with_values
from src.params.schema import (
    Activation,
    Choices,
    Constants,
    Data,
    Model,
    Params,
    Range,
    Robustness,
    Scalar,
    Split,
    Visualize,
    seconds,
)
from src.params.training import Augment, Loss, MuonSgd, Optimizer, Policy, Schedule, Train
