"""torch's compiler, set so that a training's results do not depend on what the process computed before."""

from collections.abc import Callable
from typing import Any

import torch


def compiled(work: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    """Return `work`, compiled at its first call and for each further kind of arguments. settings: of torch.compile.

    By default, torch gives up after 8 kinds: the ninth dropout of a search would be computed without the compiler, in
    other bits than in a process of its own.
    """
    # Where algorithms need not be deterministic, the compiler chooses by timing among kernels whose last bits differ.
    options: dict[str, Any] = {"deterministic": torch.are_deterministic_algorithms_enabled()}
    compiler = torch._dynamo.config
    compiler.recompile_limit = compiler.accumulated_recompile_limit = 1_000_000
    return torch.compile(work, options=options, **settings)
