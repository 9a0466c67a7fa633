"""Read `data/raw` once, in its order: every image decoded into a temporary file, with its label, name and digest.

Memory stays flat as the data grows: pixels go to that file and are read back through a memory map.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.core.errors import UserError
from src.core.paths import RAW
from src.data.archives import Member, is_archive, members
from src.data.decoding import DIGEST_BYTES, Decoded, Size, decode_all, digest
from src.data.formats import OWN_FILES, Images, Labels, Part, assemble, own_file, read_own_file
from src.data.images import BYTES_PER_PIXEL, SUFFIXES, Fit, is_image, to_array, to_fit
from src.data.labels import TABLES, Row, labelled_layout, read_labels
from src.data.layout import counted, is_generated, listed, read_layout
from src.data.parquet import rows
from src.data.report import print_left_out
from src.data.sources import SOURCES
from src.data.splitting import FREE, TEST
from src.params import Data

_TEXT = np.dtypes.StringDType()  # a few bytes for each text, where Python's own take a hundred
DIGITS = {"digits": 4, "train": 5, "test": 5}  # of the numbers by which images of a data set's own files are named
_ARCHIVES = {".zip", ".tar", ".tgz", ".txz", ".7z", ".rar"}


class Staged(NamedTuple):
    """Hold N images in the order of the source."""

    pixels: NDArray[np.uint8]  # (N, H, W, C), a memory map
    classes: list[str]
    names: NDArray[Any]  # (N,), of numpy's StringDType
    labels: NDArray[np.int64]  # (N,)
    official: NDArray[np.int8]  # (N,), values of src.data.splitting
    groups: list[str] | None  # (N,), of a table of labels: images of one group stay together
    digests: NDArray[np.uint8]  # (N, 16), equal for images with equal pixels
    unreadable: list[str]  # names of files that were left out


def stage(data: Data, scratch: IO[bytes]) -> Staged:
    """Decode everything in `data/raw` into the empty file `scratch`. Raise `UserError` if it cannot be."""
    fit = Fit(data.image_size, data.image_size, data.resize) if data.image_size else None
    max_bytes, max_pixels = round(data.max_gib * 2**30), round(data.max_megapixels * 1_000_000)
    own: dict[str, tuple[Images | None, Labels | None]] = {}
    photos = _Photos(scratch)

    def image_files() -> Iterator[tuple[str, bytes]]:
        for member in _files(max_bytes):
            key = own_file(data.name, member.name)
            if key is not None:
                if key in own:
                    raise UserError(f"the source holds {key} twice: keep one")
                own[key] = read_own_file(data.name, member.name, member.read(), max_bytes)
            elif member.name.endswith("/") or any(map(is_generated, member.name.split("/"))):
                photos.others.append(member.name)
            elif member.name.lower().endswith(TABLES) and member.size <= BYTES_PER_PIXEL * max_pixels:
                if not read_labels(member.name, member.read(), photos.labels):
                    photos.others.append(member.name)
            elif (content := _photo_content(member, max_pixels)) is not None:
                yield member.name, content
            else:
                photos.others.append(member.name)

    for image in decode_all(image_files(), fit, max_pixels):
        photos.add(image)
    print_left_out(photos.others)
    if own and photos.names:
        raise UserError(
            f"the source holds both {data.name}'s own files and images ({photos.names[0]!r}): keep one kind"
        )
    return _stage_own(data.name, assemble(data.name, own), fit, scratch) if own else photos.finish(data)


def _files(max_bytes: int) -> Iterator[Member]:
    for path in sorted(RAW.iterdir()):
        if is_archive(path, str(path)):
            found = members(path, max_bytes, str(path))
        else:
            found = iter([Member(path.name, path.stat().st_size, path.read_bytes)])
        for member in found:
            if member.name.lower().endswith(".parquet"):
                yield from rows(member, max_bytes)
            else:
                yield member


def _photo_content(member: Member, max_pixels: int) -> bytes | None:
    """Return the member's bytes if it is a photo by its ending or, with another ending, by its content."""
    suffix = PurePosixPath(member.name).suffix.lower()
    if suffix in _ARCHIVES:
        raise UserError(f"the source holds the archive {member.name!r}: unpack it, and pack all photos once")
    if member.size > BYTES_PER_PIXEL * max_pixels:
        if suffix in SUFFIXES:
            raise UserError(f"{member.name!r} has {member.size:,} bytes: make it smaller, or raise data.max_megapixels")
        return None
    content = member.read()
    return content if suffix in SUFFIXES or is_image(content) else None


