"""ROC and precision-recall curves with bands and intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.intervals import Integers, Interval, bootstrap, weight_chunks, wilson

Floats = npt.NDArray[np.float64]
GRID: Floats = np.linspace(0, 1, 201)  # false positive rates at which a band is known
DRAWS = 2_000  # a band is read by eye: more samples would move it by less than its line's width


class Band(NamedTuple):
    """The lower and upper bounds of a curve at each value of `GRID`, [G] each, in 0..1."""

    low: Floats
    high: Floats


def roc_bands(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    groups: Sequence[str],
    rng: np.random.Generator,
    draws: int = DRAWS,
    level: float = 0.95,
) -> tuple[dict[int, Band], Band | None]:
    """Pointwise bootstrap bands over patients of the ROC curve of each class, and of their mean.

    truth: class numbers [N]; probabilities: [N,K]; groups: the patient of each image, as
    `intervals.patient_weights`. A band is of the sensitivity at each false positive rate of `GRID`; classes
    that every image or none is of have none. Where every sample finds all images of a class the lower bound
    is Wilson's for its patients, since no sample would differ; it never falls again.
    """
    labels, scores = np.asarray(truth, np.int64), np.asarray(probabilities, np.float64)
    classes = [k for k in range(scores.shape[1]) if 0 < (labels == k).sum() < len(labels)]
    parts = [
        np.stack([_sensitivities(labels == k, scores[:, k], weights) for k in classes])
        for weights in (weight_chunks(groups, draws, rng) if classes else ())
    ]
    if not parts:
        return {}, None
    found = np.concatenate(parts, axis=1)  # [classes, D, G]
    people = [_patients(labels == k, groups) for k in classes]
    bands = {
        k: band
        for k, curves, count in zip(classes, found, people, strict=True)
        if (band := _band(curves, count, level)) is not None
    }
    return bands, _band(found.mean(axis=0), min(people), level)


def _sensitivities(positive: npt.NDArray[np.bool_], scores: Floats, weights: Integers) -> Floats:
    """The ROC curve at the rates of `GRID` for each row of weights [D,N]: [D,G]; NaN where undefined."""
    order = np.argsort(-scores, kind="stable")
    cuts = np.flatnonzero(np.diff(scores[order], append=np.inf))
    inside = positive[order]
    drawn = weights[:, order].astype(np.float64)
    true = np.cumsum(drawn * inside, axis=1)[:, cuts]
    false = np.cumsum(drawn * ~inside, axis=1)[:, cuts]
    curves = np.full((len(weights), len(GRID)), np.nan)
    for row, (hits, alarms) in enumerate(zip(true, false, strict=True)):
        if hits[-1] > 0 and alarms[-1] > 0:
            ends = np.append(0, alarms / alarms[-1]), np.append(0, hits / hits[-1])
            curves[row] = np.interp(GRID, *ends)
    return curves


def _band(curves: Floats, patients: int, level: float) -> Band | None:
    known = curves[~np.isnan(curves).any(axis=1)]
    if len(known) * 2 <= len(curves):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], axis=0)
    least = wilson(patients, patients, level).low
    certain = (low == 1) & (GRID < 1)
    low[certain] = np.minimum(low[certain], 1.0 if least is None else least)
    return Band(np.maximum.accumulate(low), high)


def _patients(chosen: npt.NDArray[np.bool_], groups: Sequence[str]) -> int:
    return len({group or i for i, group in enumerate(groups) if chosen[i]})


def precision_recall(positive: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Recall and precision [T] at every threshold that a score is, from the highest to the lowest.

    positive: bool [N]; scores: [N], higher means more likely positive; images of equal score are taken
    together. No point is made up at recall 0. NaN recall where there is no positive image.
    """
    truth, values = np.asarray(positive, bool), np.asarray(scores, np.float64)
    true, called = _counts(truth, values, np.ones((1, len(truth)), np.int64))
    total = int(truth.sum())
    recall = true[0] / total if total else np.full(true.shape[1], np.nan)
    return recall, true[0] / called[0]


def average_precision(positive: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Sum of (R_i - R_(i-1)) P_i over the points of `precision_recall`; NaN without a positive image."""
    count = len(np.asarray(positive))
    return float(weighted_average_precision(positive, scores, np.ones((1, count), np.int64))[0])


def weighted_average_precision(positive: npt.ArrayLike, scores: npt.ArrayLike, weights: Integers) -> Floats:
    """`average_precision` where each image counts as often as its weight says: [D], for weights [D,N]."""
    truth, values = np.asarray(positive, bool), np.asarray(scores, np.float64)
    if len(truth) == 0:
        return np.full(len(weights), np.nan)
    true, called = _counts(truth, values, weights)
    precision = true / np.where(called > 0, called, 1)
    steps = np.diff(true, axis=1, prepend=0.0)
    total = true[:, -1]
    found: Floats = (steps * precision).sum(axis=1) / np.where(total > 0, total, np.nan)
    return found


def average_precision_interval(
    positive: npt.ArrayLike, scores: npt.ArrayLike, groups: Sequence[str], rng: np.random.Generator
) -> Interval:
    """Bootstrap interval over patients of `average_precision`, from `DRAWS` samples."""
    return bootstrap(
        lambda weights: weighted_average_precision(positive, scores, weights), groups, rng, DRAWS
    )


def _counts(truth: npt.NDArray[np.bool_], values: Floats, weights: Integers) -> tuple[Floats, Floats]:
    """Images found and images called [D,T] as the threshold falls over the scores."""
    order = np.argsort(-values, kind="stable")
    cuts = np.flatnonzero(np.diff(values[order], append=np.inf))
    drawn = weights[:, order].astype(np.float64)
    return np.cumsum(drawn * truth[order], axis=1)[:, cuts], np.cumsum(drawn, axis=1)[:, cuts]
