"""Controls without a map: the whole film, one box for all films, the usual order of the zones.

The last two are chosen for an image on other patients: on the other folds of the run's own images, for an
image that is not the run's on all others. They know nothing of the image itself, but where disease is as a
rule; a map that does not beat them has found no place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.localization.choice import LEAST, PendingImage
from magsd_cli.localization.measure import Finding, measure
from magsd_cli.localization.regions import Box, Mask, Region
from magsd_cli.localization.zones import order_correlation
from magsd_cli.metrics.iou import boxes_mask

Floats = npt.NDArray[np.float64]
GRID = 16  # the one box for all begins and ends at sixteenths of the film's sides


def whole_film(finding: Finding) -> dict[str, float]:
    """Measure what marking the whole film reaches: any point is its strongest, no pixels differ."""
    height, width = finding.mask.shape
    everything = Region(
        np.zeros((height, width), np.float32), np.ones((height, width), bool), (0.0, 0.0, width, height)
    )
    fit = measure(everything, finding)
    return fit | {"pointing": float(finding.mask.mean()), "pixel_auc": 0.5}


def constant_boxes(pending: Mapping[Path, PendingImage]) -> dict[Path, Box]:
    """The box for each image with a finding, (x, y, width, height) in shares of the film's sides.

    Of all boxes of the grid the one with the largest mean IoU with the findings of the same kind that may
    choose; no box where these are fewer than `LEAST`.
    """
    found: dict[Path, Box] = {}
    grid = _grid()
    for kind in {one.known.kind for one in pending.values() if one.known.finding is not None}:
        group = {path: one for path, one in pending.items() if one.known.kind == kind}
        fits = {
            path: _grid_fits(one.known.finding.mask, grid)
            for path, one in group.items()
            if one.known.finding is not None
        }
        for path, mean in _means_of_others(group, fits).items():
            found[path] = _shares(grid[int(np.argmax(mean))])
    return found


def constant_box_fit(box: Box, finding: Finding) -> dict[str, float]:
    """Measure one box, in shares of the film's sides, as box, as mask and as a map that is 1 inside."""
    height, width = finding.mask.shape
    x, y, wide, high = box
    placed = (x * width, y * height, wide * width, high * height)
    mask = boxes_mask([placed], (height, width))
    return measure(Region(mask.astype(np.float32), mask, placed), finding)


def usual_order(pending: Mapping[Path, PendingImage]) -> dict[Path, float]:
    """The rank correlation of each image's severity with the mean severity of the images that may choose.

    Of images with zones; nothing where those that may choose are fewer than `LEAST`.
    """
    group = {path: one for path, one in pending.items() if one.known.zones is not None}
    zones = {path: one.known.zones for path, one in group.items() if one.known.zones is not None}
    severities = {path: np.array(its.scores.severity) for path, its in zones.items()}
    means = _means_of_others(group, severities)
    return {path: order_correlation(mean, zones[path]) for path, mean in means.items()}


def _means_of_others(group: Mapping[Path, PendingImage], values: Mapping[Path, Floats]) -> dict[Path, Floats]:
    """For each image of `group` the mean of the `values` of those that may choose, where they are `LEAST`.

    Of sums, less what may not choose: it stays fast for thousands of images.
    """
    home = {path: one.attended.home for path, one in group.items()}
    same_fold: dict[int | None, list[Path]] = defaultdict(list)
    same_patient: dict[str, list[Path]] = defaultdict(list)
    for path, one in group.items():
        same_fold[home[path]].append(path)
        same_patient[one.attended.patient or f"image {path}"].append(path)
    sums = {fold: np.sum([values[path] for path in paths], axis=0) for fold, paths in same_fold.items()}
    found = {}
    for path, one in group.items():
        mine = home[path]
        folds = [fold for fold in sums if mine is None or fold not in (None, mine)]
        kin = [p for p in same_patient[one.attended.patient or f"image {path}"] if home[p] in folds]
        count = sum(len(same_fold[fold]) for fold in folds) - len(kin)
        if count >= LEAST:
            total = sum((sums[fold] for fold in folds), np.zeros_like(values[path]))
            found[path] = np.asarray((total - sum(values[p] for p in kin)) / count, np.float64)
    return found


def _grid() -> npt.NDArray[np.int64]:
    """Every box on the grid, [B, 4]: left, top, right, bottom in cells."""
    lines = np.arange(GRID + 1)
    starts, ends = (sides.ravel() for sides in np.meshgrid(lines, lines, indexing="ij"))
    spans = np.stack([starts, ends], axis=1)[ends > starts]
    across, down = (np.repeat(spans, len(spans), axis=0), np.tile(spans, (len(spans), 1)))
    return np.stack([across[:, 0], down[:, 0], across[:, 1], down[:, 1]], axis=1)


def _grid_fits(mask: Mask, grid: npt.NDArray[np.int64]) -> Floats:
    """The IoU of each box of the grid with a mask [H,W], both in shares of the film's sides: [B]."""
    cells = cv2.resize(mask.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float64)
    sums = np.zeros((GRID + 1, GRID + 1))
    sums[1:, 1:] = cells.cumsum(axis=0).cumsum(axis=1)
    left, top, right, bottom = grid.T
    shared = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    union = (right - left) * (bottom - top) + sums[-1, -1] - shared
    return np.asarray(shared / union, np.float64)


def _shares(cells: npt.NDArray[np.int64]) -> Box:
    left, top, right, bottom = (float(value) / GRID for value in cells)
    return left, top, right - left, bottom - top
