"""Eq. 12 and what goes with it: how well a region that was found fits a region that is true.

Masks are bool [H,W]. Boxes are (x, y, width, height) in pixels, (x, y) the upper left corner, as in public
box lists; a pixel is the unit square whose upper left corner is its index.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]


def mask_iou(found: Mask, truth: Mask) -> float:
    """Eq. 12. IoU = |A and B| / |A or B|, of two masks [H,W]; in 0..1, and 0 where both are empty."""
    union = np.count_nonzero(found | truth)
    return float(np.count_nonzero(found & truth) / union) if union else 0.0


def box_iou(found: Box, truth: Box) -> float:
    """Eq. 12. IoU = |A and B| / |A or B|, of two boxes; in 0..1, and 0 where both are empty."""
    width = min(found[0] + found[2], truth[0] + truth[2]) - max(found[0], truth[0])
    height = min(found[1] + found[3], truth[1] + truth[3]) - max(found[1], truth[1])
    shared = max(0.0, width) * max(0.0, height)
    union = found[2] * found[3] + truth[2] * truth[3] - shared
    return shared / union if union > 0 else 0.0


def boxes_mask(boxes: Iterable[Box], shape: tuple[int, int]) -> Mask:
    """The union of `boxes` as a mask [H,W]: every pixel of which a box covers at least a half each way."""
    mask = np.zeros(shape, bool)
    for x, y, width, height in boxes:
        left, top = max(0, round(x)), max(0, round(y))
        mask[top : max(0, round(y + height)), left : max(0, round(x + width))] = True
    return mask


def enclosing_box(mask: Mask) -> Box | None:
    """The smallest box around the pixels of `mask` [H,W]; None when it has none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    left, top = float(columns[0]), float(rows[0])
    return left, top, float(columns[-1] + 1) - left, float(rows[-1] + 1) - top


def pointing_hit(attention: npt.NDArray[np.floating], truth: Mask) -> bool:
    """Return whether the strongest pixel of `attention` [H,W] lies in the true mask [H,W] (the pointing
    game).

    Where several pixels share the maximum, it is the one next to their centre of gravity.
    """
    rows, columns = np.nonzero(attention == attention.max())
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return bool(truth[rows[nearest], columns[nearest]])
