"""Read the rows of a Parquet file as if they were photos in class folders.

Hugging Face stores data sets so: an image's bytes in `image.bytes`, its class in `label`, by number where the file's
metadata names the classes, and the split in the file's name (`train-00000-of-00003.parquet`) or that of its folder.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from src.core.errors import UserError
from src.data.archives import Member

_IMAGE, _LABEL = ("image", "img"), ("label", "labels", "fine_label", "class")
_ROWS = 1000  # that are read at a time


def rows(member: Member, max_bytes: int) -> Iterator[Member]:
    """Yield each row as `[folder/][split/]class/file-number.jpg`; a file without both columns is left out as it is.

    Raise `UserError` if the file is damaged, has a row without image or class, or has images of more than `max_bytes`.
    """
    import pyarrow.parquet

    path = PurePosixPath(member.name)
    named = re.fullmatch(r"(.+)-\d+-of-\d+", path.stem)
    folder = path.parent / (named[1] if named else "")
    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(member.read()))
        present = file.schema_arrow.names
        image, label = (next((name for name in known if name in present), None) for known in (_IMAGE, _LABEL))
        if image is None or label is None:
            yield member
            return
        features = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")).get("info", {})
        classes = features.get("features", {}).get(label, {}).get("names")
        number = total = 0
        for batch in file.iter_batches(_ROWS, columns=[image, label]):
            for row in batch.to_pylist():
                content = row[image]["bytes"] if isinstance(row[image], dict) else row[image]
                if content is None or row[label] is None:
                    raise UserError(f"{member.name}: row {number:,} has no image or no {label}: remove it")
                if (total := total + len(content)) > max_bytes:
                    raise UserError(f"{member.name} holds more than {max_bytes / 2**30:,.3g} GiB: raise data.max_gib")
                name = str(classes[row[label]] if classes else row[label]).replace("/", "_")
                kind = "png" if content.startswith(b"\x89PNG") else "jpg"  # or another: its content decides
                yield Member(f"{folder / name / path.stem}-{number:07d}.{kind}", len(content), partial(bytes, content))
                number += 1
    except (pyarrow.ArrowException, OSError, IndexError) as error:
        raise UserError(f"{member.name} is damaged ({str(error)[:200]}): fetch it again") from None
