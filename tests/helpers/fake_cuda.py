"""A CUDA device without a driver: a tensor on it has a shape, a type and a place, and no values.

Within `fake_cuda()` the host computes as ever. For tensors on the device `cuda` torch only works out shape, type and
place, and raises where tensors meet that lie on two devices. What needs a driver is replaced:

- backward passes, `Tensor.backward` and `torch.autograd.grad`: the engine asks the driver for its streams. Every
  weight that the loss depends on is given a gradient instead.
- values that the host reads from the device: they are 0.
- autocast, which switches itself off where it finds no GPU: it is told that there is one.
- the lists of types for which optimisers take the operators that serve many weights at once: fake tensors join them.
- fused optimisers, for which torch has no fake kernels: only the places of their tensors are looked at.
- `torch.utils.swap_tensors`, by which a module changes how its weights lie in memory: it refuses fake tensors.
- `src.compute.cuda_graph.RecordedStep`, which records nothing: the steps run as they are.
- pinned memory, and what the driver says of the device's memory.

Not tried, since they need a driver: CUDA graphs, `torch.compile`, streams, capabilities, NCCL, and the device's own
random numbers.
"""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda")

# The host waits until the GPU has computed what these give it: a value, or how large their result is.
WAITING = {
    "_local_scalar_dense", "_unique2", "bincount", "equal", "masked_select", "nonzero", "unique_consecutive",
    "unique_dim",
}  # fmt: skip


class FakeCuda(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Log in `waits` where the host waits for the device.

    The host waits where it reads a value, and where a tensor is copied in either direction, also by an operator that
    takes a tensor of the host. It does not wait for a copy from pinned memory with `non_blocking`, nor for a single
    number of the host, which goes along with the kernel.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        entries = tree_leaves((args, kwargs))
        tensors = [entry for entry in entries if isinstance(entry, Tensor)]
        wanted = any(isinstance(entry, torch.device) and entry.type == "cuda" for entry in entries)
        if not wanted and not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        name = func._opname.removesuffix("_")
        if wait := _wait(name, args, kwargs, tensors):
            self.waits.append(f"{wait} at {our_line()}")
        if name.startswith("_fused_"):
            assert {tensor.device.type for tensor in tensors} == {"cuda"}
            return None
        with unset_fake_temporarily():
            if name == "_local_scalar_dense":
                return torch.zeros((), dtype=args[0].dtype).item()
            if name == "_to_copy" and kwargs.get("device", CUDA).type == "cpu":
                return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        return func(*args, **kwargs)


def _wait(name: str, args: Any, kwargs: dict[str, Any], tensors: Sequence[Tensor]) -> str | None:
    if name in ("copy", "_to_copy"):
        source, goal = (
            (args[1], args[0].device) if name == "copy" else (args[0], kwargs.get("device") or args[0].device)
        )
        unblocked = kwargs.get("non_blocking") or (name == "copy" and len(args) > 2 and args[2])
        if source.device.type == goal.type or (goal.type == "cuda" and unblocked and hasattr(source, "pinned")):
            return None
        return f"a copy from {source.device.type} to {goal.type}"
    if not any(tensor.device.type == "cuda" for tensor in tensors):
        return None
    if name in WAITING:
        return f"{name}, which reads from the device,"
    if any(tensor.ndim and tensor.device.type == "cpu" for tensor in tensors):
        return f"{name}, which takes a tensor of the host,"
    return None


def our_line() -> str:
    """Return the innermost line of `src` that is running."""
    source = Path(__file__).resolve().parents[2] / "src"
    for frame in reversed(traceback.extract_stack()):
        if Path(frame.filename).is_relative_to(source):
            return f"src/{Path(frame.filename).relative_to(source)}:{frame.lineno}"
    return "the test"


def _give_gradients(loss: Tensor) -> None:
    """Add a gradient to every weight that the loss depends on."""
    seen: set[Any] = set()
    ahead: list[Any] = [loss.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (weight := getattr(node, "variable", None)) is not None:
            gradient = torch.empty_like(weight)
            weight.grad = gradient if weight.grad is None else weight.grad + gradient
        ahead += [following for following, _ in node.next_functions]


def _pinned(tensor: Tensor) -> Tensor:
    tensor.pinned = True  # type: ignore[attr-defined]
    return tensor


@contextmanager
def fake_cuda() -> Iterator[FakeCuda]:
    """Pretend that there is a CUDA device within the block; the log tells where the host waited."""
    replaced = {
        "torch.Tensor.backward": _give_gradients,
        "torch.autograd.grad": lambda _, inputs: (torch.empty_like(inputs),),
        "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
        "torch.cuda.is_bf16_supported": lambda including_emulation=True: True,
        "torch.optim.optimizer._foreach_supported_types": [Tensor, nn.Parameter, FakeTensor],
        "torch.utils._foreach_utils._foreach_supported_types": [Tensor, FakeTensor],
        "torch.utils.swap_tensors": lambda weight, moved: setattr(weight, "data", moved),
        "src.training.step.RecordedStep": lambda device: lambda work, *inputs: work(*inputs),
        "torch.Tensor.pin_memory": _pinned,
        "torch.cuda.mem_get_info": lambda device: (2**33, 2**34),
        "torch.cuda.reset_peak_memory_stats": lambda device: None,
        "torch.cuda.max_memory_allocated": lambda device: 0,
    }
    with ExitStack() as stack:
        for name, replacement in replaced.items():
            stack.enter_context(patch(name, replacement))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        yield stack.enter_context(FakeCuda())
