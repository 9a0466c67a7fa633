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

from benchmarks import choices, report
from benchmarks.gpu import __main__ as call
from benchmarks.gpu import results, runner
from benchmarks.gpu.runner import DONE, FAILED, NOT_REACHED, STOPPED, Place
from benchmarks.problems import SYSTEMS
from src.core.errors import UserError

pytestmark = pytest.mark.slow

SMALL = Place("cpu", Path("nothing-packed"))


# ---- the runner ----


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


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
    child = reports["lasts"]["found"]["child"]
    for _ in range(100):
        if not alive(child):
            break
        time.sleep(0.05)
    assert not alive(child)


# ---- the parts ----

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


# ---- the pack ----


# ---- what is kept ----


def spread(median: float) -> dict[str, float]:
    return dict.fromkeys(("median", "quartile_1", "quartile_3", "min", "max"), median)


def written(folder: Path, gpu: str = "NVIDIA H100", **changed: Any) -> Path:
    """What `run` writes on a GPU, with other parts."""
    machine = {"device": gpu, "capability": "cuda bfloat16", "hardware": f"16 cores, {gpu}", "versions": {}}
    rates = {"float32": 100.0, "tf32": 105.0, "bfloat16": 120.0}
    rows = {f"ours, {name}": {"images_per_second": spread(rate)} for name, rate in rates.items()}
    rows["ours, float32, compiled"] = {"failed": "RuntimeError: no"}  # type: ignore[dict-item]
    run = {"seed": 0, "precision": "bfloat16", "seconds": 5.0, "seconds_to_target": None}
    run |= {"epochs": 2, "accuracy": 0.9, "loss": 0.4, "peak_gib": 1.5}
    found = {
        "device": machine,
        "tests": {"passed": 80},
        **{f"loops {name}": {"real_images": True, **rows} for name in SYSTEMS},
        "sizes": {"evaluation of mnist": {"128": {"images_per_second": spread(9.0), "peak_gib": 0.5}}},
        "cifar10-speed": {"real_images": True, "eager": [run]},
        "reaching": {"mnist": [run]},
    }
    parts = {name: {"state": DONE, "seconds": 1.0, "found": value} for name, value in found.items()}
    parts["compiling mnist"] = {"state": NOT_REACHED}
    file = folder / "written.json"
    file.write_text(json.dumps({"parts": parts | changed, "seconds": 500.0}))
    return file


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "GPU", tmp_path / "gpu.json")
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    monkeypatch.setattr(choices, "RESULTS", tmp_path / "choices.json")
    monkeypatch.setattr(choices, "CHOICES", tmp_path / "table.json")
    (tmp_path / "table.json").write_text(json.dumps({"cpu": {"others": "float32"}}))
    return tmp_path


def test_results_are_kept_part_by_part_and_shown(kept: Path) -> None:
    assert "Not yet measured: no GPU was at hand." in report.render()
    results.keep(written(kept))
    results.keep(written(kept, "NVIDIA A100"))
    failed = {"state": FAILED, "seconds": 2.0, "error": ["no"]}
    results.keep(written(kept, tests=failed, sizes={"state": NOT_REACHED}))
    entries = json.loads((kept / "gpu.json").read_text())
    assert [entry["device"] for entry in entries] == ["NVIDIA A100", "NVIDIA H100"]
    assert entries[1]["parts"]["tests"]["state"] == FAILED
    assert entries[1]["parts"]["sizes"]["state"] == DONE
    assert "compiling mnist" not in entries[1]["parts"]
    shown = (kept / "README.md").read_text()
    for text in (
        "\n**NVIDIA A100**\n",
        "| tests passed | 80 |",
        "| tests | failed | 2.0 |",
        "| `mnist` | ours, bfloat16 | 120.0 (120.0 to 120.0) | | |",
        "| `mnist` | ours, float32, compiled | RuntimeError: no | | |",
        "| `cifar10-speed`, eager | 0 | bfloat16 |  | 5.0 | 2 | 90.00 % | 0.4 | 1.5 |",
        "| `mnist` | 0 | bfloat16 |",
        "| evaluation of mnist | 128 | 9.0 (9.0 to 9.0) | 0.5 |",
        "\n16 cores, NVIDIA A100; .\n",
    ):
        assert text in shown, text


def test_the_choices_of_a_gpu_are_written_from_its_loops(kept: Path) -> None:
    told = results.choose(written(kept))
    table = json.loads((kept / "table.json").read_text())
    assert table["cpu"] == {"others": "float32"}
    assert table["cuda bfloat16"] == dict.fromkeys(choices.NETWORKS.values(), "bfloat16")
    (entry,) = json.loads((kept / "choices.json").read_text())
    assert entry["images_per_second"]["others"] == {"float32": 100.0, "tf32": 105.0, "bfloat16": 120.0}
    assert told.count(": bfloat16") == len(choices.NETWORKS)
    (kept / "table.json").write_text(json.dumps(table | {"cuda bfloat16": {"mnist_convnet": "tf32"}}))
    missing: dict[str, Any] = {f"loops {system}": {"state": NOT_REACHED} for system in choices.NETWORKS}
    results.choose(written(kept, **{"loops mnist": missing["loops mnist"]}))
    table = json.loads((kept / "table.json").read_text())
    assert table["cuda bfloat16"]["mnist_convnet"] == "tf32", "what was not reached keeps its choice"
    with pytest.raises(UserError, match="no system was measured in several precisions"):
        results.choose(written(kept, **missing))
