"""The call that measures a GPU: its runner, its pack, what it writes; and its parts, small, on a processor."""

import json
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_parts import part

from benchmarks import choices, common, contenders, loops, report
from benchmarks.contenders import Entry, Turn
from benchmarks.gpu import __main__ as call
from benchmarks.gpu import pack, page, proofs_of_training, results, runner, whole_trainings
from benchmarks.gpu.parts import LOOPS, PARTS
from benchmarks.gpu.runner import DONE, FAILED, NOT_REACHED, STOPPED, Part, Place
from benchmarks.problems import synthetic
from src.core.errors import UserError
from src.training.losses import Target

# What torch says of the mode itself.
PROTOTYPE = "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations"
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
    gpu = Place("cuda", Path())

    def task(one: Part) -> Any:
        return type("Running", (), {"part": one})

    assert runner._fits(free, [task(free)], 2, gpu)
    assert not runner._fits(free, [task(free)] * 2, 2, gpu)
    assert not runner._fits(free, [task(alone)], 2, gpu)
    assert not runner._fits(alone, [task(free)], 2, gpu)
    assert runner._fits(alone, [], 2, gpu)
    assert runner._fits(alone, [task(free)], 2, SMALL)


def test_every_part_runs_in_one_call(tmp_path: Path) -> None:
    """On a processor, in the time that the suite has for it: what was not reached, only the time cut off."""
    command = [sys.executable, "-m", "benchmarks.gpu", "run", "--device", "cpu", "--minutes", "0.3"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "gpu.json").read_text())
    states = {name: report["state"] for name, report in record["parts"].items()}
    assert list(states) == [one.name for one in PARTS]
    assert set(states.values()) <= {DONE, STOPPED, NOT_REACHED}
    assert set(states.values()) == {DONE} or record["seconds"] >= 0.3 * 60
    assert all(f"\n{name}" in done.stdout for name in states)


# ---- the parts ----


def until_it_raises(work: Iterator[dict[str, Any]]) -> tuple[dict[str, Any], str]:
    """What a part found, and the text of the error with which it ended."""
    found: dict[str, Any] = {}
    try:
        for more in work:
            found |= more
    except RuntimeError as error:
        return found, str(error)
    pytest.fail(f"no error after {found}")


@pytest.mark.parametrize("name", ["device", "images", "staged", "loops cifar10-basic", "sizes", "airbench"])
def test_a_part_finds_something_on_a_processor(name: str) -> None:
    chosen = next(one for one in PARTS if one.name == name)
    found: dict[str, Any] = {}
    for more in pkgutil.resolve_name(chosen.work)(SMALL, chosen.argument):
        found |= more
    assert found
    json.dumps(found, allow_nan=False)
    if name.startswith("loops"):
        assert {"tutorial", "DataLoader + v2", "ours, float32", "floor, float32"} <= set(found)


def test_a_training_repeats_its_bits_and_goes_on_to_the_same() -> None:
    first = proofs_of_training.trained("mnist", SMALL)
    assert first.alerts == []
    assert proofs_of_training.trained("mnist", SMALL).digest == first.digest
    resumed = proofs_of_training.trained("mnist", SMALL, first.state)
    assert (resumed.digest, resumed.epochs, first.epochs) == (first.digest, 1, 2)
    assert proofs_of_training.trained("mnist", SMALL, epochs=1).digest != first.digest


