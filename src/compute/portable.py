"""The same bits on every x86-64 processor: before the libraries are loaded, their code paths are fixed.

torch, oneDNN, MKL, OpenBLAS and numpy have several versions of a function, which add in different orders, and choose
by what the processor can do. `train.deterministic: portable` takes those that run on every x86-64-v3 processor (Intel
since Haswell, AMD since Zen). `docs/reproducibility.md` says what was tried on which processors.
"""

import os
import platform
from pathlib import Path

from src.core.errors import UserError
from src.params import load

CPUINFO = Path("/proc/cpuinfo")
X86_64_V3 = {"avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe"}  # by the kernel's names; abm is LZCNT

# Variables that the libraries read once: numpy and OpenBLAS when they are loaded, the others at their first operation.
SETTINGS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
    "MKL_CBWR": "COMPATIBLE",  # the one branch that MKL takes on processors of every maker; AVX2 means Intel's alone
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_ENABLE_CPU_FEATURES": "X86_V3",  # and no other, whatever later processors have
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def begin() -> None:
    """Set the environment of this process and its children, if `params.yaml` asks for it and the processor can do it.

    Programs that compute call this first of all, before they import numpy or torch.
    """
    if wanted() and available():
        os.environ.update(SETTINGS)
        os.environ.pop("NPY_DISABLE_CPU_FEATURES", None)  # numpy refuses to be loaded with both


def wanted() -> bool:
    """Tell if `params.yaml` asks for it. Errors in that file are reported later, by the code that works with it."""
    try:
        return load().train.deterministic == "portable"
    except (UserError, OSError):
        return False


def available() -> bool:
    """Tell if this processor can do what `SETTINGS` ask for; only Linux tells."""
    if platform.machine() != "x86_64" or not CPUINFO.is_file():
        return False
    lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.startswith("flags") and set(line.split()) >= X86_64_V3 for line in lines)
