"""From a network's map to two lungs, and from two lungs to the part of the film that is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]

THRESHOLD = 0.5
#: Two lungs that touch at `THRESHOLD` are told apart at the first of these where there are two parts.
SHARPER = (THRESHOLD, 0.8, 0.95)
LEAST_AREA = 0.015  # of the film that a lung covers at least
LEAST_RATIO = 0.2  # of the larger lung that the smaller one covers at least
LEAST_APART = 0.15  # of the width between the two lungs' centres at least
LEAST_BESIDE = 0.3  # of the shorter lung's height that the other one lies beside
MARGIN = 0.04  # of the film's sides that is kept around the lungs
WIDENED = 0.02  # of the film's sides by which a mask is wider than the lungs


class Frame(NamedTuple):
    """A part of a film in its pixels: whole numbers, `x` and `y` of the upper left corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def place(self) -> tuple[slice, slice]:
        """The rows and columns of the film that it is."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def on(self, shape: tuple[int, int], other: tuple[int, int]) -> Frame:
        """The same part of a film of another shape (H, W), to whole pixels."""
        x, width = (round(value * other[1] / shape[1]) for value in (self.x, self.width))
        y, height = (round(value * other[0] / shape[0]) for value in (self.y, self.height))
        return Frame(x, y, width, height)


@dataclass(frozen=True)
class Lungs:
    """Two lungs on a film of `shape` (H, W): `region` bool [S,S], the film squeezed to a square."""

    region: Mask = field(repr=False)
    shape: tuple[int, int]

    @property
    def frame(self) -> Frame:
        """The box around both lungs and `MARGIN`, inside the film."""
        (height, width), side = self.shape, self.region.shape[0]
        rows, columns = (np.flatnonzero(self.region.any(axis=axis)) for axis in (1, 0))
        top, bottom = _stretch(int(rows[0]), int(rows[-1]) + 1, side, height)
        left, right = _stretch(int(columns[0]), int(columns[-1]) + 1, side, width)
        return Frame(left, top, right - left, bottom - top)

    def on_film(self) -> Mask:
        """The lungs in the film's pixels, bool [H,W]."""
        return self._stretched(self.region.astype(np.uint8))

    def outside(self) -> Mask:
        """What of the frame is neither lung nor within `WIDENED` of one, bool [height, width]."""
        reach = 2 * round(WIDENED * self.region.shape[0]) + 1
        shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        wide = cv2.dilate(self.region.astype(np.uint8), shape)
        return ~self._stretched(np.asarray(wide, np.uint8))[self.frame.place]

    def _stretched(self, region: Pixels) -> Mask:
        height, width = self.shape
        film = cv2.resize(region.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(film >= THRESHOLD, bool)


def _stretch(first: int, end: int, side: int, pixels: int) -> tuple[int, int]:
    """The cells first..end of `side` with the margin, as pixels of a side of `pixels`."""
    low = max(0.0, first / side - MARGIN) * pixels
    high = min(1.0, end / side + MARGIN) * pixels
    # A hair of rounding must not take a further row of pixels.
    return int(np.floor(low + 1e-6)), int(np.ceil(high - 1e-6))


def two_lungs(probabilities: Floats, shape: tuple[int, int]) -> Lungs | None:
    """The two lungs on a film of `shape`, by the network's map [S,S] in 0..1; None where there are not two.

    Two parts that lie side by side, neither of them tiny (the constants above). Other parts, such as a
    stomach's air, are dropped.
    """
    number, parts = _parts(probabilities, THRESHOLD)
    for threshold in SHARPER:
        pair = _pair(probabilities >= threshold)
        if pair is not None:
            chosen = np.unique(parts[pair])
            return Lungs(np.isin(parts, chosen[chosen > 0]) if number else pair, shape)
    return None


def _parts(probabilities: Floats, threshold: float) -> tuple[int, npt.NDArray[np.int32]]:
    number, parts = cv2.connectedComponents((probabilities >= threshold).astype(np.uint8), connectivity=4)
    return number - 1, np.asarray(parts, np.int32)


def _pair(mask: Mask) -> Mask | None:
    """The two largest parts of `mask` [S,S] where they can be two lungs, else None."""
    count, parts, boxes, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 3:
        return None
    areas = boxes[1:, cv2.CC_STAT_AREA]
    one, other = 1 + np.argsort(-areas, kind="stable")[:2]
    small, large = float(boxes[other, cv2.CC_STAT_AREA]), float(boxes[one, cv2.CC_STAT_AREA])
    apart = abs(float(centres[one, 0] - centres[other, 0])) / mask.shape[1]
    tops = boxes[[one, other], cv2.CC_STAT_TOP]
    heights = boxes[[one, other], cv2.CC_STAT_HEIGHT]
    beside = float((tops + heights).min() - tops.max()) / float(heights.min())
    fits = (
        small >= LEAST_AREA * mask.size
        and small >= LEAST_RATIO * large
        and apart >= LEAST_APART
        and beside >= LEAST_BESIDE
    )
    return np.asarray((parts == one) | (parts == other), bool) if fits else None