def test_what_waits_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs_of_training, "ALL", ["mnist"])
    assert list(proofs_of_training.waiting(SMALL, "")) == [{"mnist": {"waits": {}, "steps": 2}}]
    correct = Target.correct

    def waits(self: Target, outputs: torch.Tensor) -> torch.Tensor:
        for text in (f"{proofs_of_training.SYNCHRONIZING} (Triggered internally)", PROTOTYPE):
            warnings.warn(text, UserWarning, stacklevel=1)
        return correct(self, outputs)

    monkeypatch.setattr(Target, "correct", waits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # while it warms up
        found, error = until_it_raises(proofs_of_training.waiting(SMALL, ""))
    assert "mnist: waits at src/training/step.py" in error
    ((place, times),) = found["mnist"]["waits"].items()
    assert place.startswith("src/training/step.py:")
    assert times == 2  # one in each step


def test_a_case_with_faults_does_not_stop_the_others() -> None:
    def case(name: str) -> dict[str, Any]:
        if name == "raises":
            raise ValueError("why")
        return proofs_of_training.faults({"it is bad": name == "bad", "it is ugly": False})

    found, error = until_it_raises(proofs_of_training.each(["raises", "bad", "good"], case))
    assert error == "raises: ValueError: why\nbad: it is bad"
    assert found == {"raises": {"faults": ["ValueError: why"]}, "bad": {"faults": ["it is bad"]}, "good": {}}


def test_gradients_are_compared_as_a_whole() -> None:
    eager = proofs_of_training.gradients("mnist", SMALL, 2, compiled=False)
    assert len(eager) == 2
    assert torch.equal(eager[0], eager[1])  # no step changes a weight
    assert proofs_of_training.distance(eager[0], eager[1]) == 0
    assert proofs_of_training.distance(2 * eager[0], eager[0]) == pytest.approx(1)
    assert proofs_of_training.distance(eager[0] * float("nan"), eager[0]) == float("inf")


def test_a_training_tells_when_it_reached_its_target() -> None:
    known = synthetic("mnist", 32)
    section = known.params.train.model_copy(update={"device": "cpu", "batch_size": 8, "epochs": 3})
    first = whole_trainings.once(known, section, whole_trainings.Target(accuracy=0.0), 0)
    assert first["epochs"] == 1
    assert first["seconds_to_target"] == first["seconds"] > 0
    on = whole_trainings.once(known, section, whole_trainings.Target(accuracy=0.0), 0, whole=True)
    assert (on["epochs"], on["seconds_to_target"] < on["seconds"]) == (3, True)
    never = whole_trainings.once(known, section, whole_trainings.Target(loss=0.0), 0)
    assert (never["epochs"], never["seconds_to_target"]) == (3, None)
    assert whole_trainings.once(known, section, None, 0)["epochs"] == 3
    assert whole_trainings.Target(loss=0.57).reached(0.0, 0.5)
    assert not whole_trainings.Target(loss=0.57).reached(1.0, 0.6)


def test_the_table_of_airbench_is_read() -> None:
    """Rows as its `print_columns` writes them; the first run is its warm-up."""
    rows = [
        ("warmup", "    0", "   0.1000", " 0.1000", "", "      1.0000"),
        ("      ", " eval", "", "", "0.1000", "2.0"),
    ]
    rows += [
        ("     0", "    7", "   0.9700", " 0.9300", "", "      2.5000"),
        ("      ", " eval", "", "", "0.9401", "2.59"),
    ]
    printed = "\n".join("".join(f"|  {cell}  " for cell in row) + "|\n" + "-" * 60 for row in rows)
    assert whole_trainings.airbench_result(printed) == {"accuracy": [0.9401], "seconds": [2.59]}


def test_airbench_gets_the_images_as_its_loader_saves_them(tmp_path: Path) -> None:
    data = synthetic("cifar10-speed", 5).training
    torch.save(whole_trainings.as_airbench_reads(data, ["a", "b"]), tmp_path / "train.pt")
    read = torch.load(tmp_path / "train.pt", weights_only=True)
    assert (read["images"].shape, read["images"].dtype) == ((5, 32, 32, 3), torch.uint8)
    assert (read["labels"].shape, read["labels"].dtype, read["classes"]) == ((5,), torch.int64, ["a", "b"])


LACKING = ("dvc", "mlflow", "kornia", "optuna", "onnx", "onnxruntime", "onnxscript", "grimp")
WITHOUT = """
import sys
from pathlib import Path
from benchmarks import contenders, loops, problems
from benchmarks.gpu import proofs_of_models, proofs_of_training, speeds, whole_trainings
from benchmarks.gpu.runner import Place

if __name__ == "__main__":
    place = Place("cpu", Path("nothing-packed"))
    print(proofs_of_training.trained("mnist", place).digest)
    print(list(proofs_of_models.staged(place, "")))
    problems.CACHE = Path(sys.argv[1])
    print(problems.open_split(problems.prepared("digits", {"data.limit": 100}), "train").images.shape)
"""


def test_training_evaluation_and_benchmarks_need_no_dvc_mlflow_or_onnx(tmp_path: Path) -> None:
    """In no process that they start either."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({LACKING}))"  # then importing one raises
    (tmp_path / "sitecustomize.py").write_text(blocked)
    (tmp_path / "without.py").write_text(WITHOUT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}
    command = [sys.executable, str(tmp_path / "without.py"), str(tmp_path / "cache")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'accuracy': " in done.stdout
    assert "(100, 8, 8, 1)" in done.stdout


# ---- the pack ----


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small archives, and wheels without a network."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for name in (*pack.NEEDED, *pack.OPTIONAL):
        (folder / name).write_bytes(bytes(1000))

    def download(folder: Path, packages: list[str]) -> None:
        folder.mkdir()
        (folder / "wheels.whl").write_text("\n".join(packages))

    monkeypatch.setattr(pack, "download", download)
    return folder


def test_the_pack_holds_what_the_machine_lacks(tmp_path: Path, archives: Path) -> None:
    (tmp_path / pack.AIRBENCH).write_text("airbench")
    told = pack.pack(tmp_path / "pack", archives, tmp_path)
    files = {str(file.relative_to(tmp_path / "pack")) for file in (tmp_path / "pack").rglob("*") if file.is_file()}
    data = {f"data/{name}" for name in (*pack.NEEDED, *pack.OPTIONAL)}
    assert files == {"wheels/wheels.whl", f"airbench/{pack.AIRBENCH}", *data}
    pinned = (tmp_path / "pack/wheels/wheels.whl").read_text().split()
    assert [one.partition("==")[0] for one in pinned] == list(pack.WHEELS)
    assert "MiB  of at most 60.0" in told
    assert "left out" not in told


def test_a_pack_that_is_too_large_is_refused_and_what_need_not_be_there_left_out(
    tmp_path: Path, archives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "LIMIT", pack.tree() + 2700)
    told = pack.pack(tmp_path / "pack", archives, None)
    assert f"{pack.OPTIONAL[0]} is left out: no room" in told
    assert not (tmp_path / "pack/data" / pack.OPTIONAL[0]).exists()
    monkeypatch.setattr(pack, "LIMIT", pack.tree() + 1500)
    with pytest.raises(UserError, match=r"MiB would travel, at most .* may: the working tree"):
        pack.pack(tmp_path / "pack", archives, None)


def test_what_is_missing_is_told_in_a_line(tmp_path: Path, archives: Path) -> None:
    with pytest.raises(UserError, match=f"{pack.AIRBENCH} is missing"):
        pack.pack(tmp_path / "pack", archives, tmp_path)
    (archives / pack.NEEDED[0]).unlink()
    with pytest.raises(UserError, match=f"{pack.NEEDED[0]} is missing"):
        pack.pack(tmp_path / "pack", archives, None)


def test_wheels_that_cannot_be_had_are_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match=r"pip could not download pydantic==1: ERROR.*"):
        pack.download(tmp_path / "wheels", ["pydantic==1"])


def test_the_pack_is_ignored_by_git() -> None:
    assert subprocess.run(["git", "check-ignore", "-q", str(pack.PACK / "data/x")], check=False).returncode == 0


# ---- what is kept ----


def spread(median: float) -> dict[str, float]:
    return dict.fromkeys(("median", "quartile_1", "quartile_3", "min", "max"), median)


def measured(device: str = "NVIDIA H100") -> dict[str, Any]:
    """What `run` writes on a GPU."""
    machine = {"device": device, "capability": "cuda bfloat16", "hardware": f"16 cores, {device}", "versions": {}}
    rates = {"float32": 100.0, "tf32": 105.0, "bfloat16": 120.0}
    rows = {f"ours, {name}": {"images_per_second": spread(rate), "steps": 1} for name, rate in rates.items()}
    rows["ours, float32, compiled"] = {"failed": "RuntimeError: no"}
    run = {"seed": 0, "target": {"accuracy": 0.94, "loss": None}, "precision": "bfloat16", "seconds": 5.0}
    run |= {"seconds_to_target": None, "epochs": 2, "accuracy": 0.9, "loss": 0.4, "peak_gib": 1.5}
    found = {
        "device": machine,
        "waiting": {"mnist": {"waits": {"src/x.py:1 in f": 20}, "faults": ["waits at src/x.py:1 in f"]}},
        **{name: {"real_images": True, **rows} for name in LOOPS.values()},
        "sizes": {"evaluation of mnist": {"128": {"images_per_second": spread(9.0), "peak_gib": 0.5}}},
        "cifar10-speed": {"real_images": True, "eager": {"first_epoch_seconds": 1.0, "runs": [run]}},
        "reaching": {"mnist": [run | {"target": None}], "fashion-mnist": "skipped: its images are not in the pack"},
        "airbench": {"accuracy": [0.9401], "seconds": [2.59]},
    }
    parts = {name: {"state": DONE, "seconds": 1.0, "found": value} for name, value in found.items()}
    return {"parts": parts | {"neighbours": {"state": NOT_REACHED}}, "seconds": 500.0}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (results, page):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "gpu.json")
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    monkeypatch.setattr(choices, "RESULTS", tmp_path / "choices.json")
    monkeypatch.setattr(choices, "CHOICES", tmp_path / "table.json")
    (tmp_path / "table.json").write_text(json.dumps({"cpu": {"others": "float32"}}))
    return tmp_path


def test_results_are_kept_part_by_part_and_shown(kept: Path) -> None:
    assert "Not yet measured: no GPU was at hand." in page.section()
    results.keep(measured())
    results.keep(measured("NVIDIA A100"))
    again = measured()
    again["parts"] = {
        "device": again["parts"]["device"],
        "airbench": {"state": FAILED, "seconds": 2.0, "error": ["no"]},
    }
    results.keep(again)
    entries = json.loads((kept / "gpu.json").read_text())
    assert [entry["device"] for entry in entries] == ["NVIDIA A100", "NVIDIA H100"]
    assert entries[1]["parts"]["airbench"]["state"] == FAILED
    assert entries[1]["parts"]["sizes"]["state"] == DONE
    assert "neighbours" not in entries[1]["parts"]
    shown = (kept / "README.md").read_text()
    for text in (
        "**NVIDIA A100**: 16 cores, NVIDIA A100",
        "| waiting | done | 1.0 | mnist: waits at src/x.py:1 in f |",
        "| mnist | ours, bfloat16 | 120.0 (120.0 to 120.0) |",
        "| `cifar10-speed`, eager | 0 | bfloat16 | not reached | 5.0 | 2 | 90.00 % | 0.4 | 1.5 |",
        "| `mnist` | 0 | bfloat16 | none was published |",
        "| 1 | 2.59 | 0.9401 |",
        "| evaluation of mnist | 128 | 9.0 (9.0 to 9.0) | 0.5 |",
        "| airbench | failed | 2.0 |",
    ):
        assert text in shown
    tables = [line for line in page.section() if line.startswith("|")]
    assert all(line.count("|") == tables[n - 1].count("|") for n, line in enumerate(tables) if set(line) == {"|", "-"})


def test_the_page_gives_the_calls_that_are_to_be_copied() -> None:
    """Each is one that the command line takes."""
    calls = [line.partition("  #")[0].split() for line in page.section() if line.startswith("python")]
    assert all(line[1:3] == ["-m", "benchmarks.gpu"] for line in calls)
    assert [call.parser().parse_args(line[3:]).command for line in calls] == ["pack", "run", "keep", "choices"]


def test_the_choices_of_a_gpu_are_written_from_its_loops(kept: Path) -> None:
    others: list[dict[str, Any]] = [
        {"capability": able, "hardware": "another", "images_per_second": {}} for able in ("cpu", "cuda bfloat16")
    ]
    (kept / "choices.json").write_text(json.dumps(others))
    told = results.choose(measured())
    table = json.loads((kept / "table.json").read_text())
    assert table["cpu"] == {"others": "float32"}
    assert table["cuda bfloat16"] == dict.fromkeys(choices.RECIPES, "bfloat16")
    other, entry = json.loads((kept / "choices.json").read_text())
    assert other["capability"] == "cpu"
    assert entry["images_per_second"]["others"] == {"float32": [100.0], "tf32": [105.0], "bfloat16": [120.0]}
    assert entry["hardware"] == "NVIDIA H100"
    assert told.count(": bfloat16") == len(choices.RECIPES)
    lacking = measured()
    del lacking["parts"][LOOPS["mnist"]]["found"]["ours, tf32"]
    with pytest.raises(UserError, match="loops mnist has not measured"):
        results.choose(lacking)


def test_a_processors_results_are_no_gpus(tmp_path: Path, kept: Path) -> None:
    record = measured()
    record["parts"]["device"]["found"]["capability"] = "cpu amx"
    for write in (results.keep, results.choose):
        with pytest.raises(UserError, match="holds no results of a GPU"):
            write(record)
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(UserError, match=r"other.json is not what"):
        results.load(tmp_path / "other.json")


def test_a_coarser_precision_is_chosen_only_where_it_is_a_tenth_faster() -> None:
    def chosen(*speeds: float) -> str:
        return choices.chosen({name: [one] for name, one in zip(("float32", "tf32", "bfloat16"), speeds, strict=False)})

    assert chosen(100, 109) == "float32"
    assert chosen(100, 111) == "tf32"
    assert chosen(100, 120, 130) == "tf32"
    assert chosen(100, 120, 133) == "bfloat16"
    assert chosen(100, 105, 111) == "bfloat16"


def test_what_another_machine_measured_stays(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    for hardware, value in (("processor", 1), ("processor, GPU", 2), ("processor", 3)):
        common.keep(file, {"recipe": "mnist", "hardware": hardware, "value": value}, same=("recipe",))
    assert [(entry["hardware"], entry["value"]) for entry in common.kept(file)] == [
        ("processor, GPU", 2),
        ("processor", 3),
    ]


def test_hardware_names_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    alone = common.hardware()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    assert common.hardware() == f"{alone}, NVIDIA H100"


def test_rows_of_two_machines_are_told_apart() -> None:
    (entry,) = [entry for entry in common.kept(report.SYSTEMS) if entry["recipe"] == "cifar10-basic"]
    other = entry | {"hardware": "16 cores, NVIDIA H100"}
    assert " on " not in report.of_system("cifar10-basic", [entry])[0]
    rows = report.of_system("cifar10-basic", [entry, other])
    assert [f" on {one['hardware']} |" in row for one, row in zip((entry, other), rows, strict=True)] == [True, True]


# ---- what it takes from the other benchmarks ----


def test_the_first_turn_of_a_loop_says_nothing() -> None:
    """It compiles and tunes: of a rate of 10 images a second no turn would get more steps."""
    made: list[int] = []

    def maker(steps: int) -> Entry:
        made.append(steps)
        rates = iter([10.0] + [1000.0] * 10)
        return lambda: Turn(next(rates))

    assert loops.fitted(maker, 10, 1.0, 1, 1000)[1] == 100
    assert made == [1, 100]


def test_a_tutorial_finds_tf32_as_torch_sets_it() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("high")
        contenders.defaults(torch.get_num_threads())
        assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "highest")
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def test_wheels_are_found_by_what_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel is installed into a folder of its own, before everything else."""
    import zipfile

    wheel = tmp_path / "packed_for_a_gpu-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("packed_for_a_gpu.py", "VALUE = 7\n")
        file.writestr(
            "packed_for_a_gpu-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: packed-for-a-gpu\nVersion: 1.0\n"
        )
        file.writestr(
            "packed_for_a_gpu-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("packed_for_a_gpu-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr(sys, "path", list(sys.path))
    call.install([wheel], str(tmp_path / "site"))
    assert os.environ["PYTHONPATH"].split(os.pathsep)[::2] == [str(tmp_path / "site"), "elsewhere"]
    command = [sys.executable, "-c", "import packed_for_a_gpu; print(packed_for_a_gpu.VALUE)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "7\n"
