"""Apply `data/corrections.csv`: people's decisions about single images, a line for each.

    file,action,value,reason
    cats/017.jpg,relabel,dog,a puppy
    cats/020.jpg,drop,,a screenshot

A file is named as in the source, as `src.audit` names it. `reason` is for people, and may be left out.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from src.core.errors import UserError
from src.core.paths import CORRECTIONS
from src.core.words import counted, listed
from src.data.staging import Staged
from src.data.tables import read_table

COLUMNS = ("file", "action", "value", "reason")
_LEFT_OUT = -1  # in the place of a split


class Correction(NamedTuple):
    place: str  # such as `data/corrections.csv, line 2`
    file: str
    action: str
    value: str


def read_corrections() -> Iterator[Correction]:
    """Yield the lines of the file, none where it is missing. Raise `UserError` for one that is no correction."""
    if not CORRECTIONS.exists():
        return
    table = read_table(str(CORRECTIONS), CORRECTIONS.read_bytes())
    if missing := [column for column in COLUMNS[:3] if column not in table.columns]:
        raise UserError(f"{CORRECTIONS} has no column {missing[0]}: its first line is {','.join(COLUMNS)}")
    for place, values in table.read(COLUMNS[:3]):
        # As the names of the source: macOS writes é as two characters.
        found = Correction(place, *(unicodedata.normalize("NFC", value) for value in values))
        if found.action not in ("relabel", "drop"):
            raise UserError(f"{place}: the action is {found.action!r}: write relabel or drop")
        yield found


def correct(staged: Staged) -> Staged:
    """Return the images with their corrected labels; what is dropped is on no split.

    Raise `UserError` naming a line that names no image or no class of the source, or contradicts an earlier one.
    """
    corrections = list(read_corrections())
    if not corrections:
        return staged
    labels, official = staged.labels.copy(), staged.official.copy()
    wanted = {each.file for each in corrections}
    index = {name: number for number, name in enumerate(staged.names) if name in wanted}
    if gone := [f"{each.place}: {each.file!r}" for each in corrections if each.file not in index]:
        raise UserError(
            f"no image of the source ({listed(gone)}): name it as data/prepared and src.audit do, or remove the line"
        )
    label = {name: number for number, name in enumerate(staged.classes)}
    decided: dict[str, tuple[str, str]] = {}
    for place, file, action, value in corrections:
        if decided.setdefault(file, (action, value)) != (action, value):
            raise UserError(f"{place}: an earlier line decides otherwise about {file!r}: keep one")
        if action == "drop":
            official[index[file]] = _LEFT_OUT
        elif value in label:
            labels[index[file]] = label[value]
        else:
            raise UserError(f"{place}: there is no class {value!r}: write one of {listed(staged.classes)}")
    counts = Counter(each.action for each in corrections)
    print(f"{counted(len(corrections), 'correction')}: " + ", ".join(f"{n:,} {what}" for what, n in counts.items()))
    return staged._replace(labels=labels, official=official)
