"""Templates of pages, in which foreign text is escaped and an undefined name is an error."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def templates(folder: Path) -> Environment:
    """Load the templates of a folder. They may include `page.css.jinja` of this one, the style sheet of a run's page.

    Every value is escaped: class and file names may hold anything.
    """
    return Environment(
        autoescape=True,
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
