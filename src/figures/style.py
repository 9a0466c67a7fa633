"""The look that all pictures share: sizes, colours, how names are shortened, how a file is written.

The colours are those of Okabe and Ito ("Color universal design", 2008), which people with every common form of colour
blindness can tell apart. Nothing is said by colour alone.
"""

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any
from unicodedata import bidirectional

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import text_to_path

from src.core import files

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SPLIT_COLOURS = {"train": BLUE, "validation": ORANGE, "test": GREEN}
INK, QUIET, FAINT = "#222222", "#666666", "#D9D9D9"

DPI = 130
TITLE, CAPTION, SMALL = 13.0, 9.0, 8.0  # points
MARGIN = 0.15  # inches around a picture

_SETTINGS: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # which comes with matplotlib; `add_fonts` adds others
    "font.size": CAPTION,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
_looked_for: set[int] = set()  # letters that `add_fonts` has found, or said that no font has


def add_fonts(names: Iterable[str]) -> None:
    """Take letters of these names that DejaVu lacks from installed fonts, in all pictures that are drawn from now on.

    Print which letters no font has, once, since `src.predict --explain` calls this for each photo. names: of classes
    and files.
    """
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it warns of each font without bold letters
    families = _SETTINGS["font.family"]
    missing = {ord(letter) for letter in set(chain.from_iterable(names)) if letter.isprintable()} - _looked_for
    _looked_for.update(missing)
    # Those in use first, then fonts without serifs. "Last Resort", of matplotlib, has a box for each letter.
    fonts = [font for font in fontManager.ttflist if not font.name.startswith("Last Resort")]
    for font in sorted(fonts, key=lambda font: (font.name not in families, "Sans" not in font.name, font.name)):
        if missing and (has := missing & FT2Font(font.fname, face_index=font.index).get_charmap().keys()):
            missing -= has
            if font.name not in families:
                families.append(font.name)
    if missing:
        some = " ".join(map(chr, sorted(missing)[:10]))
        print(
            f"no font has {some}: pictures show boxes; install one that does (Debian: fonts-noto-cjk, fonts-noto; no "
            "picture has colour emoji)",
            file=sys.stderr,
        )


@contextmanager
def drawing(
    path: Path, width: float, height: float, title: str, caption: str, *, plot: bool = True
) -> Iterator[tuple[Figure, float]]:
    """Yield a figure and the inches that its title takes; write it to `path` as PNG when the block ends.

    Between title and caption there are `width` × `height` inches. With `plot`, axes are laid out there; without it, the
    block places everything itself. The file also holds its title and caption as text, and the rows of pixels that lie
    between them: pages show these rows, and set the words themselves (`figures/embed.py`). The file has no date and no
    version, so that equal input gives equal bytes.
    """
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        room = width - 2 * MARGIN
        words = {"Title": title, "Description": caption}  # keywords of the PNG specification
        title, top = _wrapped(title, room, TITLE, "bold")
        caption, bottom = _wrapped(caption, room, CAPTION)
        top, bottom = top + MARGIN + 0.1, bottom + MARGIN + 0.1
        total = top + height + bottom
        figure = Figure(figsize=(width, total), dpi=DPI)
        if plot:
            pad = MARGIN / 2
            area = (0.0, bottom / total, 1.0, height / total)
            figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=pad, h_pad=pad / 2, rect=area))
        left = MARGIN / width
        figure.text(left, 1 - MARGIN / total, title, va="top", fontsize=TITLE, fontweight="bold")
        figure.text(left, MARGIN / total, caption, va="bottom", fontsize=CAPTION, color=QUIET)
        yield figure, top
        around = 0.06  # inches: letters reach a little beyond the area they are laid out in
        rows = f"{round((top - around) * DPI)} {round((top + height + around) * DPI)}"
        with files.replacing(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None, "Rows": rows, **words})


@cache  # words come again and again, and measuring one takes half a millisecond
def _inches(text: str, size: float, weight: str = "normal") -> float:
    """Measure a line of text."""
    font = FontProperties(size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def _wrapped(text: str, room: float, size: float, weight: str = "normal") -> tuple[str, float]:
    """Break `text` into lines that fit into `room` inches; return them, and their height in inches."""
    lines, used = [""], 0.0
    for word in text.split():
        space, width = _inches(" ", size, weight), _inches(word, size, weight)
        if used and used + space + width <= room:
            lines[-1], used = f"{lines[-1]} {word}", used + space + width
        else:
            lines, used = [*lines, word] if used else [word], width
    return "\n".join(lines), len(lines) * 1.25 * size / 72


def short(name: str, length: int) -> str:
    """Return a name as one line of at most `length` characters; "…" stands for what is cut out of its middle.

    Names of a hierarchy ("Tomato___Late_blight", "train/cat/0017.jpg") differ at the end as often as at the beginning.
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    if len(line) <= length:
        return line
    begin, end = length // 2, len(line) - (length - 1) // 2
    return f"{line[:begin].rstrip()}…{line[end:].lstrip()}"


def fitting(before: str, name: str, after: str, width: float) -> str:
    """Return `before` + `name` + `after`, the name shortened so that all fits into `width` inches of small type."""
    if any(bidirectional(letter) in ("R", "AL") for letter in name):
        # Isolate it: as text runs, Arabic and Hebrew letters would turn the order of all that stands around them.
        before, after = f"\u200e{before}\u2068", f"\u2069{after}"
    for length in range(len(name), 1, -1):
        text = before + short(name, length) + after
        if _inches(text, SMALL) <= width:
            return text
    return before + short(name, 1) + after


def percent(share: float, digits: int = 0) -> str:
    """Write a share of 1 in percent."""
    return f"{100 * share:.{digits}f} %"


def in_percent(share: float) -> str:
    """Write a share in at most four letters: "100", ">99", "12", "3.4", "<0.1"."""
    if share >= 0.0995:
        return f"{100 * share:.0f}" if share < 0.995 or share == 1 else ">99"
    return f"{100 * share:.1f}" if share >= 0.0005 else "<0.1"


def percent_tick(share: float, _: float | None = None) -> str:
    """Write a tick's label, with only the decimals that its value has."""
    return f"{round(100 * share, 6):g} %"


def only_bottom(axes: Axes) -> None:
    """Remove the line at the left of horizontal bars and dots, where their names stand."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
