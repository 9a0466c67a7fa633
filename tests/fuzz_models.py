"""Model files, and ways to spoil the header of safetensors, and in it the spec."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz_bytes import INTEGERS, Chance, Sample

from src import params
from src.data.prepared import ImageFormat
from src.models.file import ModelSpec, save
from src.params.networks import SMALL, TORCHVISION

WEIGHTS = "shufflenet_v2_x0_5"  # the smallest network of torchvision


def model_files(folder: Path) -> Iterator[Sample]:
    for name, channels, size in (
        ("mnist_convnet", 1, 8),
        ("fashion_net", 1, 8),
        ("cifar_basic", 3, 8),
        (WEIGHTS, 3, 32),
    ):
        model = params.Model(name=name, weights="none", freeze=False, activation=None, dropout=0.1, normalize="dataset")
        image = ImageFormat(height=size, width=size, channels=channels, resize="crop")
        spec = ModelSpec(
            model=model, classes=["a", "b", "ü\n"], image=image, mean=[0.5] * channels, std=[0.2] * channels
        )
        path = folder / f"{name}.safetensors"
        save(path, spec.build(0), spec)
        yield Sample("model files", path.name, path.read_bytes(), _safetensors)


def _safetensors(chance: Chance, data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    if chance.random() < 0.5:
        spec = json.loads(header["__metadata__"]["spec"])
        for _ in range(chance.randint(1, 2)):
            _edit(chance, spec)
        header["__metadata__"]["spec"] = _dumped(chance, spec)
    else:
        for _ in range(chance.randint(1, 3)):
            _edit_tensor(chance, header)
    text = _dumped(chance, header).encode()
    told = chance.choice(INTEGERS) if chance.random() < 0.1 else len(text)
    return struct.pack("<Q", told) + text + body


def _edit(chance: Chance, value: Any) -> None:
    """One value somewhere inside becomes another, goes, or gets company."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and chance.random() < 0.8:
            value = value[key]
            continue
        what = chance.random()
        if what < 0.1:
            del value[key]
        elif what < 0.2 and isinstance(value, dict):
            value[f"{key}x"] = value[key]
        else:
            value[key] = _absurd(chance)
        return


def _absurd(chance: Chance) -> Any:
    return chance.choice((
        lambda: chance.choice(INTEGERS), lambda: -chance.choice(INTEGERS), lambda: 10 ** chance.choice((5, 9, 300)),
        lambda: chance.choice((0.0, -1.5, 1e308, float("nan"), float("inf"))),
        lambda: chance.choice((None, True, "", "x", "\0", "\ud800", "../../x", "default", "/etc/passwd", "x" * 10**6)),
        lambda: chance.choice((*SMALL, *TORCHVISION)), lambda: [], lambda: {},
        lambda: [chance.choice(("a", 0.5, 1))] * chance.choice((1, 2, 3, 4, 1000, 200_000)),
        lambda: {"mean": [0.5] * chance.randint(0, 4), "std": [chance.choice((0.0, 0.5))] * chance.randint(0, 4)},
        lambda: _Nested(chance.choice((10, 150, 100_000))),
    ))()  # fmt: skip


class _Nested(str):
    """Text that becomes brackets in brackets, so deep that `json` would not write them."""

    def __new__(cls, depth: int) -> "_Nested":
        return super().__new__(cls, f"<nested {depth}>")


def _dumped(chance: Chance, value: Any) -> str:
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode(errors="replace").decode()
    for depth in (10, 150, 100_000):
        text = text.replace(f'"<nested {depth}>"', "[" * depth + "]" * depth)
    return text


def _edit_tensor(chance: Chance, header: dict[str, Any]) -> None:
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return
    name, other = chance.choice(names), chance.choice(names)
    entry = header[name]
    if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list):
        return
    match chance.randrange(8):
        case 0:
            entry["dtype"] = chance.choice(
                ("F16", "BF16", "F64", "I64", "I8", "U8", "BOOL", "F8_E4M3", "F4", "C64", "x", 5)
            )
        case 1:
            entry["shape"] = [chance.choice((0, 1, 3, 8, *INTEGERS)) for _ in range(chance.randrange(6))]
        case 2:
            entry["data_offsets"] = [chance.choice((0, 4, len(names), *INTEGERS)) for _ in range(2)]
        case 3:
            entry["data_offsets"] = [chance.choice(sum(_offsets(header), [0])) for _ in range(2)]
        case 4:
            header[name], header[other] = header[other], entry
        case 5:
            header[chance.choice((f"{name}x", "", "__metadata__", "a" * 10**5))] = header.pop(name)
        case 6:
            entry["shape"] = entry["shape"][::-1] if chance.random() < 0.5 else [*entry["shape"], 1]
        case _:
            _edit(chance, header)


def _offsets(header: dict[str, Any]) -> list[list[int]]:
    """Of the tensors that still have them."""
    found = [entry.get("data_offsets") for entry in header.values() if isinstance(entry, dict)]
    return [offsets for offsets in found if isinstance(offsets, list)]
