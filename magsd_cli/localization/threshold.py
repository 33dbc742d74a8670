"""The threshold of an attention map: as given, or chosen on the images of the other folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.localization.measure import (
    CHOSEN,
    DEFAULT,
    GIVEN,
    THRESHOLDS,
    AttendedImage,
    Finding,
    Threshold,
    kind_of,
    threshold_curve,
)
from magsd_cli.localization.regions import Mask

LEAST = 10  # images on which a threshold may be chosen
Floats = npt.NDArray[np.float32]
DEFAULT_THRESHOLD = 0.5


def best_threshold(curves: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """The threshold with the largest mean IoU, and the number of images that chose it.

    curves: IoU of each image at each of `THRESHOLDS`, [N, T]. Of equals the middle one. None for fewer than
    `LEAST` images, whose choice would be luck.
    """
    if len(curves) < LEAST:
        return None
    mean = np.asarray(curves, np.float64).mean(axis=0)
    best = np.flatnonzero(mean >= mean.max() - 1e-12)
    return THRESHOLDS[int(best[len(best) // 2])], len(curves)


@dataclass(frozen=True)
class PendingImage:
    """An image with truth, until all of them are known: thresholds and controls need the others.

    `lungs` bool [H,W]; `untrained`: attention [h,w] of the untrained networks, None where they could not be
    asked; the curves say how the IoU
    follows the threshold, for the trained and the untrained attention.
    """

    attended: AttendedImage
    finding: Finding | None
    lungs: Mask | None = field(repr=False)
    untrained: Floats | None = field(repr=False)
    curve: tuple[float, ...] = ()
    untrained_curve: tuple[float, ...] = ()


def pending_image(
    attended: AttendedImage, finding: Finding | None, lungs: Mask | None, untrained: Floats | None
) -> PendingImage:
    """An image with truth, and how its IoU would follow the threshold."""
    curves = [
        tuple(threshold_curve(maps, finding)) if finding and maps is not None else ()
        for maps in (attended.attention, untrained)
    ]
    return PendingImage(attended, finding, lungs, untrained, curves[0], curves[1])


def thresholds(
    pending: Mapping[Path, PendingImage], given: float | None, untrained: bool = False
) -> dict[Path, Threshold]:
    """The threshold of each image: as `given`, else the best for its kind of truth on the other folds.

    The images of the other folds count as the run's networks attended to them: in a cross-validation each by
    the network that never saw it. An image that is scored never takes part in the choice of its threshold.
    Where fewer than `LEAST` images could choose, it is `DEFAULT_THRESHOLD`.
    """
    if given is not None:
        return dict.fromkeys(pending, Threshold(given, GIVEN))
    made: dict[tuple[str | None, int | None], Threshold] = {}
    found = {}
    for path, one in pending.items():
        group = (truth_kind(one), one.attended.home)
        if group not in made:
            made[group] = _choose(list(pending.values()), *group, untrained)
        found[path] = made[group]
    return found


def _choose(
    pending: Sequence[PendingImage], kind: str | None, home: int | None, untrained: bool
) -> Threshold:
    choosers = [
        other.untrained_curve if untrained else other.curve
        for other in pending
        if kind and truth_kind(other) == kind and other.attended.home not in (None, home)
    ]
    best = best_threshold(choosers)
    return Threshold(DEFAULT_THRESHOLD, DEFAULT) if best is None else Threshold(best[0], CHOSEN, best[1])


def truth_kind(one: PendingImage) -> str | None:
    """The kind of an image's truth, boxes or a mask; None where it has none."""
    return kind_of(one.finding.kind) if one.finding else None
