"""Words for messages: numbers with their nouns, and lists that stay short."""

from collections.abc import Sequence


def counted(number: int, thing: str) -> str:
    """Return `2 images`, `1 image`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(items: Sequence[str], most: int = 10) -> str:
    """Join the first items, and say how many more there are."""
    return ", ".join(items[:most]) + (f" and {len(items) - most:,} more" if len(items) > most else "")


def quoted(names: Sequence[str], most: int = 10) -> str:
    """Join the first names, each in quotes, and say how many more there are."""
    return listed([repr(name) for name in names], most)
