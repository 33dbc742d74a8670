"""The choice of map, box rule and threshold: as given, or on other folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from magsd_cli.data.film import Frame
from magsd_cli.localization.measure import (
    BOXES,
    IOU,
    MASK,
    AttendedImage,
    KnownTruth,
    Maps,
    box_fit,
)
from magsd_cli.localization.regions import cut, part_boxes, share_inside, stretch, upsample
from magsd_cli.localization.zones import zone_correlation
from magsd_cli.metrics.iou import mask_iou
from magsd_cli.settings import BoxRule, Map

Floats = npt.NDArray[np.float64]
GIVEN, CHOSEN, DEFAULT = "given", "chosen", "default"
LEAST = 10  # images on which a choice may be made
DEFAULT_THRESHOLD = 0.5
THRESHOLDS: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(1, 20))
BRIGHTNESS = "brightness"  # the control that is a map of the film itself
NETWORKS = "networks"  # the source of the maps that are measured; the others are controls


class Threshold(NamedTuple):
    """A share of the attention's range, where it is from, and how many images chose it."""

    value: float
    source: str
    images: int | None = None


class Choice(NamedTuple):
    """What is marked: which map, by which box rule, from which threshold on.

    `chosen_on`: the images on which what was not given was chosen; None where nothing was.
    """

    map: str
    rule: str
    threshold: Threshold
    chosen_on: int | None = None


@dataclass(frozen=True)
class Candidates:
    """What there is to choose from; `threshold` where it is given. The first of each is the default."""

    maps: tuple[str, ...] = (Map.attention.value,)
    rules: tuple[str, ...] = (BoxRule.largest.value,)
    threshold: float | None = None

    def thresholds(self, kind: str | None) -> tuple[float, ...]:
        """The thresholds for a kind of truth: zones and lungs are measured without one."""
        if self.threshold is not None:
            return (self.threshold,)
        return THRESHOLDS if kind in IOU else (DEFAULT_THRESHOLD,)


def box_rules(wanted: str) -> tuple[str, ...]:
    """The rule that is wanted, or with `BoxRule.chosen` all of them."""
    if wanted == BoxRule.chosen:
        return (BoxRule.largest.value, BoxRule.maximum.value)
    return (BoxRule(wanted).value,)


@dataclass(frozen=True)
class PendingImage:
    """An image with truth, until all of them are known: choices and controls need the others.

    `maps`: what each source says of it, the `NETWORKS` and each control that has maps; `fits`: for each of
    them how well each candidate fits (`candidate_fits`).
    """

    attended: AttendedImage
    known: KnownTruth
    maps: Mapping[str, Maps] = field(repr=False)
    fits: Mapping[str, Floats] = field(repr=False)


def pending_image(
    attended: AttendedImage, known: KnownTruth, controls: Mapping[str, Maps], candidates: Candidates
) -> PendingImage:
    """An image with truth, and how well each candidate fits it, for the networks and each control."""
    maps = {NETWORKS: attended.maps, **controls}
    frames = dict.fromkeys(maps, attended.view.frame) | {BRIGHTNESS: None}  # of the whole film
    fits = {
        source: candidate_fits(found, known, candidates, frames[source]) for source, found in maps.items()
    }
    return PendingImage(attended, known, maps, fits)


def candidate_fits(
    maps: Maps, known: KnownTruth, candidates: Candidates, frame: Frame | None = None
) -> Floats:
    """How well each map, box rule and threshold fits what is known of an image: [M,R,T].

    The IoU that counts for the kind of truth (eq. 12); for zones the rank correlation, for lungs the share
    inside, whatever the rule and the threshold. frame: the part of the film that the maps are of.
    """
    thresholds = candidates.thresholds(known.kind)
    shape = (len(candidates.rules), len(thresholds))
    if known.finding is not None:
        return np.stack([_iou_fits(maps[name], known, candidates) for name in candidates.maps])
    found = []
    for name in candidates.maps:
        value = 0.0
        if known.zones is not None:
            value = zone_correlation(maps[name], known.zones)
        elif known.lungs is not None:
            value = share_inside(maps[name], known.lungs, frame)
        found.append(np.full(shape, value))
    return np.stack(found)


def _iou_fits(values: npt.NDArray[np.float32], known: KnownTruth, candidates: Candidates) -> Floats:
    finding = known.finding
    assert finding is not None
    stretched = stretch(upsample(values, (finding.mask.shape[0], finding.mask.shape[1])))
    columns = []
    for threshold in candidates.thresholds(known.kind):
        mask = cut(stretched, threshold)
        if known.kind == MASK:
            columns.append([mask_iou(mask, finding.mask)] * len(candidates.rules))
            continue
        boxes = part_boxes(mask, stretched)
        columns.append([box_fit(boxes[rule], finding) for rule in candidates.rules])
    return np.array(columns, np.float64).T


def choices(
    pending: Mapping[Path, PendingImage], candidates: Candidates, source: str = NETWORKS
) -> dict[Path, Choice]:
    """What is marked of each image: what is given, the rest as fits its kind of truth best on other folds.

    The images of the other folds count as the run's networks attended to them: in a cross-validation each by
    the network that never saw it. An image that is scored never takes part in the choice of what it is scored
    with. Where fewer than `LEAST` images could choose, it is the first map and rule, and `DEFAULT_THRESHOLD`.
    """
    made: dict[tuple[str | None, int | None], Choice] = {}
    found = {}
    for path, one in pending.items():
        group = (one.known.kind, one.attended.home)
        if group not in made:
            fits = [
                other.fits[source]
                for other in pending.values()
                if group[0] and other.known.kind == group[0] and other.attended.home not in (None, group[1])
            ]
            made[group] = choose(fits, candidates, group[0])
        found[path] = made[group]
    return found


def choose(fits: Sequence[Floats], candidates: Candidates, kind: str | None) -> Choice:
    """The candidate with the largest mean over images of `fits` [M,R,T].

    Of equals the first map, then the first rule, then the middle threshold.
    """
    values = candidates.thresholds(kind)
    open_threshold = len(values) > 1
    source = GIVEN if candidates.threshold is not None else DEFAULT
    several = open_threshold or len(candidates.maps) > 1 or (len(candidates.rules) > 1 and kind == BOXES)
    if not several or len(fits) < LEAST:
        value = DEFAULT_THRESHOLD if open_threshold else values[0]
        return Choice(candidates.maps[0], candidates.rules[0], Threshold(value, source))
    mean = np.mean(fits, axis=0)
    best = np.argwhere(mean >= mean.max() - 1e-12)
    which, rule = best[0][:2]
    equal = best[(best[:, :2] == best[0][:2]).all(axis=1)]
    value = values[int(equal[len(equal) // 2][2])]
    count = len(fits)
    threshold = Threshold(value, CHOSEN, count) if open_threshold else Threshold(value, source)
    return Choice(candidates.maps[int(which)], candidates.rules[int(rule)], threshold, count)


def default_choice(candidates: Candidates) -> Choice:
    """What is marked of an image of which nothing is known."""
    return choose([], candidates, None)
