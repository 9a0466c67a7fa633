"""Choose how many threads compute on the CPU. Imports no torch, so that a search can plan its workers at once."""

from src import params
from src.core.pool import processors

# Their layers are too small to be divided among threads.
ONE_THREAD = ("fashion_net", "mnist_convnet")


def cpu_threads(train: params.Train, network: str) -> int:
    """Return with how many threads a process trains or evaluates the network of that name."""
    if train.threads != "auto":
        return train.threads
    if train.deterministic == "portable" or network in ONE_THREAD:
        return 1
    return max(1, processors() // train.processes)
