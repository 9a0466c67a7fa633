"""The call that measures a GPU: its runner, its pack, what it writes; and its parts, small, on a processor."""

import json
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from gpu_parts import part

from benchmarks import choices, report
from benchmarks.gpu import __main__ as call
from benchmarks.gpu import pack, results, runner, trainings
from benchmarks.gpu.runner import DONE, FAILED, NOT_REACHED, STOPPED, Place
from benchmarks.problems import SYSTEMS, synthetic
from src.core.errors import UserError

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


def test_the_time_that_all_parts_have_is_kept(tmp_path: Path) -> None:
    started = time.monotonic()
    reports = runner.run([part("lasts"), part("finds")], SMALL, tmp_path / "gpu.json", 3)["parts"]
    assert time.monotonic() - started < 20
    assert [reports[name]["state"] for name in ("lasts", "finds")] == [STOPPED, NOT_REACHED]


def test_nothing_runs_beside_a_part_that_takes_times() -> None:
    free, alone = part("finds"), part("finds")._replace(alone=True)
    assert runner.fits(free, [free], 2)
    assert not runner.fits(free, [free, free], 2)
    assert not runner.fits(free, [alone], 2)
    assert not runner.fits(alone, [free], 2)
    assert runner.fits(alone, [], 2)


# ---- the parts ----

LACKING = ("dvc", "mlflow", "kornia", "optuna", "onnx", "onnxruntime", "onnxscript", "grimp")


def test_the_call_runs_without_dvc_mlflow_optuna_and_onnx(tmp_path: Path) -> None:
    """On a processor: what was not reached, only the time cut off. No process that it starts needs them either."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({LACKING}))"  # then importing one raises
    (tmp_path / "sitecustomize.py").write_text(blocked)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}
    command = [sys.executable, "-m", "benchmarks.gpu", "run", "--device", "cpu", "--minutes", "0.3"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "gpu.json").read_text())
    states = {name: found["state"] for name, found in record["parts"].items()}
    assert list(states) == [one.name for one in call.PARTS]
    assert states["device"] == DONE
    assert set(states.values()) <= {DONE, STOPPED, NOT_REACHED}
    assert set(states.values()) == {DONE} or record["seconds"] >= 0.3 * 60
    assert all(f"\n{name}" in done.stdout for name in states)


@pytest.mark.parametrize("name", ["device", "images", "loops cifar10-basic", "sizes", "cifar10-speed", "reaching"])
def test_a_part_finds_something_on_a_processor(name: str) -> None:
    chosen = next(one for one in call.PARTS if one.name == name)
    found: dict[str, Any] = {}
    for more in pkgutil.resolve_name(chosen.work)(SMALL, chosen.argument):
        found |= more
    assert found
    json.dumps(found, allow_nan=False)
    if name.startswith("loops"):
        assert {"tutorial", "DataLoader + v2", "ours, float32", "floor, float32"} <= set(found)


def test_the_marked_tests_run_as_a_part() -> None:
    """All skipped where there is no GPU; with a filter that does not make warnings of missing plugins errors."""
    chosen = next(one for one in call.PARTS if one.name == "tests")
    *_, found = pkgutil.resolve_name(chosen.work)(SMALL, "")
    assert found.pop("failing") == []
    assert set(found) <= {"passed", "skipped"}
    assert sum(found.values()) > 20


def test_a_training_tells_when_it_reached_its_target() -> None:
    known = synthetic("mnist", 32)
    section = known.params.train.model_copy(update={"device": "cpu", "batch_size": 8, "epochs": 3})
    first = trainings.once(known, section, trainings.Target(accuracy=0.0), 0)
    assert first["epochs"] == 1
    assert first["seconds_to_target"] == first["seconds"] > 0
    on = trainings.once(known, section, trainings.Target(accuracy=0.0), 0, whole=True)
    assert (on["epochs"], on["seconds_to_target"] < on["seconds"]) == (3, True)
    never = trainings.once(known, section, trainings.Target(loss=0.0), 0)
    assert (never["epochs"], never["seconds_to_target"]) == (3, None)
    assert trainings.once(known, section, None, 0)["epochs"] == 3


# ---- the pack ----


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small archives, and wheels without a network."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for name in pack.ARCHIVES:
        (folder / name).write_bytes(bytes(2**20))

    def download(folder: Path, packages: list[str]) -> None:
        folder.mkdir()
        (folder / "wheels.whl").write_text("\n".join(packages))

    monkeypatch.setattr(pack, "download", download)
    return folder


def test_the_pack_holds_what_the_machine_lacks(tmp_path: Path, archives: Path) -> None:
    told = pack.pack(tmp_path / "pack", archives)
    assert {file.name for file in (tmp_path / "pack").iterdir()} == {"wheels", *pack.ARCHIVES}
    pinned = (tmp_path / "pack/wheels/wheels.whl").read_text().split()
    assert [one.partition("==")[0] for one in pinned] == list(pack.WHEELS)
    assert "   3.0 MiB  in all" in told
    (archives / pack.ARCHIVES[0]).unlink()
    with pytest.raises(UserError, match=f"{pack.ARCHIVES[0]} is missing"):
        pack.pack(tmp_path / "pack", archives)


def test_wheels_that_cannot_be_had_are_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match=r"pip could not download pydantic==1: ERROR.*"):
        pack.download(tmp_path / "wheels", ["pydantic==1"])


def test_the_pack_is_ignored_by_git() -> None:
    assert subprocess.run(["git", "check-ignore", "-q", str(pack.PACK / "x")], check=False).returncode == 0


def test_wheels_are_found_by_what_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel is installed into a folder of its own, before everything else."""
    wheel = tmp_path / "packed_for_a_gpu-1.0-py3-none-any.whl"
    information = "packed_for_a_gpu-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("packed_for_a_gpu.py", "VALUE = 7\n")
        file.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: packed-for-a-gpu\nVersion: 1.0\n")
        file.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{information}/RECORD", "")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr(sys, "path", list(sys.path))
    call.install([wheel], str(tmp_path / "site"))
    assert os.environ["PYTHONPATH"].split(os.pathsep)[::2] == [str(tmp_path / "site"), "elsewhere"]
    command = [sys.executable, "-c", "import packed_for_a_gpu; print(packed_for_a_gpu.VALUE)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "7\n"


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


def test_the_page_gives_the_calls_that_are_to_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is one that the command line takes."""
    lines = report.render().splitlines()
    calls = [line.partition("  #")[0].split() for line in lines if line.startswith(("python -m", "python3 -m"))]
    assert [line[3] for line in calls] == ["pack", "run", "keep", "choices"]
    taken: list[Any] = []
    monkeypatch.setattr(pack, "pack", lambda *arguments: taken.append(arguments))
    monkeypatch.setattr(call, "run", lambda *arguments: taken.append(arguments))
    for name in ("keep", "choose"):
        monkeypatch.setattr(results, name, lambda *arguments: taken.append(arguments))
    for line in calls:
        monkeypatch.setattr(sys, "argv", line[2:])
        call.main()
    assert len(taken) == 4


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


def test_a_processors_results_are_no_gpus(kept: Path) -> None:
    machine = {"device": "cpu", "capability": "cpu amx", "hardware": "2 cores", "versions": {}}
    file = written(kept, device={"state": DONE, "found": machine})
    for write in (results.keep, results.choose):
        with pytest.raises(UserError, match="holds no results of a GPU, but of cpu"):
            write(file)
    (kept / "other.json").write_text("[]")
    with pytest.raises(UserError, match=r"other.json is not what"):
        results.keep(kept / "other.json")
