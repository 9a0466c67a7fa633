"""Read the files of `data/raw` one by one: those in archives, and rows of Parquet files as photos with their labels.

Hugging Face stores data sets as Parquet: an image's bytes in `image.bytes`, its class in `label`, by number where the
file's metadata names the classes, and the split in the name of the file or of its folder. As in a table of labels,
columns `group` and `split` count too.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

from src.core.documents import read_json
from src.core.errors import UserError
from src.core.paths import RAW
from src.data.archives import Member, damage_reported, is_archive, members, too_large
from src.data.images import SUFFIXES
from src.data.labels import ONE_CLASS, Row, split_named, split_of_table
from src.data.layout import is_generated
from src.data.prepared import SPLITS
from src.data.tables import cell

_IMAGE, _LABEL = ("image", "img"), ("label", "labels", "fine_label", "class")
_OPTIONAL = ("group", "split")
_ROWS = 64  # that are read at a time: photos may have megabytes


def source_files(max_bytes: int) -> Iterator[tuple[Member, Row | None]]:
    """Yield every file, in the order of the source; folders of archives too, as `members` does.

    Photos of Parquet files come with their labels. Raise `UserError` where an archive, or all Parquet files, hold more
    than `max_bytes`.
    """
    unpacked = 0  # from all Parquet files
    places: dict[int, str] = {}  # the folder of each split of theirs: another holds another configuration of the set
    for path in sorted(RAW.iterdir()):
        single = Member(path.name, path.stat().st_size, path.read_bytes)
        for member in members(path, max_bytes, str(path)) if is_archive(path, str(path)) else [single]:
            if not member.name.lower().endswith(".parquet") or is_generated(member.name):
                yield member, None
                continue
            split, folder = split_of_table(member.name), str(PurePosixPath(member.name).parent)
            if split is not None and places.setdefault(split, folder) != folder:
                both = f"{places[split]!r} and {folder!r} both hold Parquet files of {SPLITS[split]}"
                raise UserError(f"{both}: give one of them alone as the source")
            for photo, row in _parquet_rows(member, split or None):
                if (unpacked := unpacked + photo.size) > max_bytes:
                    raise too_large(member.name, max_bytes)
                yield photo, row


def _parquet_rows(member: Member, split: int | None) -> Iterator[tuple[Member, Row | None]]:
    """Yield each row as `file/name.jpg`, with its label; a file without both columns as it is.

    The names are those of `image.path` where each row has its own; else they are numbers, which change once a row is
    removed. Raise `UserError` if the file is damaged, or has a row without image or class.
    """
    import pyarrow.parquet

    with damage_reported(member.name):
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(member.read()))
        schema = file.schema_arrow
        image, label = (next((name for name in known if name in schema.names), None) for known in (_IMAGE, _LABEL))
        if image is None or label is None:
            yield member, None
            return
        if pyarrow.types.is_nested(schema.field(label).type):
            raise UserError(f"{member.name}: {label} is {schema.field(label).type}: {ONE_CLASS}")
        classes, names = _class_names(schema.metadata, label), _file_names(file, image)
        columns = [name for name in (image, label, *_OPTIONAL) if name in schema.names]
        rows = chain.from_iterable(batch.to_pylist() for batch in file.iter_batches(_ROWS, columns=columns))
        for number, row in enumerate(rows):
            content = row[image].get("bytes") if isinstance(row[image], dict) else row[image]
            name = cell(row[label] if classes is None else classes.get(row[label]))
            if not isinstance(content, bytes) or not name:
                lacks = f"row {number:,} has no bytes in {image}, or no class in {label}"
                raise UserError(f"{member.name}: {lacks}: remove it, or the file")
            kind = "png" if content.startswith(b"\x89PNG") else "jpg"  # or another: its content decides
            file_name = names[number] if names else f"{number:07d}.{kind}"
            place = f"{member.name.rpartition('.')[0]}/{file_name}"
            group, own = (cell(row.get(key)) for key in _OPTIONAL)
            labels = Row(name, group, split_named(own, place) if own else split)
            yield Member(place, len(content), partial(bytes, content)), labels


def _class_names(metadata: Mapping[bytes, bytes] | None, label: str) -> dict[int, str] | None:
    """Return the classes by number where Hugging Face's metadata names them, else None: the numbers are the classes."""
    try:
        features = read_json((metadata or {})[b"huggingface"])["info"]["features"]
        return dict(enumerate(features[label]["names"]))  # -1, which stands for no class, has no name
    except (KeyError, TypeError):
        return None


def _file_names(file: Any, image: str) -> list[str]:
    """Return the file name in each row's `image.path`, or nothing unless every row has one of its own."""
    import pyarrow

    stored = file.schema_arrow.field(image).type
    if not pyarrow.types.is_struct(stored) or stored.get_field_index("path") < 0:
        return []
    paths = [(row or {}).get("path") for row in file.read([f"{image}.path"])[image].to_pylist()]
    names = [PurePosixPath(path).name if isinstance(path, str) else "" for path in paths]
    images = all(PurePosixPath(name).suffix.lower() in SUFFIXES for name in names)
    return names if images and len({*names}) == len(names) else []
