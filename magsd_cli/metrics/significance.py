"""Is one model better than another, on the same images? Paired tests, and Holm's rule for several of them."""

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


class Comparison(NamedTuple):
    """First model minus second, its interval, and the two-sided p of no difference; None where undefined."""

    difference: float | None
    interval: Interval
    p: float | None


UNDEFINED = Comparison(None, UNKNOWN, None)


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

    truth: class numbers [N]; first, second: probabilities [N, K]; groups: the patient of each image [N]. It
    holds for several images a patient too, where McNemar's and DeLong's tests would be too sure of
    themselves. p is twice the smaller share of samples on either side of no difference (at least
    2 / (draws + 1)).
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
