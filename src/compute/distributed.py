"""Several processes that train one model together. Every function also serves a single process.

`train.processes: 8` starts eight on this machine, unless torchrun has started them: on two machines, four on each, by
`torchrun --nnodes 2 --nproc-per-node 4 … -m stages.train`.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar
from uuid import uuid4

import torch
from torch import Tensor, nn
from torch import distributed as dist

from src.core.errors import MORE_MEMORY, UserError, command

Module = TypeVar("Module", bound=nn.Module)


def launch(main: Callable[..., None], processes: int, *arguments: object, less_memory: str = MORE_MEMORY) -> None:
    """Run `main(*arguments)` here, or in so many new processes; in a process that torchrun started, run it here.

    `main` must be a function of a module. Exits with the code of the first process that failed, which has said why;
    `less_memory` is how to need less where that was memory. Raises `UserError` if torchrun started another number than
    `processes`, for which the parameters were checked.
    """
    if dist.is_torchelastic_launched() and int(started := os.environ["WORLD_SIZE"]) != processes:
        raise UserError(f"train.processes is {processes}, but torchrun started {started}: set it to {started}")
    if processes == 1 or dist.is_torchelastic_launched():
        main(*arguments)
        return
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Their reports of a failure repeat, over thirty lines, what the failing process has said.
    for logger in ("torch.distributed.elastic", "torch.multiprocessing.spawn"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=uuid4().hex, rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0, start_method="spawn",
    )  # fmt: skip
    try:
        elastic_launch(config, run_worker)(less_memory, main, *arguments)
    except ChildFailedError as error:
        sys.exit(abs(error.get_first_failure()[1].exitcode))


def run_worker(less_memory: str, main: Callable[..., None], *arguments: object) -> None:
    """Run `main` in a process that `launch` started, and report a `UserError` as one line."""
    try:
        command(partial(main, *arguments), less_memory)
    except SystemExit as end:
        if end.code:
            raise
    except Exception:
        traceback.print_exc()  # a bug: torch would only say it in its own report, which is switched off
        sys.exit(1)


def local_device(device: torch.device) -> torch.device:
    """Return the device of this process: each process has a GPU of its own. Raises `UserError` if there are too few."""
    if not dist.is_torchelastic_launched():
        return device
    if device.type == "mps":
        raise UserError("train.processes: Apple's GPU serves one process: set 1, or train.device to cpu")
    if device.type != "cuda":
        return device
    number, present = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if device.index is not None or number >= present:
        raise UserError(
            f"train.processes: each needs a GPU of its own, of {present} here: set train.device to auto or cpu"
        )
    return torch.device("cuda", number)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect the processes that were started together for the block: by NCCL between GPUs, else by gloo."""
    if not dist.is_torchelastic_launched():
        yield
        return
    if device.type == "cuda":
        dist.init_process_group("nccl", device_id=device)  # without it NCCL guesses the GPU from the rank
    else:
        dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process, from 0; process 0 alone writes and logs."""
    return dist.get_rank() if dist.is_initialized() else 0


def train_shard(images: int, batch_size: int) -> Tensor:
    """Return the positions (M,) in the order of an epoch that this process computes: an equal part of each batch.

    `images` must be a multiple of `world_size()`, so that the last batch is divided equally, too.
    """
    batches = torch.split(torch.arange(images), batch_size)
    return torch.cat([batch.chunk(world_size())[rank()] for batch in batches])


def evaluation_shard(images: int) -> Tensor:
    """Return the indices of the images that this process evaluates: every `world_size()`-th, from its rank on."""
    return torch.arange(rank(), images, world_size())


def all_reduce_sum(numbers: Tensor) -> Tensor:
    """Return the sum over all processes, in each of them."""
    if world_size() > 1:
        dist.all_reduce(numbers)
    return numbers


def broadcast(content: bytes | None) -> bytes | None:
    """Return in every process what process 0 was given."""
    shared = [content]
    if world_size() > 1:
        dist.broadcast_object_list(shared)
    return shared[0]


def data_parallel(network: nn.Module, device: torch.device) -> nn.parallel.DistributedDataParallel | None:
    """Wrap the network so that its backward pass gives each process the mean gradient of all; None for one process."""
    if world_size() == 1:
        return None
    return nn.parallel.DistributedDataParallel(network, [device] if device.type == "cuda" else None)


def sync_batch_norm(network: Module, device: torch.device) -> Module:
    """Let batch norm use the whole batch of several GPUs; names and values of the weights stay.

    On CPUs, where torch has no such layer, each process normalises with its own part of the batch.
    """
    if world_size() > 1 and device.type == "cuda":
        # torch's own function would lose the activation that timm's batch norms contain.
        from timm.layers.norm_act import convert_sync_batchnorm

        return convert_sync_batchnorm(network)  # type: ignore[no-any-return, no-untyped-call]
    return network


def broadcast_buffers(network: nn.Module) -> None:
    """Give every process the running statistics of process 0, so that all evaluate and keep the same network."""
    if world_size() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)
