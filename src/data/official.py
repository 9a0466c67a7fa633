"""Understand the names by which a source puts photos into train, validation or test: of folders, tables and values."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from src.core.errors import UserError
from src.core.words import quoted
from src.data.splitting import FREE, TEST, VALIDATION

# What folders and files of a split are called.
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), FREE),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
# training_set, val2017, seg_test, test_cats: the split stands in the second group, what else is said in the others.
_SPLIT = re.compile(
    rf"(?:(.+)[ _-])?({'|'.join(SPLIT_WORDS)})(?:[ _-]?(?:set|data|dataset|images?|imgs|photos|split))?[ _-]?\d*"
    r"(?:[ _-](.+))?",
    re.IGNORECASE,
)


def official_splits(names: Sequence[str]) -> tuple[list[list[str]], list[int]]:
    """Return the paths of `names` without folders of splits and without those that all share, and the split of each."""
    paths = [name.split("/") for name in names]
    depth = min(map(len, paths)) - 1  # of the folders that every path has
    dividing = [level for level in range(depth) if len({path[level] for path in paths}) > 1]
    paths = [[*(path[level] for level in dividing), *path[depth:]] for path in paths]
    official = [FREE] * len(paths)
    if len(dividing) > 1 and _folder_splits({path[1] for path in paths}):  # cat/train/1.jpg
        paths = [[path[1], path[0], *path[2:]] for path in paths]
    # Repeatedly, since "Extract all" makes train/train/cat.
    while split := _folder_splits({path[0] if len(path) > 1 else "" for path in paths}):
        official = [split[path[0]] for path in paths]
        paths = [path[1:] for path in paths]
    return paths, official


def _folder_splits(folders: set[str]) -> dict[str, int]:
    """Return the split of each of the folders, empty if they are none: alike but for it, such as seg_train, seg_test.

    Raise `UserError` if some are alike but for the split, and others stand beside them.
    """
    alike: dict[str, dict[str, int]] = {}
    for folder in sorted(folders):
        if match := _SPLIT.fullmatch(folder):
            rest = " ".join(filter(None, match.group(1, 3)))
            alike.setdefault(rest, {})[folder] = SPLIT_WORDS[match[2].lower()]
    for splits in alike.values():
        if len(splits) == len(folders):
            return splits
        if len(set(splits.values())) > 1:
            beside = quoted(sorted(folders - splits.keys() - {""}), 3) or "image files"
            raise UserError(
                f"the folders {quoted(list(splits), 3)} differ in the split alone, but beside them the source has "
                f"{beside}: remove what is no split (one is called train, validation or test), put the classes of each "
                "split into one folder (train/cats, train/dogs), or say each photo's split in labels.csv "
                "(file,label,split)"
            )
    return {}


def split_in(name: str) -> int | None:
    """Return the split that a name such as `test` or `seg_test` says; None if there is none, or more (`test_cats`)."""
    match = _SPLIT.fullmatch(name)
    return SPLIT_WORDS[match[2].lower()] if match and not match[3] else None


def split_named(name: str, place: str) -> int:
    """Return the split that is called `name`. Raise `UserError`, which names the `place`, if it is none."""
    if (split := split_in(name)) is None:
        raise UserError(f"{place}: the split is {name!r}: write train, validation or test")
    return split


def split_of_table(name: str) -> int | None:
    """Return the split that the name of a table (`test_labels.csv`) or of its folder says, None if it says none.

    Raise `UserError` if Hugging Face's `extra-00000-of-00003.parquet` says one that we do not know.
    """
    path = PurePosixPath(name)
    if path.suffix.lower() == ".parquet" and (shard := re.match(r"(.+?)-\d+-of-\d+", path.stem)):
        return split_named(shard[1], name)
    words = SPLIT_WORDS.keys() & {path.parent.name.lower(), *re.split(r"[\W\d_]+", path.stem.lower())}
    return SPLIT_WORDS[words.pop()] if len(words) == 1 else None
