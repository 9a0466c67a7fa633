"""The call that measures a GPU: its runner, its pack, what it writes; and its parts, small, on a processor."""

import json
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from gpu_parts import part
from repro import group

from benchmarks.gpu import __main__ as call
from benchmarks.gpu import machine, runner
from benchmarks.gpu.runner import DONE, FAILED, STOPPED, Place

pytestmark = pytest.mark.slow

SMALL = Place("cpu", Path("nothing-packed"))


def test_a_part_that_fails_or_is_late_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    parts = [part("raises"), part("lasts", seconds=5), part("finds", argument="word")]
    record = runner.run(parts, SMALL, file, 60)
    assert json.loads(file.read_text()) == record
    reports = record["parts"]
    assert reports["raises"]["state"] == FAILED
    assert reports["raises"]["found"] == {"before": True}
    assert reports["raises"]["error"][-1] == "ValueError: this is why"
    assert reports["lasts"]["state"] == STOPPED
    assert 5 <= reports["lasts"]["seconds"] < 30
    assert reports["finds"]["state"] == DONE
    # Loaders of a part begin their processes as they do everywhere.
    start = multiprocessing.get_context().get_start_method()
    assert reports["finds"]["found"] == {"one": "word", "two": "cpu", "start": start}
    # What a part has started ends with it.
    for _ in range(100):
        if not (left := group(reports["lasts"]["found"]["group"])):
            break
        time.sleep(0.05)
    assert not left


LACKING = ("dvc", "mlflow", "kornia", "optuna", "onnx", "onnxruntime", "onnxscript", "grimp")


def test_the_call_runs_without_dvc_mlflow_optuna_and_onnx(tmp_path: Path) -> None:
    """Neither it nor a process that it starts needs them; parts that are not reached are loaded all the same."""
    loaded = f"import pkgutil\nfor work in {[one.work for one in call.PARTS]}:\n    pkgutil.resolve_name(work)"
    blocked = f"import sys; sys.modules.update(dict.fromkeys({LACKING}))"  # then importing one raises
    (tmp_path / "sitecustomize.py").write_text(blocked)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}
    arguments = ["run", "--device", "cpu", "--minutes", "0.05", "--out", str(tmp_path)]
    for command in (["-c", loaded], ["-m", "benchmarks.gpu", *arguments]):
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert list(record["parts"]) == [one.name for one in call.PARTS]
    assert all(f"\n{name}" in done.stdout for name in record["parts"])


@pytest.mark.parametrize("name", ["device", "images", "loops cifar10-basic", "sizes", "cifar10-speed", "reaching"])
def test_a_part_finds_something_on_a_processor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in LACKING:
        monkeypatch.setitem(sys.modules, module, None)
    chosen = next(one for one in call.PARTS if one.name == name)
    found: dict[str, Any] = {}
    for more in pkgutil.resolve_name(chosen.work)(SMALL, chosen.argument):
        found |= more
    assert found
    json.dumps(found, allow_nan=False)
    if name.startswith("loops"):
        assert {"tutorial", "DataLoader + v2", "ours, float32", "floor, float32"} <= set(found)


TESTS = """
import pytest
pytestmark = pytest.mark.gpu
def test_good(): pass
@pytest.mark.parametrize("name", ["mnist"])
def test_bad(name): assert name == "cifar10"
@pytest.mark.skip
def test_left(): pass
"""


def test_a_test_that_fails_is_known_at_once(tmp_path: Path) -> None:
    (tmp_path / "test_these.py").write_text(TESTS)
    part = machine.tests(SMALL, str(tmp_path / "test_these.py"))
    assert next(part) == {"passed": 1, "failing": {}}
    failing = next(part)["failing"]
    assert list(failing) == ["test_bad[mnist]"]
    assert "E   AssertionError: assert 'mnist' == 'cifar10'" in failing["test_bad[mnist]"]
    assert next(part) == {"passed": 1, "failed": 1, "skipped": 1, "failing": failing}
    with pytest.raises(RuntimeError, match="exit code 1"):
        next(part)
