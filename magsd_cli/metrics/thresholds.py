"""A threshold on one class's probability: chosen for a sensitivity or specificity, and what it then achieves.

An image is called positive where the probability is at least the threshold. The images on which a threshold
was chosen flatter it; `cross_fitted_decisions` scores each fold with the threshold of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.calibration import apply_temperature, fit_temperature
from magsd_cli.metrics.intervals import Integers, Interval, bootstrap, share_interval, weighted_share

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
SENSITIVITY, SPECIFICITY = "sensitivity", "specificity"


class ThresholdTarget(NamedTuple):
    """Class number `positive` is to be found with at least `value` of `rate` (sensitivity or specificity)."""

    positive: int
    rate: str
    value: float


class Achieved(NamedTuple):
    """Sensitivity and specificity in 0..1 with their intervals over patients; None where undefined."""

    sensitivity: float | None
    specificity: float | None
    sensitivity_interval: Interval
    specificity_interval: Interval


def choose_threshold(positive: npt.ArrayLike, scores: npt.ArrayLike, rate: str, value: float) -> float | None:
    """The threshold that gives at least `value` of `rate` on these images, and most of the other rate.

    positive: bool [N]; scores: [N] in 0..1; an image counts as found where score >= threshold. It lies midway
    between two scores. None where no image is positive (sensitivity) or none negative (specificity).
    """
    truth, values = np.asarray(positive, bool), np.asarray(scores, np.float64)
    own = np.sort(values[truth] if rate == SENSITIVITY else values[~truth])
    if len(own) == 0:
        return None
    needed = min(len(own), int(np.ceil(value * len(own) - 1e-9)))
    if rate == SENSITIVITY:
        last = own[len(own) - needed] if needed else np.inf  # the lowest score that must be found
        below = values[values < last]
        return float((last + (below.max() if len(below) else 0)) / 2) if needed else 1.0
    if needed == 0:
        return 0.0
    last = own[needed - 1]  # the highest score that must not be
    above = values[values > last]
    return float((last + above.min()) / 2) if len(above) else float(np.nextafter(last, 2))


def cross_fitted_decisions(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, folds: npt.ArrayLike, target: ThresholdTarget
) -> Booleans | None:
    """Return whether each image is called positive [N] by the temperature and threshold that the other folds
    chose.

    truth: class numbers [N]; probabilities: as the networks say, [N,K]; folds: [N]. None with one fold, or
    where the others of a fold have no image to choose a threshold on.
    """
    labels, scores = np.asarray(truth, np.int64), np.asarray(probabilities, np.float64)
    parts = np.asarray(folds)
    called = np.zeros(len(labels), bool)
    if len(np.unique(parts)) < 2:
        return None
    for fold in np.unique(parts):
        own = parts == fold
        temperature = fit_temperature(labels[~own], scores[~own])
        known = apply_temperature(scores[~own], temperature)[:, target.positive]
        threshold = choose_threshold(labels[~own] == target.positive, known, target.rate, target.value)
        if threshold is None:
            return None
        called[own] = apply_temperature(scores[own], temperature)[:, target.positive] >= threshold
    return called


def achieved(positive: npt.ArrayLike, called: npt.ArrayLike, groups: Sequence[str]) -> Achieved:
    """Return the rates that the decisions `called` bool [N] achieve on images that are `positive` bool [N].

    groups: the patient of each image, for the intervals (bootstrap over patients, 20,000 samples, seed 0).
    """
    truth, calls = np.asarray(positive, bool), np.asarray(called, bool)
    kinds = ((truth, calls), (~truth, ~calls))
    shares = [float(right[kind].mean()) if kind.any() else None for kind, right in kinds]
    bounds = [share_interval(kind, right, groups, np.random.default_rng(0)) for kind, right in kinds]
    return Achieved(shares[0], shares[1], bounds[0], bounds[1])


def predictive_values(
    sensitivity: npt.ArrayLike, specificity: npt.ArrayLike, prevalence: float
) -> tuple[Floats, Floats]:
    """PPV and NPV at a prevalence in 0..1, by Bayes' theorem (Altman and Bland, BMJ 309:102, 1994).

    PPV = se p / (se p + (1 - sp)(1 - p)), NPV = sp (1 - p) / (sp (1 - p) + (1 - se) p); NaN where nothing is
    called so. Any shape.
    """
    se, sp = np.asarray(sensitivity, np.float64), np.asarray(specificity, np.float64)
    true, false = se * prevalence, (1 - sp) * (1 - prevalence)
    cleared, missed = sp * (1 - prevalence), (1 - se) * prevalence
    return _share(true, true + false), _share(cleared, cleared + missed)


def _share(part: Floats, whole: Floats) -> Floats:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def predictive_intervals(
    positive: npt.ArrayLike, called: npt.ArrayLike, groups: Sequence[str], prevalence: float
) -> tuple[Interval, Interval]:
    """Intervals over patients of PPV and NPV at a given `prevalence`; arguments as `achieved`."""
    truth, calls = np.asarray(positive, bool), np.asarray(called, bool)

    def values(weights: Integers, which: int) -> Floats:
        sensitivity = weighted_share(truth, calls, weights)
        specificity = weighted_share(~truth, ~calls, weights)
        return predictive_values(sensitivity, specificity, prevalence)[which]

    ppv, npv = (
        bootstrap(lambda weights, which=which: values(weights, which), groups, np.random.default_rng(0))  # type: ignore[misc]
        for which in (0, 1)
    )
    return ppv, npv
