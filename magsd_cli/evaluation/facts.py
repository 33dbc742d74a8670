"""All that a report says of a run, worked out once."""

from __future__ import annotations


def majority_class(counts: dict[str, int]) -> str:
    """The commonest class."""
    return max(counts, key=lambda name: counts[name])
