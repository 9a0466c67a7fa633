"""Memory that does not suffice for a training is recognised; `test_errors.py` has the line that says so."""

import importlib
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from training_samples import CPU, digits, new_classifier, section

from src.compute.batches import Batches
from src.core.errors import out_of_memory
from src.training.loop import train


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space")
def test_a_training_for_which_memory_does_not_suffice_is_recognised() -> None:
    importlib.import_module("torch._dynamo")  # an optimizer does, which takes memory
    images = digits(0, 1700)
    large = images._replace(images=np.repeat(np.repeat(images.images, 8, axis=1), 8, axis=2))
    batches = Batches(large, CPU.device)
    epochs = train(new_classifier(), batches, batches, section(batch_size=1700), 0, CPU)
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, before[1]))
    try:
        with pytest.raises((MemoryError, RuntimeError)) as raised:
            next(epochs)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert out_of_memory(raised.value)
