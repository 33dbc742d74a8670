"""Section 4.4.6: from an attention map to the region that it marks on the image.

The paper says: upsampled to the image, thresholded (the mask), enclosed by a rectangle (the box). Open there
and settled here: the map is stretched to 0..1 over the image first, because a mean of many maps has a floor
that says nothing about place; the mask is everything over the threshold, because an infection may have
several foci; the box encloses only one connected part, because one far speck would stretch the box over
healthy lung, and the public boxes mark one finding each: the largest part, or the one with the maximum.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.data.film import Frame
from magsd_cli.settings import BoxRule

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """`attention` float32 [H,W] in 0..1; `mask` bool [H,W]; `box` (x, y, width, height) or None if empty."""

    attention: Floats = field(repr=False)
    mask: Mask = field(repr=False)
    box: Box | None

    @property
    def area_share(self) -> float:
        """The share of the image that the mask covers, in 0..1."""
        return float(self.mask.mean())


def find_region(
    attention: Floats, shape: tuple[int, int], threshold: float, rule: str = BoxRule.largest
) -> Region:
    """The region that `attention` [h,w] (as the network gives it) marks on an image of `shape` (H, W).

    threshold: share of the map's maximum, in 0..1; rule: of which part the box is. A map without any
    difference marks nothing.
    """
    stretched = stretch(upsample(attention, shape))
    mask = cut(stretched, threshold)
    return Region(stretched, mask, part_boxes(mask, stretched)[rule])


def cut(stretched: Floats, threshold: float) -> Mask:
    """Where a map [H,W] in 0..1 is at `threshold` or over it; never where it is 0."""
    return np.asarray((stretched >= threshold) & (stretched > 0))


def share_inside(attention: Floats, mask: Mask, frame: Frame | None = None) -> float:
    """The share of `attention` [h,w], as the network gives it, that falls into `mask` [H,W]; in 0..1.

    frame: outside it the network saw nothing, and so there is no attention. A map without any attention has
    no preference: it gives the mask's share of the image.
    """
    wide = np.clip(upsample(attention, (mask.shape[0], mask.shape[1])), 0, None).astype(np.float64)
    if frame is not None:
        shown = np.zeros_like(wide)
        shown[frame.place] = wide[frame.place]
        wide = shown
    total = float(wide.sum())
    return float(wide[mask].sum()) / total if np.isfinite(total) and total > 0 else float(mask.mean())


CANVAS = 256  # cells of the longer side of a map that was laid on a film


def lay_on_film(attention: Floats, frame: Frame | None, shape: tuple[int, int]) -> Floats:
    """A map [h,w] of the part `frame` of a film of `shape` (H, W) as one of the whole film [h2,w2].

    Where the network saw nothing the map has its least value: it says nothing of the place there. At most
    `CANVAS` cells a side, so that memory stays flat; without a frame the map stays as it is.
    """
    if frame is None:
        return attention
    scale = min(1.0, CANVAS / max(shape))
    rows, columns = (max(1, round(side * scale)) for side in shape)
    y, inside_y = _cells(rows, shape[0], frame.y, frame.height, attention.shape[0])
    x, inside_x = _cells(columns, shape[1], frame.x, frame.width, attention.shape[1])
    grid_x, grid_y = np.meshgrid(x, y)
    laid = cv2.remap(
        attention.astype(np.float32), grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    inside = inside_y[:, None] & inside_x[None, :]
    return np.where(inside, laid, np.float32(attention.min())).astype(np.float32)


def _cells(
    count: int, pixels: int, start: int, length: int, cells: int
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Of `count` cells along a side of `pixels`: where their middles lie among the `cells` of a map over
    start..start + length, and whether they lie inside.
    """
    middle = (np.arange(count) + 0.5) * pixels / count - start
    return (middle * cells / length - 0.5).astype(np.float32), (middle >= 0) & (middle < length)


def upsample(attention: Floats, shape: tuple[int, int]) -> Floats:
    """Bilinear, [h,w] -> [H,W]: the cells of the map tile the image, which was squeezed to a square."""
    height, width = shape
    wide = cv2.resize(attention.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide, np.float32)


def stretch(attention: Floats) -> Floats:
    """Minimum to 0, maximum to 1; all zeros where there is no difference (or nothing finite)."""
    low, high = float(attention.min()), float(attention.max())
    if not np.isfinite(high - low) or high - low <= 1e-12 * max(1.0, abs(high)):
        return np.zeros_like(attention)
    return (attention - low) / np.float32(high - low)


def part_boxes(mask: Mask, stretched: Floats) -> dict[str, Box | None]:
    """By each `BoxRule` the box (x, y, width, height) around an 8-connected part of `mask` [H,W].

    `largest`: the part with the most pixels; `maximum`: the one that holds the maximum of `stretched` [H,W],
    the first of several equal ones. None where the mask is empty.
    """
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return {BoxRule.largest: None, BoxRule.maximum: None}
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    peak = int(parts.ravel()[int(np.argmax(stretched))])
    return {BoxRule.largest: _box(stats[largest]), BoxRule.maximum: _box(stats[peak])}


def _box(stats: npt.NDArray[np.int32]) -> Box:
    x, y, width, height = (float(value) for value in stats[:4])
    return x, y, width, height
