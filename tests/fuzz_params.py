"""Mutated parameters: each is refused in one line that names a changed key, or accepted, and then a training runs.

python tests/fuzz_params.py --examples 2000
"""

import argparse
import copy
import sys
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bad_params import allowed, keys, parts
from training_samples import CPU, digits

from src.compute import device
from src.compute.batches import Batches
from src.core.errors import UserError
from src.data.prepared import ImageFormat
from src.models.build import build
from src.params import Params, check
from src.params.writing import load_recipe
from src.training.loop import train

Change = tuple[tuple[str, ...], Any]

DIGITS = load_recipe("digits").model_dump()
DIGITS["train"]["deterministic"] = True  # portable refuses all that it cannot be combined with
# Mutated are those that a training reads, but what takes minutes, or the processor from all others.
LEFT_OUT = {("model", "name"), ("train", "optimizer", "iterations")}
LEFT_OUT |= {("train", name) for name in ("compile", "processes", "threads")}
KEYS = {key.path: key for key in keys() if key.path[0] in ("seed", "model", "train") and key.path not in LEFT_OUT}
WHOLE = st.integers(0, 40) | st.sampled_from([10**4, 10**12, 2**63, 10**30])
REAL = st.floats(0, 1) | st.sampled_from([0.5, 2.0, 45.0, 1e-30, 1e30, 1e308])
ANYTHING = st.recursive(
    st.none() | st.booleans() | WHOLE | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def _likely(path: tuple[str, ...]) -> st.SearchStrategy[Change]:
    """A key with a value of a type that it may have."""
    types = allowed(KEYS[path].field)
    kinds: dict[type, st.SearchStrategy[Any]] = {bool: st.booleans(), int: WHOLE, float: REAL, NoneType: st.none()}
    named = [value for part in parts(KEYS[path].field.annotation) for value in get_args(part) if isinstance(value, str)]
    fitting = [kinds[kind] for kind in kinds if kind in types] + ([st.sampled_from(named)] if named else [])
    return st.tuples(st.just(path), st.one_of(fitting or [ANYTHING]))


PATH = st.sampled_from(sorted(KEYS))
LIKELY = PATH.flatmap(_likely)
CHANGES = st.lists(LIKELY, min_size=1, max_size=3) | st.lists(st.tuples(PATH, ANYTHING), min_size=1, max_size=2)


def attempt(changes: list[Change]) -> bool:
    """Whether the recipe with the changes is accepted. Raises what neither a training nor a `UserError` is."""
    raw: Any = copy.deepcopy(DIGITS)
    for path, value in changes:
        inner = raw
        for name in path[:-1]:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner[path[-1]] = value
    try:
        params = check(raw, "params.yaml")
    except UserError as fault:
        told = str(fault)
        assert told.isprintable()
        # Another optimiser, loss or schedule needs other keys beside its name.
        named = (".".join(path[:-1] if path[-1] == "name" else path[-1:]) for path, _ in changes)
        assert any(key in told for key in named), told
        return False
    with suppress(UserError):  # settings that do not fit these images
        _train(params)
    return True


def _train(params: Params) -> None:
    """One epoch of 24 images."""
    device.prepare(params.train, params.model.name)
    image = ImageFormat(height=8, width=8, channels=1, resize=None)
    classifier = build(params.model, image, 10, [0.3], [0.4])
    training, validation = (Batches(digits(start, start + 24), CPU.device) for start in (0, 24))
    next(train(classifier, training, validation, params.train, params.seed, CPU))


def fuzz(examples: int, *, derandomize: bool = False) -> int:
    """How many of so many mutated files were accepted; with `derandomize` always the same files."""
    accepted = 0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=derandomize,
        suppress_health_check=list(HealthCheck),
    )
    @given(CHANGES)
    def mutated(changes: list[Change]) -> None:
        nonlocal accepted
        accepted += attempt(changes)

    mutated()
    return accepted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    examples = parser.parse_args().examples
    print(f"{examples} mutated files: {fuzz(examples)} accepted (trained, or ended in a UserError), the others refused")


if __name__ == "__main__":
    main()
