"""Report on a change: `gather` compares two revisions, and `render` writes what was found."""
