"""What every network returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """`logits` [B, K]; `attention` [B, M, h, w], not negative, or None for networks without attention maps."""

    logits: Tensor
    attention: Tensor | None
