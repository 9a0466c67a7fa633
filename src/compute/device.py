"""The device and precision of a run: a function of what the device can do, never of a timing."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from src import params
from src.compute import distributed, portable
from src.compute.memory import keep_freed
from src.compute.threads import cpu_threads
from src.core.errors import UserError
from src.models.layers import mean_pooled_to

# The fastest precision, by capability and network, as measured: `python -m benchmarks.loops --choices` writes it.
CHOICES = Path(__file__).with_name("choices.json")
_ELSEWHERE = "deterministic as with true: portable needs an x86-64 processor with AVX2, under Linux"
_AUTOCAST = {"float32": None, "tf32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}

# How much is computed at once, by type of device; any other is taken for a CPU. On CPUs more was measured to be no
# faster: 2**20 values are a few MB as float32, which stay in the cache. On an H200 four times as much is 2 to 20 %
# faster in evaluation, for four times the memory, and up to 10 % in augmentation.
EVALUATED_IMAGES = 128  # at least
EVALUATED_PIXELS = {"cpu": 0, "cuda": 2**21}  # of all images of a batch: 2,048 of 32×32
AUGMENTED_VALUES = {"cpu": 2**20, "cuda": 2**26}

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """Say where to compute, and in which precision to train: `autocast` is None for float32 throughout, or for tf32.

    Evaluation and prediction are float32 whatever this is.
    """

    device: torch.device
    autocast: torch.dtype | None
    tf32: bool = False
    note: str = ""  # what was asked for and cannot be

    @property
    def precision(self) -> str:
        """Return the name that `train.precision` has for it."""
        return "tf32" if self.tf32 else str(self.autocast or torch.float32).removeprefix("torch.")

    def __str__(self) -> str:
        return ", ".join(filter(None, (str(self.device), self.precision, self.note)))

    def autocasting(self) -> torch.autocast:
        """Return the context in which the forward passes of training run."""
        return torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None)

    def place(self, network: Module) -> Module:
        """Move the network to the device, its weights in the order of memory in which images are stored.

        On every device measured, convolutions are faster so than with channels first, or as fast.
        """
        return network.to(self.device).to(memory_format=torch.channels_last)


def prepare(train: params.Train, network: str) -> Compute:
    """Set up the process to train the network of that name, or to evaluate it, and resolve the `auto` settings.

    Raises `UserError` where the wanted device is absent or cannot compute in the wanted precision.
    """
    note = ""
    if train.deterministic == "portable" and portable.available():
        train = train.model_copy(update={"device": "cpu", "precision": "float32"})
    elif train.deterministic == "portable":
        note = _ELSEWHERE
    device = distributed.local_device(
        set_up(train.device, deterministic=bool(train.deterministic), threads=cpu_threads(train, network))
    )
    if device.type == "cuda":
        # What names no device (streams, NCCL, waiting) takes the present one, which without this is always the first.
        torch.cuda.set_device(device.index or 0)
    able = capability(device)
    precision = choice(able, network) if train.precision == "auto" else train.precision
    check_precision(precision, device, able)
    _allow_tf32(precision == "tf32")
    return Compute(device, _AUTOCAST[precision], precision == "tf32", note)


def set_up(name: str = "auto", *, deterministic: bool = True, threads: int | None = None) -> torch.device:
    """Set up the process (threads, determinism, memory, float32 without tf32) and return the device of that name.

    Stages do so by `prepare`, commands that use a trained model directly. threads: None leaves torch its own number.
    Raises `UserError` if the device is absent.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    # The flag of use_deterministic_algorithms, which also imports the compiler: 3 s that eager training has no use for.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    # Otherwise torch fills all memory that it reserves, to expose reads of uninitialised values: a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic
    # cuBLAS reads this when it first computes, and is only then deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _allow_tf32(False)
    device = params.device_named(name)
    if device.type == "cpu":
        keep_freed()
    return device


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in float32 within the block, though training may use tf32: results are those of the saved weights."""
    tf32 = torch.get_float32_matmul_precision() == "high"
    _allow_tf32(False)
    try:
        yield
    finally:
        _allow_tf32(tf32)


def check_precision(precision: str, device: torch.device, able: str) -> None:
    """Raise `UserError` if a device of this capability cannot compute in the precision."""
    if precision == "tf32" and device.type != "cuda":
        raise UserError(f"train.precision is tf32, which only CUDA devices have, not {device}: set auto or float32")
    if precision == "bfloat16" and device.type != "cpu" and able != "cuda bfloat16":
        raise UserError(f"train.precision is bfloat16, which {device} does not compute: set auto or float32")


def check_gradient(network: nn.Module, device: torch.device) -> None:
    """Raise `UserError` if a gradient through the whole network must be deterministic and the device cannot do that."""
    if device.type != "cuda" or not torch.are_deterministic_algorithms_enabled():
        return
    for layer in network.modules():
        if size := mean_pooled_to(layer):
            pooling = f"this network's pooling to {size[0]}×{size[1]}"
            raise UserError(
                f"train.deterministic is true, and on CUDA the gradient of {pooling} is not deterministic: "
                "set it to false, or data.image_size to 224, where nothing is pooled"
            )


def evaluation_batch(device: torch.device, image_shape: tuple[int, int, int]) -> int:
    """Return how many images of a shape (H, W, C) to evaluate at once."""
    height, width, _ = image_shape
    return max(EVALUATED_IMAGES, EVALUATED_PIXELS.get(device.type, 0) // (height * width))


def augmented_values(device: torch.device) -> int:
    """Return how many values of pixels to augment at once."""
    return AUGMENTED_VALUES.get(device.type, AUGMENTED_VALUES["cpu"])


def capability(device: torch.device) -> str:
    """Name what of the device decides how to compute on it fastest, as `choices.json` does."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return "cuda bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "cuda"
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        if able.get("amx_tile"):
            return "cpu amx"
        if able.get("avx512_bf16"):
            return "cpu avx512_bf16"
    return device.type


def choice(able: str, network: str) -> str:
    """Look up the precision for a capability and a network, or for all networks that `choices.json` does not list."""
    networks: dict[str, str] = json.loads(CHOICES.read_text(encoding="utf-8"))[able]
    return networks.get(network, networks["others"])


def _allow_tf32(allowed: bool) -> None:
    """Let matrix products and convolutions use tf32, or neither; left alone, torch lets convolutions."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
