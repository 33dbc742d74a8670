"""Is one classifier better than another, on the same images? Patients and repeats vary; Holm for several.

A repeat is a run with a seed, and folds, of its own. With one run a classifier only patients vary: what is
compared are trained networks. With several, patients and repeats are crossed as cases and readers are in a
multi-reader multi-case study, a repeat being a reader, and what is compared are methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.intervals import (
    DRAWS,
    LEVEL,
    UNKNOWN,
    Interval,
    percentile_interval,
    rate_draws,
    weight_chunks,
)

Floats = npt.NDArray[np.float64]
COMPARED = ("accuracy", "auc")  # what runs are compared by; auc: the mean over the classes


class Sampled(NamedTuple):
    """One figure of one run: its `value`, and its values in bootstrap samples of patients [D]."""

    value: float
    draws: Floats


class Estimate(NamedTuple):
    """A figure's mean over repeats, or of their differences, its interval, and the p of none (two-sided).

    `between_repeats` is the standard deviation of the repeats, None for one; `over_patients` that of one
    repeat's figure over other patients, its standard error. None where undefined.
    """

    value: float | None
    interval: Interval
    p: float | None
    between_repeats: float | None = None
    over_patients: float | None = None


UNDEFINED = Estimate(None, UNKNOWN, None)


def sample_rates(
    truth: npt.ArrayLike,
    probabilities: Sequence[npt.ArrayLike],
    groups: Sequence[str],
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> list[dict[str, Sampled]]:
    """The `COMPARED` figures of several runs on the same images, in the same `draws` samples of patients.

    truth: class numbers [N]; probabilities: [N, K] of each run; groups: the patient of each image [N]. It
    holds for several images a patient too, where McNemar's and DeLong's tests would be too sure of
    themselves.
    """
    everyone = np.ones((1, len(groups)), np.int64)
    points = [rate_draws(truth, each, everyone) for each in probabilities]
    parts: list[list[dict[str, Floats]]] = [[] for _ in probabilities]
    for weights in weight_chunks(groups, draws, rng):
        for each, found in zip(probabilities, parts, strict=True):
            rates = rate_draws(truth, each, weights)
            found.append({name: rates[name] for name in COMPARED})
    return [
        {
            name: Sampled(float(point[name][0]), np.concatenate([part[name] for part in found]))
            for name in COMPARED
        }
        for point, found in zip(points, parts, strict=True)
    ]


def estimate(repeats: Sequence[Sampled], level: float = LEVEL, bounds: Interval = UNKNOWN) -> Estimate:
    """The mean of a figure over its `repeats` (at least one), whose samples are of the same patients.

    One repeat: the percentile interval over patients, and p as twice the smaller share of samples on either
    side of zero (at least 2 / (D + 1)). R repeats: with s^2 the variance of their R values and c the mean
    covariance, over the samples of patients, of two of them, the variance of the mean is s^2 / R + max(c, 0),
    and interval and p are Student's with (R - 1) (s^2 / R + max(c, 0))^2 / (s^2 / R)^2 degrees of freedom:
    Obuchowski and Rockette, Commun. Stat. Simul. 24 (1995), with the degrees of freedom of Hillis, Stat. Med.
    26 (2007), readers and cases random. A few repeats may agree by chance, so neither is taken below what the
    patients alone give: the variance, over their samples, of the mean of these repeats as they are, with a
    normal distribution. A bootstrap of repeats as well would draw from R values, and would
    count what is particular to one image in one repeat three times (Owen, Ann. Appl. Stat. 1 (2007)).
    `bounds` cut the interval (0 and 1 for a rate). `UNDEFINED` where a value, or most samples, are NaN.
    """
    values = np.array([repeat.value for repeat in repeats])
    draws = np.stack([repeat.draws for repeat in repeats])
    known = ~np.isnan(draws).any(axis=0)
    if np.isnan(values).any() or known.sum() * 2 <= draws.shape[1]:
        return UNDEFINED
    draws = draws[:, known]
    covariance = np.atleast_2d(np.cov(draws))
    patients = float(np.sqrt(np.diagonal(covariance).mean()))
    if len(repeats) == 1:
        interval = percentile_interval(draws[0], level)
        return Estimate(float(values[0]), interval, _sign_share(draws[0]), None, patients)
    count, mean, variance = len(values), float(values.mean()), float(values.var(ddof=1))
    shared = max(0.0, float(covariance[~np.eye(count, dtype=bool)].mean()))
    total = variance / count + shared
    crossed, p = _student(mean, total, variance / count, count, level)
    least, least_p = _student(mean, float(draws.mean(axis=0).var(ddof=1)), 0.0, count, level)
    widest = Interval(min(crossed[0], least[0]), max(crossed[1], least[1]))
    return Estimate(mean, _cut(widest, bounds), max(p, least_p), math.sqrt(variance), patients)


def _student(
    mean: float, variance: float, of_repeats: float, count: int, level: float
) -> tuple[tuple[float, float], float]:
    """Student's interval around `mean`, and p; `of_repeats` is the part of `variance` known from `count`."""
    from scipy.special import stdtr, stdtrit  # localize compares without repeats, on hosts without SciPy too

    if variance <= 0:  # every repeat and every sample says the same
        return (mean, mean), float(mean == 0)
    # Without a part of the repeats it is the normal distribution, to any digit shown.
    freedom = min(1e9, (count - 1) * (variance / of_repeats) ** 2) if of_repeats > 0 else 1e9
    error = math.sqrt(variance)
    half = float(stdtrit(freedom, 0.5 + level / 2)) * error
    return (mean - half, mean + half), float(2 * stdtr(freedom, -abs(mean) / error))


def _cut(interval: Interval, bounds: Interval) -> Interval:
    low, high = interval
    if low is not None and bounds.low is not None:
        low = max(low, bounds.low)
    if high is not None and bounds.high is not None:
        high = min(high, bounds.high)
    return Interval(low, high)


def difference(first: Sequence[Sampled], second: Sequence[Sampled], level: float = LEVEL) -> Estimate:
    """`estimate` of first minus second, repeat by repeat: the same number of them, on the same samples."""
    pairs = zip(first, second, strict=True)
    return estimate([Sampled(a.value - b.value, a.draws - b.draws) for a, b in pairs], level)


def _sign_share(differences: Floats) -> float:
    smaller = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(differences) + 1))


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
