"""The short form of `tests/bad_inputs.py` and `tests/fuzz_params.py`; damaged arrays, memory that does not suffice."""

import errno
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clones import linked
from fuzz_params import fuzz
from training_samples import CPU, digits, new_classifier, section

from src.compute.batches import Batches
from src.core.errors import UserError, command
from src.data import verify
from src.data.prepare import prepare
from src.data.prepared import array_paths, open_split
from src.data.raw import fetch_raw
from src.data.verify import open_checked
from src.params import Split
from src.training.loop import train

SPLIT = Split(seed=0, validation=0.2, test=0.2, validation_from_test=0, groups=None)


def test_bad_inputs_are_told_in_one_line_and_lose_nothing() -> None:
    run = subprocess.run(
        [sys.executable, "tests/bad_inputs.py", "--short"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert "0 not told properly" in run.stdout


def test_mutated_parameters_are_refused_or_train() -> None:
    assert fuzz(100, derandomize=True) > 5


def test_damage_of_images_is_found_beside_the_work_and_told_before_anything_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fetch_raw("digits", None, None)
    dataset = prepare("digits", None, "crop", None, False, SPLIT)
    with verify.verifying(dataset, "train", "validation") as reading:
        assert list(reading.before(range(3))) == [0, 1, 2]
    path = array_paths("train")[0]
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert open_checked(dataset, "train")[0].images.shape == open_split("train").images.shape
    kept: list[int] = []

    def work() -> None:
        with verify.verifying(dataset, "train") as reading:
            kept.extend(reading.before(range(3)))

    with pytest.raises(UserError, match=r"train\.images\.npy is not the file"):
        work()
    assert kept == [], "a training that goes on after the array was mended has nothing of the damaged one"
    with pytest.raises(UserError, match=r"train\.images\.npy is not the file"), verify.verifying(dataset, "train"):
        pass
    with verify.verifying(dataset, "validation"):
        pass


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError("MPS backend out of memory"),
    ],
)
def test_memory_that_does_not_suffice_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        command(main)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("error: out of memory: end other programs")
    with pytest.raises(SystemExit):
        command(main, "read less")
    assert capsys.readouterr().err == "error: out of memory: read less\n"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space")
def test_a_training_for_which_memory_does_not_suffice_says_what_to_reduce() -> None:
    images = digits(0, 1700)
    large = images._replace(images=np.repeat(np.repeat(images.images, 8, axis=1), 8, axis=2))
    batches = Batches(large, CPU.device)
    epochs = train(new_classifier(), batches, batches, section(batch_size=1700), 0, CPU)
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, before[1]))
    try:
        with pytest.raises(UserError, match=r"cpu is out of memory: reduce train\.batch_size"):
            next(epochs)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_real_process_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(linked(tmp_path))
    fetch_raw("digits", None, None)
    prepare("digits", None, "crop", None, False, SPLIT)
    labels = array_paths("train")[1]
    np.save(labels, np.load(labels) + 5)
    run = subprocess.run([sys.executable, "-m", "stages.train"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert f"{labels} has the label" in line
    assert list(Path("models").iterdir()) == []
