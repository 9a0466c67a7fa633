"""What a reviewer of a change is told: gathered from two revisions (`gather`), then set as text (`render`)."""
