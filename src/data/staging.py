"""Read `data/raw` once, in its order: every image decoded into a temporary file, with its label, name and digest.

Memory stays flat as the data grows: pixels go to that file and are read back through a memory map.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.errors import UserError
from src.core.words import counted, listed
from src.data.images import BYTES_PER_PIXEL, SUFFIXES, Fit, decode_all, digest, is_image, to_image, to_pixels
from src.data.known import PUBLISHED_SETS, PublishedImages, published_file, published_files, read_published_files
from src.data.labels import Row, labelled_layout, read_labels
from src.data.layout import is_generated, read_layout, without_unreadable
from src.data.source import source_files
from src.data.tables import TABLES
from src.params import Data

_ARCHIVE = re.compile(r"\.(?:zip|7z|rar|tgz|txz|tar(?:\.(?:gz|xz|bz2|zst))?)$", re.IGNORECASE)


class Staged(NamedTuple):
    """Hold N images in the order of the source."""

    pixels: NDArray[np.uint8]  # (N, H, W, C), a memory map
    names: NDArray[Any]  # (N,), of numpy's StringDType: a few bytes for each, where Python's own take a hundred
    pixel_digests: NDArray[np.uint8]  # (N, 16), equal for images with equal pixels
    file_digests: NDArray[np.uint8]  # (N, 16), which stay where `data.image_size` changes the pixels
    unreadable: list[str]  # names of files that were left out
    classes: list[str]  # this and what follows as in `Layout`
    labels: NDArray[np.int64]
    official: NDArray[np.int8]
    groups: list[str] | None


def stage(data: Data, scratch: IO[bytes]) -> Staged:
    """Decode everything in `data/raw` into the empty file `scratch`. Raise `UserError` if it cannot be."""
    fit = Fit(data.image_size, data.image_size, data.resize) if data.image_size else None
    max_bytes, max_pixels = round(data.max_gib * 2**30), round(data.max_megapixels * 1_000_000)
    published: dict[str, bytes] = {}  # the files of a known data set
    tables: dict[str, bytes] = {}
    rows: dict[str, Row] = {}  # labels by the path of a photo
    others: list[str] = []  # none of these, and no photo; and folders, which end in `/`
    unreadable: list[tuple[str, str]] = []  # name, reason

    def photos() -> Iterator[tuple[str, bytes]]:
        for member, row in source_files(max_bytes):
            name, suffix = member.name, PurePosixPath(member.name).suffix.lower()
            if row:
                rows[name] = row
            if key := published_file(data.name, name):
                published[key] = member.read()
            elif name.endswith("/") or is_generated(name):
                others.append(name)
            elif _ARCHIVE.search(name):
                raise UserError(
                    f"the source holds the archive {name!r}: unpack it there, or, if it holds all photos, name it as "
                    "data.source"
                )
            elif suffix in TABLES:
                tables[name] = member.read()
            elif member.size > BYTES_PER_PIXEL * max_pixels:
                if suffix in SUFFIXES:
                    unreadable.append((name, f"{member.size:,} bytes are too many"))
                else:
                    others.append(name)
            else:
                content = member.read()
                if suffix in SUFFIXES or is_image(content):
                    yield name, content
                else:
                    others.append(name)

    names: list[str] = []
    pixel_digests, file_digests = bytearray(), bytearray()
    sizes: Counter[tuple[int, ...]] = Counter()
    colour = False  # it may come late: in `scratch` all have three channels
    for image in decode_all(photos(), fit, max_pixels):
        if image.pixels is None:
            unreadable.append((image.name, image.reason))
            continue
        names.append(image.name)
        pixel_digests += image.pixel_digest
        file_digests += image.file_digest
        size = image.pixels.shape[:2]
        sizes[size] += 1
        if len(sizes) == 1:  # of several sizes only these are still of interest
            colour |= image.pixels.shape[-1] == 3
            scratch.write(np.ascontiguousarray(np.broadcast_to(image.pixels, (*size, 3))).data)
    _print_left_out(others)
    if published:
        if names:
            raise UserError(f"the source holds both {data.name}'s own files and images ({names[0]!r}): keep one kind")
        return _stage_published(read_published_files(data.name, published, max_bytes), fit, scratch)
    _check(data, names, unreadable, sizes)
    left_out = [name for name, _ in unreadable]
    classes = PUBLISHED_SETS[data.name].classes if data.name in PUBLISHED_SETS else None
    rows |= read_labels(tables)
    if rows:
        layout = labelled_layout([*names, *left_out], rows, classes)
    else:
        layout = read_layout([*names, *left_out], classes, [*others, *tables])
    layout = without_unreadable(layout, len(names))
    mapped = _mapped(scratch, (len(names), *next(iter(sizes)), 3))[..., : 3 if colour else 1]
    texts = np.array(names, np.dtypes.StringDType())
    return Staged(mapped, texts, _digests(pixel_digests), _digests(file_digests), left_out, *layout)


def _stage_published(found: PublishedImages, fit: Fit | None, scratch: IO[bytes]) -> Staged:
    """Write the images of a known data set into `scratch`."""
    pixel_digests, file_digests = bytearray(), bytearray()
    for image in chain.from_iterable(found.parts):
        pixels = to_pixels(to_image(image), fit) if fit else image
        scratch.write(np.ascontiguousarray(pixels).data)
        pixel_digests += digest(pixels)
        file_digests += digest(image)
    mapped = _mapped(scratch, (len(found.names), *pixels.shape))
    return Staged(mapped, found.names, _digests(pixel_digests), _digests(file_digests), [], *found.layout)


def _mapped(scratch: IO[bytes], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    scratch.flush()
    return np.memmap(scratch, np.uint8, "r", shape=shape)


def _digests(digests: bytearray) -> NDArray[np.uint8]:
    """Return digests as an array (N, 16)."""
    return np.frombuffer(digests, np.uint8).reshape(-1, 16)


def _check(data: Data, names: list[str], unreadable: list[tuple[str, str]], sizes: Counter[tuple[int, ...]]) -> None:
    """Raise `UserError` if the photos that were read do not make a data set."""
    if unreadable and not data.skip_unreadable:
        alike: dict[str, list[str]] = {}
        for name, reason in unreadable:
            alike.setdefault(reason, []).append(name)
        files = [f"{_in_folders(same)}, such as {same[0]!r} ({reason})" for reason, same in alike.items()]
        raise UserError(
            f"cannot read {counted(len(unreadable), 'file')}: {listed(files)}: convert, repair or remove "
            "them, set data.skip_unreadable: true, or raise data.max_megapixels if they have too many pixels or bytes"
        )
    if not names:
        known = data.name in PUBLISHED_SETS
        also = f" and none of its own files ({listed(published_files(data.name))})" if known else ""
        raise UserError(
            f"the source holds no images that can be read{also}: put images into one folder for each class "
            "(Parquet: with columns called image and label)"
        )
    if len(sizes) > 1:
        common = ", ".join(f"{width}×{height} ({count:,})" for (height, width), count in sizes.most_common(5))
        raise UserError(
            f"the images have {len(sizes):,} different sizes (width×height, commonest first: {common}): "
            "set data.image_size"
        )
    if len(set(names)) < len(names):
        name, count = Counter(names).most_common(1)[0]
        raise UserError(f"the source holds {name!r} {count} times: keep one")


def _print_left_out(names: Sequence[str]) -> None:
    """Print how many files are no photos, by their ending or by what a system has made, and in which folders."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        if name.endswith("/"):  # a folder
            continue
        kind, parts = PurePosixPath(name).suffix or "without ending", name.split("/")
        if generated := [part for part in parts if is_generated(part)]:
            kind, name = generated[0], "/".join(parts[: parts.index(generated[0]) + 1])
        kinds.setdefault(kind, []).append(name)
    for kind, files in sorted(kinds.items()):
        print(f"left out {counted(len(files), 'file')} {repr(kind)[1:-1]}: {_in_folders(files)}")


def _in_folders(names: Iterable[str]) -> str:
    """Return how many files lie in which folders: `'cat' (3), '.' (1)`."""
    places = Counter(name.rpartition("/")[0] or "." for name in names)
    return listed([f"{place!r} ({count:,})" for place, count in places.most_common()], 5)
