"""Draw the images that changed sides into one file, which a user can commit if these photos may be seen."""

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import DATASET, REPORTS
from src.data.prepared import open_split
from src.review.revision import Revision

SHOWN = 10  # images newly wrong, and as many newly right
_A_ROW = 5


def sheet_path(base: Revision, head: Revision) -> Path:
    """Return the path of the sheet of two models; each pair of models has its own."""
    return REPORTS / f"flips-{str(base.model_md5)[:9]}-{str(head.model_md5)[:9]}.webp"


def images_are_here(revision: Revision) -> bool:
    """Tell if data/prepared holds the images that the revision was validated on."""
    return DATASET.is_file() and digest(DATASET) == revision.output(DATASET).get("md5")


def write_sheet(review: Mapping[str, Any], base: Revision, head: Revision) -> Path:
    """Write the sheet, and remove those of other models. Raises `UserError` if there is nothing to draw."""
    if not images_are_here(head):
        raise UserError(f"{DATASET} is missing, or not the one that was validated on: run dvc pull, or dvc repro")
    if not (content := draw_sheet(review)):
        raise UserError("no image of validation changed sides: there is nothing to draw")
    path = sheet_path(base, head)
    for other in REPORTS.glob("flips-*.webp"):
        other.unlink()
    path.write_bytes(content)
    return path


def draw_sheet(review: Mapping[str, Any]) -> bytes | None:
    """Draw the sheet as WebP, newly wrong images above newly right ones, None if no image changed sides."""
    found = review["validation"]["comparison"]
    if not found or not (found["broken"] or found["fixed"]):
        return None
    # Continuous integration has no images, and does not install what draws them.
    from PIL import Image

    from src.figures.sheet import Tile, sheet
    from src.figures.style import add_fonts

    images = open_split("validation").images
    add_fonts(flip[key] for which in ("broken", "fixed") for flip in found[which] for key in ("label", "head", "base"))
    rows = []
    for which, side, words in (("broken", "head", "taken for "), ("fixed", "base", "was taken for ")):
        tiles = [
            Tile(images[flip["index"]], (("is ", flip["label"], ""), (words, flip[side], "")), 1.1, which == "broken")
            for flip in found[which][:SHOWN]
        ]
        rows += [tiles[start : start + _A_ROW] for start in range(0, len(tiles), _A_ROW)]
    counts = f"{len(found['broken']):,} newly wrong, {len(found['fixed']):,} newly right"
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "sheet.png")
        caption = "In frames: newly wrong, those first whose label lost most probability. Without: newly right."
        sheet(picture, rows, counts, caption, columns=1, image_inches=1.1, gap=0.15)
        content = io.BytesIO()
        Image.open(picture).convert("RGB").save(content, "webp", quality=80)
    return content.getvalue()
