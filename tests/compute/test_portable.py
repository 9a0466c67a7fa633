"""`train.deterministic: portable`: variables are set before numpy and torch are loaded, which understand them."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from training_samples import section

from src.compute import device, portable
from src.compute.portable import SETTINGS
from src.core.files import digest, write_arrays
from src.data.prepare import _mean_std
from src.params.writing import recipe

DIGITS = recipe("digits")
HASWELL = "flags : fpu fma movbe avx f16c abm bmi1 avx2 bmi2 ht\n"
ELSEWHERE = {"ATEN_CPU_CAPABILITY": "avx512", "MKL_CBWR": "AVX512", "OPENBLAS_CORETYPE": "SkylakeX"}

# Commands that compute nothing that a model, a metric or a table of the pipeline holds.
NOT_COMPUTING = {
    "src.promote": "counts right and wrong answers",
    "src.recipe": "writes params.yaml",
    "src.report": "compares what is committed",
    "src.serve": "answers, with as many threads as there are processors",
    "src.summary": "prints",
    "src.track": "runs stages as programs of their own, whose commit says what they set",
    "stages.download": "copies",
}
COMMANDS = [f"src.{path.stem}" for path in Path("src").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")]
STAGES = [f"stages.{path.stem}" for path in Path("stages").glob("*.py") if path.stem != "__init__"]
COMPUTING = sorted({*COMMANDS, *STAGES} - NOT_COMPUTING.keys())


@pytest.fixture
def _haswell(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder whose `params.yaml` asks for it, on a processor that can do it; outside, other values are set.

    Restore the whole environment, which later tests' programs would inherit.
    """
    Path("params.yaml").write_text(DIGITS)
    Path("cpuinfo").write_text(HASWELL)
    monkeypatch.setattr(portable, "CPUINFO", Path("cpuinfo"))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with patch.dict(os.environ, ELSEWHERE | {"NPY_DISABLE_CPU_FEATURES": "AVX512F"}):
        for name in SETTINGS.keys() - ELSEWHERE.keys():
            os.environ.pop(name, None)
        yield


def seen() -> dict[str, str]:
    return {name: os.environ[name] for name in SETTINGS if name in os.environ}


@pytest.mark.usefixtures("_haswell")
def test_what_is_set_outside_does_not_count() -> None:
    portable.begin()
    assert seen() == SETTINGS
    assert "NPY_DISABLE_CPU_FEATURES" not in os.environ, "numpy refuses to be loaded with both"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("params.yaml", DIGITS.replace("deterministic: portable", "deterministic: true")),
        ("params.yaml", "train: {"),
        ("cpuinfo", HASWELL.replace("avx2", "")),
    ],
    ids=["true", "cut", "without avx2"],
)
@pytest.mark.usefixtures("_haswell")
def test_nothing_is_set_where_it_is_not_asked_for_or_on_an_older_processor(file: str, text: str) -> None:
    Path(file).write_text(text)
    portable.begin()
    assert seen() == ELSEWHERE


@pytest.mark.usefixtures("_haswell")
def test_on_another_machine_it_trains_as_with_true_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    portable.begin()
    assert seen() == ELSEWHERE
    asked = section(deterministic="portable", device="auto", precision="auto")
    found = device.prepare(asked, "resnet18")
    plain = device.prepare(asked.model_copy(update={"deterministic": True}), "resnet18")
    assert (found.device, found.autocast) == (plain.device, plain.autocast)
    assert "portable needs an x86-64 processor with AVX2" in str(found)
    assert "portable" not in str(plain)
    assert torch.get_deterministic_debug_mode() == 2


@pytest.mark.usefixtures("_haswell")
def test_it_computes_on_the_processor_in_float32_whatever_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(device, "capability", lambda _: "cpu avx512_bf16")
    found = device.prepare(section(deterministic="portable", device="auto", precision="auto"), "resnet18")
    assert (found.device, found.autocast, str(found)) == (torch.device("cpu"), None, "cpu, float32")
    assert torch.get_deterministic_debug_mode() == 2


@pytest.mark.skipif(not portable.available(), reason="needs an x86-64 processor with AVX2, under Linux")
@pytest.mark.parametrize("module", COMPUTING)
@pytest.mark.slow
def test_every_program_that_computes_sets_it_before_numpy_and_torch(module: str, tmp_path: Path) -> None:
    """A numpy and a torch beside it print the environment when they are imported, and end the process."""
    for name in ("src", "stages", "dvc.yaml"):
        (tmp_path / name).symlink_to(Path(name).resolve())
    for name in ("numpy", "torch"):
        stub = "import json, os\nprint(json.dumps(dict(os.environ)), flush=True)\nos._exit(0)\n"
        (tmp_path / f"{name}.py").write_text(stub)
    (tmp_path / "params.yaml").write_text(DIGITS)
    (tmp_path / "data/images").mkdir(parents=True)
    outside = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", *SETTINGS))}
    environment = {**outside, **ELSEWHERE}
    run = subprocess.run(
        [sys.executable, "-m", module], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    loaded = json.loads(run.stdout.splitlines()[-1])
    assert {name: loaded[name] for name in SETTINGS if name in loaded} == SETTINGS


@pytest.mark.skipif(not portable.available(), reason="needs an x86-64 processor with AVX2, under Linux")
def test_the_libraries_understand_the_settings() -> None:
    code = (
        "import numpy, torch, json, numpy._core._multiarray_umath as core\n"
        "from threadpoolctl import threadpool_info\n"
        "torch.ones(2, 2) @ torch.ones(2, 2)\n"
        "blas = next(each for each in threadpool_info() if each['internal_api'] == 'openblas')\n"
        "above = [name for name in core.__cpu_dispatch__ if core.__cpu_features__[name]]\n"
        "print(json.dumps([torch.backends.cpu.get_cpu_capability(), above, blas['architecture'], blas['num_threads'],"
        " torch.get_num_threads()]))"
    )
    environment = {**os.environ, **SETTINGS, "MKL_VERBOSE": "1", "ONEDNN_VERBOSE": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", code],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(run.stdout.splitlines()[-1]) == ["AVX2", ["X86_V3"], "Haswell", 1, 1]
    assert "CNR:COMPATIBLE" in run.stdout


def test_the_constants_of_the_data_set_are_rounded_exactly() -> None:
    """They are the same on every machine, since they are quotients and roots of whole numbers."""
    for counts in np.random.default_rng(0).integers(0, 10_000, (5_000, 1, 3)):
        histogram = np.zeros((1, 256), np.int64)
        histogram[:, [0, 100, 255]] = counts
        _, (found,) = _mean_std(histogram)
        n, total = int(counts.sum()), int(100 * counts[0, 1] + 255 * counts[0, 2])
        squares = int(100**2 * counts[0, 1] + 255**2 * counts[0, 2])
        assert found == float(Decimal(n * squares - total**2).sqrt()) / (n * 255)


def test_arrays_are_stored_as_they_are(tmp_path: Path) -> None:
    """Not compressed: zlib's bytes differ from version to version."""
    write_arrays(tmp_path / "a.npz", images=np.zeros((8, 8)))
    assert digest(tmp_path / "a.npz") == "ddeac6f896915253321fdc401ef0a020"  # with every Python
