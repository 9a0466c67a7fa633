"""The report on a change: gathered from two revisions (`gather`), then set as Markdown and as a page (`render`)."""
