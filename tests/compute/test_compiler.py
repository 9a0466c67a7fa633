"""torch's compiler does not give up."""

import torch
from torch import Tensor

from src.compute.compiler import compiled


def test_the_tenth_kind_of_arguments_is_compiled_too() -> None:
    """As in a search: each dropout is a kind of its own."""

    def dropped(values: Tensor, dropout: str) -> Tensor:
        return values + len(dropout) if torch.compiler.is_compiling() else values

    work = compiled(dropped, backend=lambda graph, _, **__: graph)  # else each kind is a second of C++
    for number in range(1, 11):
        assert work(torch.zeros(1), "x" * number).item() == number
