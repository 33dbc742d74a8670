"""Is one model better than another, on the same images? Paired tests, and Holm's rule for several of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.intervals import (
    DRAWS,
    LEVEL,
    UNKNOWN,
    Interval,
    normal_quantile,
    percentile_interval,
    rate_draws,
    weight_chunks,
    wilson,
)
from magsd_cli.metrics.roc import mid_ranks

Floats = npt.NDArray[np.float64]


class Comparison(NamedTuple):
    """First model minus second, its interval, and the two-sided p of no difference; None where undefined."""

    difference: float | None
    interval: Interval
    p: float | None


UNDEFINED = Comparison(None, UNKNOWN, None)


def mcnemar(first_right: npt.ArrayLike, second_right: npt.ArrayLike, level: float = LEVEL) -> Comparison:
    """McNemar's exact test of two accuracies on the same images, one image a patient.

    Both: bool [N], whether each image was called right. Only images on which the models differ count: if the
    models are equally good, which of them is right there is a fair coin. Undefined for N = 0.
    """
    ours, theirs = np.asarray(first_right, bool), np.asarray(second_right, bool)
    if len(ours) == 0:
        return UNDEFINED
    first, second = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    tail = sum(math.comb(first + second, k) for k in range(min(first, second) + 1)) * 2
    p = min(1.0, tail / 2 ** (first + second))
    return Comparison((first - second) / len(ours), _paired_interval(ours, theirs, level), p)


def _paired_interval(ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_], level: float) -> Interval:
    """Newcombe's square-and-add interval of a difference of paired proportions (Stat. Med. 17, 1998).

    The distances of each proportion to its Wilson bounds are added as vectors, at the angle that the
    correlation phi of the two gives.
    """
    total, first, second = len(ours), int(ours.sum()), int(theirs.sum())
    both = int((ours & theirs).sum())
    product = math.sqrt(first * (total - first) * second * (total - second))
    phi = (both * total - first * second) / product if product else 0.0
    low1, high1 = _distances(first, total, level)
    low2, high2 = _distances(second, total, level)
    difference = (first - second) / total
    below = math.sqrt(max(0.0, low1**2 - 2 * phi * low1 * high2 + high2**2))
    above = math.sqrt(max(0.0, high1**2 - 2 * phi * high1 * low2 + low2**2))
    return Interval(max(-1.0, difference - below), min(1.0, difference + above))


def _distances(successes: int, total: int, level: float) -> tuple[float, float]:
    low, high = wilson(successes, total, level)
    assert low is not None
    assert high is not None
    return successes / total - low, high - successes / total


def delong(
    positive: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, level: float = LEVEL
) -> Comparison:
    """DeLong's test of two AUCs on the same images, one image a patient.

    positive: bool [N]; first, second: the models' scores [N]. Undefined with fewer than two positives or
    negatives; p is 1 for models that rank alike. DeLong et al., Biometrics 44 (1988); by mid-ranks as Sun and
    Xu, IEEE Signal Process. Lett. 21 (2014).
    """
    truth = np.asarray(positive, bool)
    if truth.sum() < 2 or (~truth).sum() < 2:
        return UNDEFINED
    of_positives, of_negatives = _placements(truth, np.stack([first, second]))
    difference = float(of_positives.mean(axis=1) @ [1.0, -1.0])
    spread = _contrast_variance(of_positives) + _contrast_variance(of_negatives)
    if (
        spread <= 1e-18
    ):  # no image tells the models apart, or all do by the same amount: no variance to judge by
        return Comparison(difference, UNKNOWN, 1.0 if abs(difference) < 1e-12 else None)
    error = math.sqrt(spread)
    p = 2 * NormalDist().cdf(-abs(difference) / error)
    half = normal_quantile(level) * error
    return Comparison(difference, Interval(max(-1.0, difference - half), min(1.0, difference + half)), p)


def delong_interval(positive: npt.ArrayLike, scores: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """DeLong's interval of one AUC, on the logit scale so that it stays within 0..1.

    Unknown with fewer than two positives or negatives, and for an AUC of exactly 0 or 1, whose variance is
    estimated as zero: an interval without width would claim certainty.
    """
    truth = np.asarray(positive, bool)
    if truth.sum() < 2 or (~truth).sum() < 2:
        return UNKNOWN
    of_positives, of_negatives = _placements(truth, np.asarray(scores, np.float64)[None])
    area = float(of_positives.mean())
    if not 0 < area < 1:
        return UNKNOWN
    variance = of_positives.var(ddof=1) / of_positives.size + of_negatives.var(ddof=1) / of_negatives.size
    half = normal_quantile(level) * math.sqrt(variance) / (area * (1 - area))
    middle = math.log(area / (1 - area))
    return Interval(1 / (1 + math.exp(-middle + half)), 1 / (1 + math.exp(-middle - half)))


def _placements(truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> tuple[Floats, Floats]:
    """The share of negatives that each positive beats, and of positives that beat each negative.

    scores: [R, N]. Ties count half. Returns [R, positives] and [R, negatives]; the mean of either is the AUC.
    """
    of_positives, of_negatives = [], []
    for values in scores:
        together = mid_ranks(values)
        ours, others = values[truth], values[~truth]
        of_positives.append((together[truth] - mid_ranks(ours)) / len(others))
        of_negatives.append(1 - (together[~truth] - mid_ranks(others)) / len(ours))
    return np.stack(of_positives), np.stack(of_negatives)


def _contrast_variance(placements: Floats) -> float:
    """Variance of the mean of (first - second) over the placements [2, n]."""
    return float(np.var(placements[0] - placements[1], ddof=1) / placements.shape[1])


def compare_rates(
    truth: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    groups: Sequence[str],
    rng: np.random.Generator,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> dict[str, Comparison]:
    """Differences of every metric between two models by the bootstrap over patients, paired by image.

    truth: class numbers [N]; first, second: probabilities [N, K]; groups: the patient of each image [N]. The
    way for several images a patient, where McNemar's and DeLong's tests would be too sure of themselves. p is
    twice the smaller share of samples on either side of no difference (at least 2 / (draws + 1)).
    """
    every = np.ones((1, len(groups)), np.int64)
    parts = [
        [rate_draws(truth, probabilities, weights) for probabilities in (first, second)]
        for weights in weight_chunks(groups, draws, rng)
    ]
    points = [rate_draws(truth, probabilities, every) for probabilities in (first, second)]
    found = {}
    for name in parts[0][0]:
        difference = float(points[0][name][0] - points[1][name][0])
        apart = np.concatenate([ours[name] - theirs[name] for ours, theirs in parts])
        found[name] = (
            UNDEFINED
            if math.isnan(difference)
            else Comparison(difference, percentile_interval(apart, level), _sign_share(apart))
        )
    return found


def _sign_share(differences: Floats) -> float | None:
    known = differences[~np.isnan(differences)]
    if len(known) * 2 <= len(differences):
        return None
    smaller = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(known) + 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment: p-values that may each be compared with 0.05 although they are several.

    The i-th smallest of m is multiplied by m - i + 1, never falling below the one before it, at most 1. None
    stays None and does not count. Holm, Scand. J. Stat. 6 (1979).
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted
