"""Small real files for the tests of the data stages."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.core.files import digest as file_digest
from src.core.paths import PREPARED, RAW
from src.data.prepare import prepare
from src.data.prepared import SPLITS, Dataset, open_split, read_dataset, read_names
from src.data.raw import fetch_raw
from src.params import Data, Split
from src.params.writing import load_recipe


def picture(number: int, size: int = 6, mode: str = "RGB") -> Image.Image:
    """Return an image of random pixels, seeded by `number`."""
    shape = (size, size) if mode == "L" else (size, size, 3)
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(number: int, size: int = 6, mode: str = "RGB") -> bytes:
    return encoded(picture(number, size, mode))


def pack_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def pack_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def class_folders(per_class: Mapping[str, int], prefix: str = "", start: int = 0, size: int = 6) -> dict[str, bytes]:
    """Return files `{prefix}{class}/{n}.png`, all different, as many of each class as `per_class` says."""
    names = [f"{prefix}{name}/{number}.png" for name, count in per_class.items() for number in range(count)]
    return {name: png(start + number, size) for number, name in enumerate(names)}


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def idx(array: NDArray[np.uint8]) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist_files(train: int, test: int, compress: bool = True) -> dict[str, bytes]:
    files = {}
    for prefix, count in (("train", train), ("t10k", test)):
        generator = np.random.default_rng(count)
        images = generator.integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        files[f"raw/{prefix}-images-idx3-ubyte"] = idx(images)
        files[f"raw/{prefix}-labels-idx1-ubyte"] = idx(labels)
    return {f"{name}.gz": gzip.compress(data, 1) for name, data in files.items()} if compress else files


def split_params(**values: Any) -> Split:
    return Split.model_validate(load_recipe("digits").split.model_dump() | values)


def data_params(**values: Any) -> Data:
    defaults = load_recipe("own-images").data.model_dump() | {"image_size": None}
    return Data.model_validate(defaults | values)


def run_stages(
    source: Path | str | None,
    dataset: str = "image_folder",
    image_size: int | None = None,
    limit: int | None = None,
    skip_unreadable: bool = False,
    sha256: str | None = None,
    **split: Any,
) -> Dataset:
    """Run download and split in the current folder."""
    fetch_raw(dataset, None if source is None else str(source), sha256, 1)
    return prepare(
        data_params(name=dataset, image_size=image_size, limit=limit, skip_unreadable=skip_unreadable),
        split_params(**split),
    )


def check_promises(dataset: Dataset) -> None:
    """Check what is promised of every prepared data set."""
    assert read_dataset() == dataset
    assert not list(PREPARED.glob(".*"))
    everything: list[str] = []
    for name in SPLITS:
        images, labels = open_split(name)
        record = dataset.splits[name]
        shape = (record.count, dataset.image.height, dataset.image.width, dataset.image.channels)
        assert images.shape == shape
        assert images.dtype == np.uint8
        assert labels.shape == (record.count,)
        assert labels.dtype == np.int64
        assert record.md5 == {path.name: file_digest(path) for path in (PREPARED / name).iterdir()}
        counts = np.bincount(labels, minlength=len(dataset.classes)).tolist()
        assert record.per_class == dict(zip(dataset.classes, counts, strict=True))
        assert len(read_names(name)) == record.count
        everything += read_names(name)
    assert len(set(everything)) == len(everything)
    train = open_split("train").images[:] / 255
    assert np.allclose(train.mean((0, 1, 2)), dataset.mean)
    assert np.allclose(train.std((0, 1, 2)), dataset.std)


def digests() -> dict[str, str]:
    return {str(path): file_digest(path) for folder in (RAW, PREPARED) for path in sorted(folder.rglob("*.*"))}
