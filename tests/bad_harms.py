"""What is done to the folder of a finished run, for `tests/bad_cases.py`: each makes one harm, to be done later."""

import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bad_inputs import Harm
from data_samples import idx, mnist_files, write_files
from safetensors.torch import load_file, save_file

from src.core.paths import MODEL


def both(*harms: Harm) -> Harm:
    return lambda folder: [harm(folder) for harm in harms]


def nothing(_: Path) -> None:
    pass


def key(**values: str) -> Harm:
    """Sets keys of params.yaml, found by their name alone: the first one of that name."""

    def harm(folder: Path) -> None:
        file = folder / "params.yaml"
        text = file.read_text(encoding="utf-8")
        for name, value in values.items():
            text, found = re.subn(rf"(?m)^( *){name}: [^#\n]*", rf"\g<1>{name}: {value} ", text, count=1)
            assert found, name
        file.write_text(text, encoding="utf-8")

    return harm


def replaced(old: str, new: str) -> Harm:
    def harm(folder: Path) -> None:
        text = (folder / "params.yaml").read_text(encoding="utf-8")
        assert old in text
        (folder / "params.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")

    return harm


def content(name: str | Path, data: bytes | str) -> Harm:
    return lambda folder: (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def gone(name: str | Path) -> Harm:
    def harm(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    return harm


def single_array(name: str | Path) -> Harm:
    """One array where several belong."""

    def harm(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            np.save(file, np.zeros(3))

    return harm


def cut(name: str | Path) -> Harm:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def flipped(name: str | Path) -> Harm:
    def harm(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[-9] ^= 16
        (folder / name).write_bytes(data)

    return harm


def array(name: str | Path, change: Callable[[np.ndarray], np.ndarray]) -> Harm:
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def folder_instead(name: str | Path) -> Harm:
    return both(gone(name), lambda folder: (folder / name).mkdir())


def photos(files: dict[str, bytes], **values: str) -> Harm:
    """A folder `photos`, and the parameters that name it."""
    return both(
        lambda folder: write_files(folder / "photos", files),
        key(**{"name": "image_folder", "source": "photos", **values}),
    )


def linked(name: str, target: str) -> Harm:
    return lambda folder: (folder / name).symlink_to(target)


def listening(folder: Path) -> None:
    """A fifo and a socket among the photos: opening one would wait for ever."""
    os.mkfifo(folder / "photos/cat/pipe.png")
    here = Path.cwd()
    os.chdir(folder / "photos/cat")  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.png")
    os.chdir(here)


def other_network(folder: Path) -> None:
    weights = load_file(folder / MODEL)
    save_file({f"other.{name}": tensor for name, tensor in weights.items()}, folder / MODEL)


def renamed_network(folder: Path) -> None:
    data = (folder / MODEL).read_bytes()
    assert b"cifar_basic" in data
    (folder / MODEL).write_bytes(data.replace(b"cifar_basic", b"fashion_net"))


def labels_outside(folder: Path) -> None:
    files = mnist_files(30, 30, compress=False)
    files["raw/train-labels-idx1-ubyte"] = idx(np.full(30, 12, np.uint8))
    write_files(folder / "mnist", files)
