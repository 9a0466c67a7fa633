"""Which device and precision a run uses: a function of what the device can do, never of a timing."""

import os
from dataclasses import dataclass

import torch

from src import params
from src.faults import Fault


@dataclass(frozen=True)
class Compute:
    """Where and how to compute. `autocast` is None for plain float32."""

    device: torch.device
    autocast: torch.dtype | None

    @property
    def precision(self) -> str:
        return str(self.autocast or torch.float32).removeprefix("torch.")

    def __str__(self) -> str:
        return f"{self.device}, {self.precision}"

    def autocasting(self) -> torch.autocast:
        """The context in which forward passes run."""
        return torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None)


def prepare(train: params.Train) -> Compute:
    """Sets threads and determinism for the process and resolves the `auto` settings.

    Raises `Fault` where the wanted device is absent or cannot compute in the wanted precision.
    """
    torch.set_num_threads(train.threads)
    # The flag of use_deterministic_algorithms, which also imports the compiler: 3 s that eager training has no use for.
    torch.set_deterministic_debug_mode("error" if train.deterministic else "default")
    torch.backends.cudnn.benchmark = not train.deterministic
    # cuBLAS reads this when it first computes, and is only then deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    device = _device(train.device)
    bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if train.precision == "auto":
        return Compute(device, torch.bfloat16 if bfloat16 else None)
    if train.precision == "bfloat16" and device.type != "cpu" and not bfloat16:
        raise Fault(f"train.precision is bfloat16, which {device} does not compute: set auto or float32")
    return Compute(device, torch.bfloat16 if train.precision == "bfloat16" else None)


def _device(name: str) -> torch.device:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    present = accelerator.type if accelerator is not None else "cpu"
    if name == "auto":
        return torch.device(present if present in ("cuda", "mps") else "cpu")
    device = torch.device(name)
    if device.type != "cpu" and device.type != present:
        raise Fault(f"train.device is {name}, but torch finds no such device here: set auto or cpu")
    if device.index is not None and device.index >= torch.accelerator.device_count():
        raise Fault(f"train.device is {name}, but there are only {torch.accelerator.device_count()} devices")
    return device
