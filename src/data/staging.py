"""Reads `data/raw` once, in its order: every image decoded into a temporary file, with its label, name and digest.

Memory stays flat as the data grows: pixels go to that file and are read back through a memory map.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.core.errors import UserError
from src.core.paths import RAW
from src.data.archives import Member, is_archive, members
from src.data.decoding import Decoded, Size, decode_all, digest
from src.data.formats import OWN_FILES, Images, Labels, Part, assemble, own_file, read_own_file
from src.data.images import MAX_FILE_BYTES, SUFFIXES, Fit, is_image, to_array, to_fit
from src.data.layout import counted, listed, read_layout
from src.data.sources import SOURCES
from src.data.splitting import FREE, TEST


class Staged(NamedTuple):
    """N images in the order of the source."""

    pixels: NDArray[np.uint8]  # (N, H, W, C), a memory map
    classes: list[str]
    names: list[str]
    labels: NDArray[np.int64]  # (N,)
    official: NDArray[np.int8]  # (N,), values of src.data.splitting
    digests: list[bytes]  # equal for images with equal pixels
    unreadable: list[str]  # names of files that were left out


def stage(dataset: str, fit: Fit | None, skip_unreadable: bool, scratch: IO[bytes]) -> Staged:
    """Decodes everything in `data/raw` into the empty file `scratch`. Raises `UserError` for what the user must
    mend."""
    own: dict[str, tuple[Images | None, Labels | None]] = {}
    ignored = 0
    photos = _Photos(scratch)

    def image_files() -> Iterator[tuple[str, bytes]]:
        nonlocal ignored
        for member in _files(RAW):
            key = own_file(dataset, member.name)
            if key is not None:
                if key in own:
                    raise UserError(f"the source holds {key} twice: keep one")
                own[key] = read_own_file(dataset, member.name, member.read())
            elif (data := _image_data(member)) is not None:
                yield member.name, data
            else:
                ignored += 1

    for image in decode_all(image_files(), fit):
        photos.add(image)
    if ignored:
        print(f"ignored {counted(ignored, 'other file')}")
    if own and photos.names:
        raise UserError(f"the source holds both {dataset}'s own files and images ({photos.names[0]!r}): keep one kind")
    if own:
        return _stage_own(dataset, assemble(dataset, own, len(SOURCES[dataset].classes)), fit, scratch)
    return photos.finish(dataset, skip_unreadable)


def _files(raw: Path) -> Iterator[Member]:
    for path in sorted(raw.iterdir()):
        if is_archive(path):
            yield from members(path)
        else:
            yield Member(path.name, path.stat().st_size, path.read_bytes)


def _image_data(member: Member) -> bytes | None:
    """The member's bytes if it is an image by its extension or, with another extension, by its content."""
    path = PurePosixPath(member.name)
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return None
    named_image = path.suffix.lower() in SUFFIXES
    if member.size > MAX_FILE_BYTES:
        if named_image:
            raise UserError(
                f"{member.name!r} has more than {MAX_FILE_BYTES // 2**20} MiB: make it smaller or remove it"
            )
        return None
    data = member.read()
    return data if named_image or is_image(data) else None


class _Pixels:
    """An append-only file of images of one shape."""

    def __init__(self, shape: tuple[int, ...], file: IO[bytes]) -> None:
        self.shape = shape
        self.count = 0
        self.file = file

    def append(self, image: NDArray[np.uint8]) -> None:
        self.file.write(np.ascontiguousarray(np.broadcast_to(image, self.shape)).data)
        self.count += 1

    def mapped(self) -> NDArray[np.uint8]:
        self.file.flush()
        return np.memmap(self.file, np.uint8, "r", shape=(self.count, *self.shape))


class _Photos:
    """Collects decoded image files; in `scratch` all have three channels, since colour may come late."""

    def __init__(self, scratch: IO[bytes]) -> None:
        self.scratch = scratch
        self.names: list[str] = []
        self.digests: list[bytes] = []
        self.unreadable: list[tuple[str, str]] = []  # name, reason
        self.sizes: Counter[Size] = Counter()
        self.colour = False
        self.pixels: _Pixels | None = None

    def add(self, image: Decoded) -> None:
        if image.fault:
            self.unreadable.append((image.name, image.fault))
            return
        self.names.append(image.name)
        self.digests.append(image.digest)
        self.sizes[image.size] += 1
        if image.pixels is None or len(self.sizes) > 1:  # only the sizes are still of interest
            return
        self.colour |= image.pixels.shape[-1] == 3
        if self.pixels is None:
            self.pixels = _Pixels((*image.size, 3), self.scratch)
        self.pixels.append(image.pixels)

    def finish(self, dataset: str, skip_unreadable: bool) -> Staged:
        if self.unreadable and not skip_unreadable:
            faults = listed([f"{name!r} ({reason})" for name, reason in self.unreadable])
            raise UserError(f"cannot read {faults}: mend or remove them, or set data.skip_unreadable: true")
        if self.pixels is None:
            also = ""
            if dataset in OWN_FILES:
                also = f" and none of {dataset}'s own files ({', '.join(OWN_FILES[dataset])})"
            raise UserError(
                f"the source holds no images that can be read{also}: put images into one folder for each class"
            )
        if len(self.sizes) > 1:
            common = ", ".join(f"{width}×{height} ({count:,})" for (height, width), count in self.sizes.most_common(5))
            raise UserError(
                f"the images have {len(self.sizes):,} different sizes (width×height, commonest first: {common}): "
                "set data.image_size"
            )
        name, count = Counter(self.names).most_common(1)[0]
        if count > 1:
            raise UserError(f"the source holds {name!r} {count} times: keep one")
        layout = read_layout(self.names, SOURCES[dataset].classes if dataset in SOURCES else None)
        return Staged(
            self.pixels.mapped()[..., : 3 if self.colour else 1],
            layout.classes,
            self.names,
            layout.labels,
            layout.official,
            self.digests,
            [name for name, _ in self.unreadable],
        )


def _stage_own(dataset: str, parts: list[Part], fit: Fit | None, scratch: IO[bytes]) -> Staged:
    """Images of the data set's own files, numbered within each of its splits."""
    shape = parts[0].images.shape[1:]
    pixels = _Pixels((fit.size, fit.size, shape[-1]) if fit else shape, scratch)
    names: list[str] = []
    digests: list[bytes] = []
    numbers: Counter[str] = Counter()
    width = 4 if dataset == "digits" else 5
    for part in parts:
        for image in part.images:
            if fit:
                image = to_array(to_fit(Image.fromarray(image.squeeze(-1) if shape[-1] == 1 else image), fit))
            pixels.append(image)
            digests.append(digest(image))
            names.append(f"{part.split}/{numbers[part.split]:0{width}d}")
            numbers[part.split] += 1
    return Staged(
        pixels.mapped(),
        list(SOURCES[dataset].classes),
        names,
        np.concatenate([part.labels for part in parts]),
        np.concatenate([np.full(len(part.labels), TEST if part.split == "test" else FREE, np.int8) for part in parts]),
        digests,
        [],
    )
