"""Leaving images to a reader: how the error falls as the least confident ones are referred.

Selective classification (Geifman and El-Yaniv, NeurIPS 2017): coverage is the share of images that are
answered, the selective error that of wrong answers among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, exp, lgamma, log

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.intervals import Interval, share_interval

Floats = npt.NDArray[np.float64]
SHARE, ASSURANCE = 0.05, 0.95


def coverage_curve(right: npt.ArrayLike, confidence: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Coverage, error and least confidence at every threshold, from all images answered to the fewest.

    right: bool [N], whether each answer is; confidence: [N]. Three arrays [T]; images of equal confidence are
    answered or referred together. Empty for no image.
    """
    good, sure = np.asarray(right, bool), np.asarray(confidence, np.float64)
    order = np.argsort(-sure, kind="stable")
    good, sure = good[order], sure[order]
    ends = np.flatnonzero(np.diff(sure, append=-np.inf))[::-1]  # the last of each run of equal confidence
    answered = ends + 1.0
    return answered / max(1, len(sure)), np.cumsum(~good)[ends] / answered, sure[ends]


def area_under_curve(right: npt.ArrayLike, confidence: npt.ArrayLike) -> float:
    """Mean selective error over all coverages 1/N, 2/N, ..., 1 (AURC; Geifman et al., ICLR 2019); 0 is best.

    Images of equal confidence share their errors evenly. NaN for no image.
    """
    good, sure = np.asarray(right, bool), np.asarray(confidence, np.float64)
    if len(sure) == 0:
        return float("nan")
    order = np.argsort(-sure, kind="stable")
    _, place, count = np.unique(-sure[order], return_inverse=True, return_counts=True)
    wrong = (np.bincount(place, ~good[order]) / count)[place]
    return float((np.cumsum(wrong) / np.arange(1, len(sure) + 1)).mean())


def confidence_for(confidence: npt.ArrayLike, coverage: float) -> float:
    """The least confidence that answers at least the share `coverage` in 0..1 of images; 0 for no image."""
    sure = np.sort(np.asarray(confidence, np.float64))
    if len(sure) == 0 or coverage >= 1:
        return 0.0
    referred = int(np.floor((1 - coverage) * len(sure) + 1e-9))
    return float(sure[min(referred, len(sure) - 1)])


def error_interval(
    right: npt.ArrayLike, answered: npt.ArrayLike, groups: Sequence[str]
) -> tuple[float | None, Interval]:
    """The share of wrong ones among the `answered` bool [N], and its interval over patients."""
    wrong, kept = ~np.asarray(right, bool), np.asarray(answered, bool)
    interval = share_interval(kept, wrong, groups, np.random.default_rng(0))
    return (float(wrong[kept].mean()) if kept.any() else None), interval


def tolerance_limit(
    values: npt.ArrayLike, patients: int, share: float = SHARE, assurance: float = ASSURANCE
) -> tuple[float, bool]:
    """The limit that at most `share` of new values exceed, with the given assurance, and whether it holds.

    values: [N] of images of so many `patients`; images of one patient are alike, so these are what counts.
    Without any assumption on their distribution (Wilks, Ann. Math. Stat. 12:91, 1941): of n patients as many
    may exceed it as Binomial(n, share) stays at or below with probability 1 - assurance. With too few
    patients (under 59 for 5% and 95%) it is the largest value, and the second answer is False. Infinite
    for no value.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    if len(ordered) == 0:
        return float("inf"), False
    allowed = allowed_exceedances(patients, share, assurance)
    if allowed < 0:
        return float(ordered[-1]), False
    exceed = int(np.floor(allowed / patients * len(ordered) + 1e-9))
    return float(ordered[len(ordered) - 1 - exceed]), True


def allowed_exceedances(count: int, share: float, assurance: float) -> int:
    """The largest m with P(X <= m) <= 1 - assurance for X ~ Binomial(count, share); -1 where none is."""
    total, m = 0.0, -1
    while m < count:
        total += _binomial(count, m + 1, share)
        if total > 1 - assurance:
            return m
        m += 1
    return m


def _binomial(n: int, k: int, p: float) -> float:
    """P(X = k) for X ~ Binomial(n, p), 0 < p < 1."""
    if n < 500:
        return comb(n, k) * p**k * (1 - p) ** (n - k)
    ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return exp(ways + k * log(p) + (n - k) * log(1 - p))