class _Pixels:
    """Append images of one shape to a file, and map it."""

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
    """Collect decoded image files; in `scratch` all have three channels, since colour may come late."""

    def __init__(self, scratch: IO[bytes]) -> None:
        self.scratch = scratch
        self.names: list[str] = []
        self.digests = bytearray()
        self.unreadable: list[tuple[str, str]] = []  # name, reason
        self.labels: dict[str, Row] = {}
        self.others: list[str] = []  # neither photos nor labels; and folders, which end in `/`
        self.sizes: Counter[Size] = Counter()
        self.colour = False
        self.pixels: _Pixels | None = None

    def add(self, image: Decoded) -> None:
        if image.reason:
            self.unreadable.append((image.name, image.reason))
            return
        self.names.append(image.name)
        self.digests += image.digest
        self.sizes[image.size] += 1
        if image.pixels is None or len(self.sizes) > 1:  # only the sizes are still of interest
            return
        self.colour |= image.pixels.shape[-1] == 3
        if self.pixels is None:
            self.pixels = _Pixels((*image.size, 3), self.scratch)
        self.pixels.append(image.pixels)

    def finish(self, data: Data) -> Staged:
        """Return all of them with what their names say. Raise `UserError` if they do not make a data set."""
        if self.unreadable and not data.skip_unreadable:
            alike: dict[tuple[str, str], list[str]] = {}
            for name, reason in self.unreadable:
                alike.setdefault((name.rpartition("/")[0] or ".", reason), []).append(name)
            files = [f"{len(same):,} in {place!r} ({why}), such as {same[0]!r}" for (place, why), same in alike.items()]
            raise UserError(
                f"cannot read {counted(len(self.unreadable), 'file')}: {listed(files)}: convert, repair or remove "
                "them, set data.skip_unreadable: true, or raise data.max_megapixels if they have too many pixels"
            )
        if self.pixels is None:
            also = ""
            if data.name in OWN_FILES:
                also = f" and none of {data.name}'s own files ({', '.join(OWN_FILES[data.name])})"
            raise UserError(
                f"the source holds no images that can be read{also}: put images into one folder for each class"
            )
        if len(self.sizes) > 1:
            common = ", ".join(f"{width}×{height} ({count:,})" for (height, width), count in self.sizes.most_common(5))
            raise UserError(
                f"the images have {len(self.sizes):,} different sizes (width×height, commonest first: {common}): "
                "set data.image_size"
            )
        if len(set(self.names)) < len(self.names):
            name, count = Counter(self.names).most_common(1)[0]
            raise UserError(f"the source holds {name!r} {count} times: keep one")
        classes = SOURCES[data.name].classes if data.name in SOURCES else None
        unreadable = [name for name, _ in self.unreadable]
        groups = None
        if self.labels:
            layout, groups = labelled_layout(self.names, self.labels, unreadable, classes)
        else:
            layout = read_layout(self.names, classes, [*self.others, *unreadable])
        return Staged(
            self.pixels.mapped()[..., : 3 if self.colour else 1],
            layout.classes,
            np.array(self.names, _TEXT),
            layout.labels,
            layout.official,
            groups,
            np.frombuffer(self.digests, np.uint8).reshape(-1, DIGEST_BYTES),
            unreadable,
        )


def _stage_own(dataset: str, parts: list[Part], fit: Fit | None, scratch: IO[bytes]) -> Staged:
    """Stage images of the data set's own files, numbered within each of its splits."""
    shape = parts[0].images.shape[1:]
    pixels = _Pixels((fit.height, fit.width, shape[-1]) if fit else shape, scratch)
    digests = bytearray()
    for image in chain.from_iterable(part.images for part in parts):
        if fit:
            image = to_array(to_fit(Image.fromarray(image.squeeze(-1) if shape[-1] == 1 else image), fit))
        pixels.append(image)
        digests += digest(image)
    of_split = {split: sum(len(part.labels) for part in parts if part.split == split) for split in DIGITS}
    names = (f"{split}/{number:0{DIGITS[split]}d}" for split, count in of_split.items() for number in range(count))
    return Staged(
        pixels.mapped(),
        list(SOURCES[dataset].classes),
        np.fromiter(names, _TEXT, pixels.count),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([np.full(len(part.labels), TEST if part.split == "test" else FREE, np.int8) for part in parts]),
        None,
        np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES),
        [],
    )
