"""Read the files of `data/raw` one by one: those in archives, and rows of Parquet files as photos in class folders.

Hugging Face stores data sets as Parquet: an image's bytes in `image.bytes`, its class in `label`, by number where the
file's metadata names the classes, and the split in the file's name (`train-00000-of-00003.parquet`, `test.parquet`) or
that of its folder.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import PurePosixPath

from src.core.errors import UserError
from src.core.paths import RAW
from src.data.archives import Member, damage_reported, is_archive, members, too_large
from src.data.layout import SPLIT_WORDS, is_generated

_IMAGE, _LABEL = ("image", "img"), ("label", "labels", "fine_label", "class")
_ROWS = 64  # that are read at a time: photos may have megabytes
_NUMBERED = re.compile(r"(.+?)-\d+-of-\d+(-[0-9a-f]+)?")


def source_files(max_bytes: int) -> Iterator[Member]:
    """Yield every file, in the order of the source; folders of archives too, as `members` does.

    Raise `UserError` where an archive, or all Parquet files, hold more than `max_bytes`.
    """
    unpacked = 0  # from all Parquet files
    for path in sorted(RAW.iterdir()):
        single = Member(path.name, path.stat().st_size, path.read_bytes)
        for member in members(path, max_bytes, str(path)) if is_archive(path, str(path)) else [single]:
            if not member.name.lower().endswith(".parquet") or is_generated(member.name):
                yield member
                continue
            for row in _rows(member):
                if (unpacked := unpacked + row.size) > max_bytes:
                    raise too_large(member.name, max_bytes)
                yield row


def _rows(member: Member) -> Iterator[Member]:
    """Yield each row as `[folder/][split/]class/file-number.jpg`; a file without both columns as it is.

    Raise `UserError` if the file is damaged, or has a row without image or class.
    """
    import pyarrow.parquet

    path = PurePosixPath(member.name)
    numbered = _NUMBERED.fullmatch(path.stem)
    split = numbered[1] if numbered else path.stem if path.stem.lower() in SPLIT_WORDS else ""
    with damage_reported(member.name):
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(member.read()))
        present = file.schema_arrow.names
        image, label = (next((name for name in known if name in present), None) for known in (_IMAGE, _LABEL))
        if image is None or label is None:
            yield member
            return
        info = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")).get("info") or {}
        names = info.get("features", {}).get(label, {}).get("names")
        classes = dict(enumerate(names)) if names else None  # -1 is Hugging Face's number for none
        batches = file.iter_batches(_ROWS, columns=[image, label])
        for number, row in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches)):
            content = row[image].get("bytes") if isinstance(row[image], dict) else row[image]
            name = row[label] if classes is None else classes.get(row[label])
            if not isinstance(content, bytes) or name is None:
                lacks = f"row {number:,} has no bytes in {image}, or no class in {label}"
                raise UserError(f"{member.name}: {lacks}: remove it, or the file")
            kind = "png" if content.startswith(b"\x89PNG") else "jpg"  # or another: its content decides
            place = path.parent / split / str(name).replace("/", "_") / f"{path.stem}-{number:07d}.{kind}"
            yield Member(str(place), len(content), partial(bytes, content))
