"""What a training cost: measured by the process that trained, kept in the clone, and in the run beside files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tracking_samples import EPOCHS, ROOT, epoch, make_results

from src.core import paths
from src.core.files import digest
from src.core.pool import processor_name
from src.tracking import cost
from src.tracking.store import open_store
from src.tracking.sync import complete

ENVIRONMENT = {"device": "cpu", "threads": 2, "processes": 1}
MD5 = "0123456789abcdef0123456789abcdef"


def test_it_names_the_machine_and_is_rounded(root: Path) -> None:
    assert cost.read(MD5) == {}
    cost.write(MD5, ENVIRONMENT, [epoch(number) for number in range(1, EPOCHS + 1)], latency=1 / 3)
    found = cost.read(MD5)
    assert found.pop("machine") == f"2 threads of {processor_name()}"
    assert 0.05 < found.pop("peak_memory_gib") < 50
    assert found == {"training_seconds": 2.5, "latency_ms": 0.33}
    cost.write(MD5, ENVIRONMENT | {"threads": 1}, [epoch(1)], latency=None)
    assert cost.read(MD5)["machine"].startswith("1 thread of ")
    assert "latency_ms" not in cost.read(MD5)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands the peak on")
def test_memory_is_not_that_of_the_process_that_started_this_one(root: Path) -> None:
    much = np.ones(2**26)  # 0.5 GiB
    code = f"from src.tracking import cost; cost.write('{MD5}', {ENVIRONMENT}, [], None)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert much.nbytes == 2**29
    assert 0 < cost.read(MD5)["peak_memory_gib"] < 0.4


@pytest.mark.slow
@pytest.mark.usefixtures("tree")
def test_a_run_that_is_complete_but_for_it_gets_it() -> None:
    make_results()
    first = complete()
    cost.write(digest(paths.MODEL), ENVIRONMENT, [epoch(1)], latency=1.0)
    second = complete()
    assert (second.run_id, second.changed, complete().changed) == (first.run_id, True, False)
    run = open_store().client.get_run(first.run_id)
    expected = cost.read(digest(paths.MODEL)).items() - {("machine", run.data.tags["machine"])}
    assert {(f"cost/{name}", value) for name, value in expected} <= run.data.metrics.items()
