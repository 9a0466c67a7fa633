"""What a file is spoilt from, and ways to spoil the bytes of any. All of it follows from a seed."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

INTEGERS = (0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
Chance = random.Random


class Sample(NamedTuple):
    kind: str  # a row of the table
    name: str  # the file's own
    data: bytes
    spoil: Callable[[Chance, bytes], bytes]  # by the format's own rules


def mutated(sample: Sample, others: Sequence[Sample], chance: Chance) -> bytes:
    """The file, spoilt once to three times; half of the time by the format's own rules first."""
    data = sample.spoil(chance, sample.data) if chance.random() < 0.5 else sample.data
    if data is not sample.data and chance.random() < 0.7:
        return data
    for _ in range(chance.randint(1, 3)):
        data = chance.choice(BYTES)(chance, data, chance.choice(others).data)
    return data


def _place(chance: Chance, data: bytes) -> int:
    """Often in the first bytes, where headers are, or in the last."""
    length = max(len(data), 1)
    where = chance.random()
    if where < 0.4:
        return chance.randrange(min(length, 256))
    return length - 1 - chance.randrange(min(length, 256)) if where < 0.6 else chance.randrange(length)


def flip(chance: Chance, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64)) if data else 0):
        changed[_place(chance, data)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def number(chance: Chance, data: bytes, other: bytes) -> bytes:
    place, size = _place(chance, data), chance.choice((1, 2, 4, 8))
    value = chance.choice(INTEGERS) & ((1 << 8 * size) - 1)
    return data[:place] + value.to_bytes(size, chance.choice(("little", "big"))) + data[place + size :]


def cut(chance: Chance, data: bytes, other: bytes) -> bytes:
    return data[: _place(chance, data)]


def _remove(chance: Chance, data: bytes, other: bytes) -> bytes:
    place = _place(chance, data)
    return data[:place] + data[place + chance.choice((1, 4, 100, 5000)) :]


def _repeat(chance: Chance, data: bytes, other: bytes) -> bytes:
    place = _place(chance, data)
    return data[:place] + data[place : place + chance.choice((1, 8, 512))] * chance.choice((2, 50)) + data[place:]


def _splice(chance: Chance, data: bytes, other: bytes) -> bytes:
    return data[: _place(chance, data)] + other[_place(chance, other) :]


def _insert(chance: Chance, data: bytes, other: bytes) -> bytes:
    place = _place(chance, data)
    return data[:place] + chance.randbytes(chance.choice((1, 4, 64))) + data[place:]


BYTES: tuple[Callable[[Chance, bytes, bytes], bytes], ...] = (
    flip,
    flip,
    number,
    number,
    cut,
    _remove,
    _repeat,
    _splice,
    _insert,
)
