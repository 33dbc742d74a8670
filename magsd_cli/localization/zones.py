"""Severity over six zones of the lungs, and how a map follows it.

The zones are those of the Brixia score (Borghesi and Maroldi, Radiol. Med. 125, 2020): A, B, C are the upper,
middle and lower zone of the patient's right lung, which lies on the image's left, D, E, F those of the other.
Brixia draws its lines by anatomy (the aortic arch, the inferior pulmonary vein). A mask does not show that:
here each lung's mask is cut into three equal heights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.localization.regions import Mask, upsample
from magsd_cli.metrics.association import rank_correlation

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]
ZONES = "ABCDEF"
SMALLEST = 0.1  # a second part of the mask that is smaller than this share of the first is no lung

#: Whether a scored image is measured, and why not.
MEASURED, NO_MASK, NOT_TWO_LUNGS, SAME_SCORES = "measured", "no_lung_mask", "not_two_lungs", "same_scores"


@dataclass(frozen=True)
class ZoneScores:
    """The scores of the six zones of one image, A to F: reader ("" without a name) -> scores."""

    readers: Mapping[str, tuple[float, ...]]

    @property
    def severity(self) -> tuple[float, ...]:
        """The mean of the readers for each zone."""
        return tuple(np.mean(list(self.readers.values()), axis=0).tolist())

    @property
    def agreement(self) -> float | None:
        """The mean rank correlation of two readers; None for one reader, or where one gives no order."""
        pairs = [rank_correlation(one, other) for one, other in combinations(self.readers.values(), 2)]
        known = [pair for pair in pairs if pair is not None]
        return float(np.mean(known)) if known and len(known) == len(pairs) else None


@dataclass(frozen=True)
class Zones:
    """The zones of one image that can be measured: `labels` uint8 [H,W], 1 to 6 for A to F, 0 elsewhere."""

    scores: ZoneScores
    labels: Labels = field(repr=False)


def zones_of(scores: ZoneScores | None, lungs: Mask | None) -> tuple[Zones | None, str | None]:
    """The zones of an image where they can be measured, and `MEASURED` or why not; None without scores."""
    if scores is None:
        return None, None
    if len(set(scores.severity)) < 2:
        return None, SAME_SCORES
    if lungs is None:
        return None, NO_MASK
    labels = zone_labels(lungs)
    return (None, NOT_TWO_LUNGS) if labels is None else (Zones(scores, labels), MEASURED)


def zone_labels(lungs: Mask) -> Labels | None:
    """Return the zone of each pixel: uint8 [H,W], 1 to 6 for A to F, 0 outside the lungs.

    lungs: bool [H,W]. Its two largest connected parts are the lungs, each cut into three equal heights
    between its own first and last row. None without two parts of a like size, or where a zone would be empty.
    """
    count, parts, stats, centres = cv2.connectedComponentsWithStats(lungs.astype(np.uint8), connectivity=8)
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")
    if count < 3 or stats[order[1], cv2.CC_STAT_AREA] < SMALLEST * stats[order[0], cv2.CC_STAT_AREA]:
        return None
    labels = np.zeros(lungs.shape, np.uint8)
    rows = np.arange(lungs.shape[0])
    for side, part in enumerate(sorted(order[:2], key=lambda number: centres[number][0])):
        top, height = (int(stats[part, column]) for column in (cv2.CC_STAT_TOP, cv2.CC_STAT_HEIGHT))
        third = np.clip((rows - top) * 3 // height, 0, 2)
        labels += ((parts == part) * (1 + 3 * side + third)[:, None]).astype(np.uint8)
    return labels if len(np.unique(labels[labels > 0])) == len(ZONES) else None


def zone_means(values: npt.NDArray[np.float32], labels: Labels) -> Floats:
    """The mean of a map [h,w], brought to the image, in each zone of `labels` [H,W]: [6]."""
    wide = upsample(values, (labels.shape[0], labels.shape[1]))
    counts = np.bincount(labels.ravel(), minlength=len(ZONES) + 1)[1:]
    sums = np.bincount(labels.ravel(), wide.ravel().astype(np.float64), minlength=len(ZONES) + 1)[1:]
    return np.asarray(sums / counts, np.float64)


def zone_correlation(values: npt.NDArray[np.float32], zones: Zones) -> float:
    """The rank correlation over the six zones of a map [h,w] with the severity, in -1..1.

    0 for a map that does not tell the zones apart.
    """
    return order_correlation(zone_means(values, zones.labels), zones)


def order_correlation(means: npt.ArrayLike, zones: Zones) -> float:
    """As `zone_correlation`, of six numbers."""
    found = rank_correlation(means, zones.scores.severity)
    return 0.0 if found is None else found
