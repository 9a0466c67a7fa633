"""What a training cost: measured by the process that trained, kept in the clone, and in the run beside files."""

import json
from pathlib import Path

import pytest
from tracking_samples import EPOCHS, epoch, make_results

from src.core import paths
from src.core.errors import UserError
from src.core.files import digest
from src.core.pool import processor_name
from src.tracking import cost
from src.tracking.record import read_record

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


def test_a_name_that_is_no_md5_leads_nowhere_else(root: Path) -> None:
    Path("secret.json").write_text(json.dumps({"machine": "a"}))
    paths.costs().mkdir(parents=True)
    assert cost.read("../../secret") == {}
    (paths.costs() / "secret.json").write_text("{")
    with pytest.raises(UserError, match=r"secret\.json is damaged .*: remove it"):
        cost.read("../../secret")


@pytest.mark.slow
@pytest.mark.usefixtures("tree")
def test_the_run_has_it() -> None:
    make_results()
    assert "machine" not in read_record().tags
    cost.write(digest(paths.MODEL), ENVIRONMENT, [epoch(1)], latency=1.0)
    record = read_record()
    assert record.tags["machine"] == f"2 threads of {processor_name()}"
    assert record.metrics["cost/training_seconds"] == 0.5
    assert record.metrics["cost/latency_ms"] == 1.0
