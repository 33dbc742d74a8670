"""The output of every network."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from magsd_cli.errors import UsageError

SMALLEST = {"inception_v3": 75, "narin_inception_v3": 75}  # the others take every size that a recipe may give


class Output(NamedTuple):
    """`logits` [B, K]; `attention` [B, M, h, w], not negative, or None where a network has no such maps.

    `class_maps` [B, K, h, w]: the part of each logit that comes from each pixel (models/class_maps.py); None
    where that was not asked for, or a network has no such split.
    """

    logits: Tensor
    attention: Tensor | None
    class_maps: Tensor | None = None


def check_size(images: Tensor, name: str) -> None:
    """Raise `UsageError` naming the smallest size where images [B, 1, H, W] are too small for it."""
    side, smallest = min(images.shape[2], images.shape[3]), SMALLEST.get(name, 1)
    if side < smallest:
        raise UsageError(
            f"image.size={side}: {name} takes {smallest} px and more; --set image.size={smallest} or larger"
        )
