"""Load templates of pages, which escape foreign text and refuse undefined names."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def templates(folder: Path) -> Environment:
    """Load the templates of a folder. They may include `page.css.jinja`, the style sheet of a run's page.

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
