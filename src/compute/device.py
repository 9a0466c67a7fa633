"""Which device and precision a run uses: a function of what the device can do, never of a timing."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from src import params
from src.compute import processes
from src.compute.memory import keep_freed
from src.faults import Fault

# The precision that was measured to be fastest, by capability and network: `python -m benchmarks.choices` writes it.
CHOICES = Path(__file__).with_name("choices.json")
_AUTOCAST = {"float32": None, "tf32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}

# How much is computed at once, by type of device; any other is taken for a CPU. On CPUs more was measured to be no
# faster: 2**20 values are a few MB as float32, which stay in the cache. On CUDA nothing is measured yet: these are
# estimates of what makes the time of launches small and still fits into a few GB.
EVALUATED_IMAGES = 128  # at least
EVALUATED_PIXELS = {"cpu": 0, "cuda": 2**21}  # of all images of a batch: 2,048 of 32×32
AUGMENTED_VALUES = {"cpu": 2**20, "cuda": 2**26}

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """Where and how to compute. `autocast` is None for float32 throughout."""

    device: torch.device
    autocast: torch.dtype | None

    @property
    def precision(self) -> str:
        return str(self.autocast or torch.float32).removeprefix("torch.")

    def __str__(self) -> str:
        return f"{self.device}, {self.precision}"

    @property
    def augmented_values(self) -> int:
        """Values of pixels to be augmented at once."""
        return AUGMENTED_VALUES.get(self.device.type, AUGMENTED_VALUES["cpu"])

    def evaluation_batch(self, image_shape: tuple[int, int, int]) -> int:
        """Return how many images of a shape (H, W, C) to evaluate at once."""
        height, width, _ = image_shape
        return max(EVALUATED_IMAGES, EVALUATED_PIXELS.get(self.device.type, 0) // (height * width))

    def autocasting(self) -> torch.autocast:
        """The context in which forward passes run."""
        return torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None)

    def place(self, network: Module) -> Module:
        """Moves the network to the device, its weights in the order of memory in which images are stored.

        On every device measured, convolutions are faster so than with channels first, or as fast.
        """
        return network.to(self.device).to(memory_format=torch.channels_last)


def prepare(train: params.Train, network: str) -> Compute:
    """Sets up the process (threads, determinism, memory) and resolves the `auto` settings for the network of that name.

    Raises `Fault` where the wanted device is absent or cannot compute in the wanted precision.
    """
    torch.set_num_threads(train.threads)
    # The flag of use_deterministic_algorithms, which also imports the compiler: 3 s that eager training has no use for.
    torch.set_deterministic_debug_mode("error" if train.deterministic else "default")
    # With it torch would also fill all memory that it reserves, a tenth of a step, to show reads of what nothing wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not train.deterministic
    # cuBLAS reads this when it first computes, and is only then deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    device = processes.local(_device(train.device))
    if device.type == "cpu":
        keep_freed()
    able = capability(device)
    precision = choice(able, network) if train.precision == "auto" else train.precision
    _check(precision, device, able)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return Compute(device, _AUTOCAST[precision])


def capability(device: torch.device) -> str:
    """What of the device decides how to compute on it fastest, by the names of the table."""
    if device.type == "cuda":
        return "cuda bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "cuda"
    if device.type == "cpu" and torch.cpu._is_amx_tile_supported():
        return "cpu amx"
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return "cpu avx512_bf16"
    return device.type


def choice(able: str, network: str) -> str:
    """The precision that the table has for a capability and a network, or for all networks that it does not list."""
    networks: dict[str, str] = json.loads(CHOICES.read_text(encoding="utf-8"))[able]
    return networks.get(network, networks["others"])


def _check(precision: str, device: torch.device, able: str) -> None:
    if precision == "tf32" and device.type != "cuda":
        raise Fault(f"train.precision is tf32, which only CUDA devices have, not {device}: set auto or float32")
    if precision == "bfloat16" and device.type != "cpu" and able != "cuda bfloat16":
        raise Fault(f"train.precision is bfloat16, which {device} does not compute: set auto or float32")


def _device(name: str) -> torch.device:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    present = accelerator.type if accelerator is not None else "cpu"
    if name == "auto":
        name = present if present in ("cuda", "mps") else "cpu"
    device = torch.device(name)
    if device.type != "cpu" and device.type != present:
        raise Fault(f"train.device is {name}, but torch finds no such device here: set auto or cpu")
    if device.index is not None and device.index >= torch.accelerator.device_count():
        raise Fault(f"train.device is {name}, but there are only {torch.accelerator.device_count()} devices")
    return device
