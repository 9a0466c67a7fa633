"""The device and precision of a run: a function of what the device can do, never of a timing."""

import ctypes
import os
import re
import sys
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from src import params
from src.compute import distributed, portable
from src.compute.threads import cpu_threads
from src.core.errors import UserError

# Networks that `train.precision: auto` leaves in float32, by capability; there all others are in bfloat16, which was
# measured to be at least a tenth faster (`benchmarks/README.md`). With every other capability all are in float32. On a
# CPU the depthwise convolutions of mobile networks are slower in bfloat16.
_MOBILE = "(mobile|mnas|ghost|shuffle)net|efficientnet(?!_?v2)"
_FLOAT32 = {
    "cpu amx": f"fashion_net|mnist_convnet|{_MOBILE}",
    "cpu avx512_bf16": f"fashion_net|{_MOBILE}",
    "cuda bfloat16": "mnist_convnet",
}
_ELSEWHERE = "deterministic as with true: portable needs an x86-64 processor with AVX2, under Linux"
_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}

# How much is computed at once, by type of device; all others are treated as a CPU. On CPUs more was not faster: 2**20
# values in float32 stay in the cache. On an H200 four times as much is 2 to 20 % faster in evaluation, for four times
# the memory, and up to 10 % in augmentation.
EVALUATED_IMAGES = 128  # at least
EVALUATED_PIXELS = {"cpu": 0, "cuda": 2**21}  # of all images of a batch: 2,048 of 32×32
AUGMENTED_VALUES = {"cpu": 2**20, "cuda": 2**26}

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h
_KEPT = 2**31 - 1  # bytes of freed memory at the end of the heap, the most that glibc takes

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """Hold the device, and the precision of training and of test-time augmentation.

    All else that evaluates or predicts computes in float32.
    """

    device: torch.device
    autocast: torch.dtype | None  # None for float32 throughout
    note: str = ""  # what the parameters ask for and this machine cannot do

    @property
    def precision(self) -> str:
        """Return the precision by its name in `train.precision`."""
        return str(self.autocast or torch.float32).removeprefix("torch.")

    def __str__(self) -> str:
        return ", ".join(filter(None, (str(self.device), self.precision, self.note)))

    def autocasting(self) -> torch.autocast:
        """Return the context in which forward passes have the precision of training."""
        return torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None)

    def place(self, network: Module) -> Module:
        """Move the network to the device, its weights with channels last in memory, as images are stored.

        On every device measured, convolutions are then faster than with channels first, or as fast.
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
        # Calls that name no device (streams, NCCL, waiting) would otherwise take the first GPU.
        torch.cuda.set_device(device.index or 0)
    able = capability(device)
    precision = auto_precision(able, network) if train.precision == "auto" else train.precision
    if precision == "bfloat16" and device.type != "cpu" and able != "cuda bfloat16":
        raise UserError(f"train.precision is bfloat16, which {device} does not compute: set auto or float32")
    return Compute(device, _AUTOCAST[precision], note)


def set_up(name: str = "auto", *, deterministic: bool = True, threads: int | None = None) -> torch.device:
    """Set up the process (threads, determinism, memory, float32 without tf32) and return the device of that name.

    Stages call `prepare`, which calls this; commands that use a trained model call it directly. threads: None for
    torch's own number. Raises `UserError` if the device is absent.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    # Unlike `use_deterministic_algorithms`, this flag does not import torch's compiler, which takes 3 s.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    # Otherwise torch fills all memory that it reserves, to expose reads of uninitialised values: a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic
    # cuBLAS is deterministic only with this, which it reads when it first computes.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # float32 is float32: by default torch lets convolutions compute in tf32.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    device = params.device_named(name)
    if device.type == "cpu":
        _keep_freed_memory()
    return device


def evaluation_batch(device: torch.device, image_shape: tuple[int, int, int]) -> int:
    """Return how many images of a shape (H, W, C) to evaluate at once."""
    height, width, _ = image_shape
    return max(EVALUATED_IMAGES, EVALUATED_PIXELS.get(device.type, 0) // (height * width))


def auto_precision(able: str, network: str) -> str:
    """Return what `train.precision: auto` is for the network of that name on a device of that `capability`."""
    return "bfloat16" if able in _FLOAT32 and not re.search(_FLOAT32[able], network) else "float32"


def capability(device: torch.device) -> str:
    """Return a name for what the device can do."""
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


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the rest of the process; do nothing where there is another library.

    By itself glibc gives large blocks back to the kernel as soon as they are freed. A network needs the same blocks in
    its next step, and the kernel fills them with zeros each time, in up to a third of a step. The price is memory:
    large networks hold more of it.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _KEPT)
