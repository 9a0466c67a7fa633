"""Load templates of pages, which escape foreign text and refuse undefined names."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from src.core.files import write_text


def render_page(path: Path, folder: Path, **values: Any) -> None:
    """Write the page that the folder's `page.html.jinja` makes of the values. No line breaks before a %."""
    text = templates(folder).get_template("page.html.jinja").render(values)
    write_text(path, text.replace(" %", "\N{NO-BREAK SPACE}%"))


def templates(folder: Path) -> Environment:
    """Load the templates of a folder. They extend `base.html.jinja`, which has the style sheet of a run's page.

    Every value is escaped, since names of classes and files may hold anything.
    """
    return Environment(
        autoescape=True,
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
