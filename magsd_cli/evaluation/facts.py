"""All that a report says of a run, worked out once."""

from __future__ import annotations

from magsd_cli.artifacts.operating_point import Appearance, Decision, OperatingPoint

__all__ = ["Appearance", "Decision", "OperatingPoint", "majority_class"]


def majority_class(counts: dict[str, int]) -> str:
    """The commonest class."""
    return max(counts, key=lambda name: counts[name])
