"""What every network returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """`logits` [B, K]; `attention` [B, M, h, w], not negative, or None where a network has no such maps."""

    logits: Tensor
    attention: Tensor | None
