"""Record a training step on a GPU as a CUDA graph: the host then launches one graph instead of hundreds of kernels.

Otherwise the GPU waits for the host where networks are small: a launch takes microseconds however small the kernel is.
"""

import gc
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from src.core.errors import UserError, out_of_memory

WARM = 2  # calls before the recording, which make what it must find, such as the optimiser's state


class RecordedStep:
    """Call `work` with tensors of always the same shapes: the first `WARM` calls run it, later ones replay one graph.

    work: the same function at every call, which is not kept, since with a method of its owner it would be a cycle that
    only Python's collector of garbage frees. It computes on the present stream, waits for nothing, and returns tensors.
    Everything that it reads beside its arguments must lie at the same place in the device's memory at every call: a
    replay runs the recorded kernels and no Python. It gives the same bits as a run, random numbers included. The next
    call overwrites the returned tensors. Raises `UserError` where the work cannot be recorded.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = _stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warmed = 0
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()

    def __call__(self, work: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
        if self._warmed < WARM:
            self._warmed += 1
            present = torch.cuda.current_stream()
            self._stream.wait_stream(present)
            with torch.cuda.stream(self._stream):  # that of the recording, as torch's notes on CUDA graphs ask for
                outputs = work(*inputs)
            present.wait_stream(self._stream)
            return outputs
        if self._graph is None:
            self._graph, self._inputs = torch.cuda.CUDAGraph(), tuple(tensor.clone() for tensor in inputs)
            # CUDA ends a recording during which another graph is destroyed, as Python's collector may do at any moment.
            gc.disable()
            # "thread_local", since the thread that draws the next augmentation may pin memory meanwhile.
            try:
                with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                    self._outputs = work(*self._inputs)
            except RuntimeError as error:
                first = error.__context__ or error  # to end a recording that has failed raises once more
                if out_of_memory(first):
                    raise first from None
                reason = str(first).splitlines()[0][:200]
                raise UserError(f"a step cannot be recorded: {reason}: set train.cuda_graph to false") from error
            finally:
                gc.enable()
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._graph.replay()
        return self._outputs


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all recordings on a device: of every stream that it has seen torch keeps 64 MiB."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
