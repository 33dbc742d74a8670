"""The calibration of probabilities: temperature scaling, ECE, Brier score, calibration slope.

Everything works on probabilities [N,K] and class numbers [N]; nothing here may be fitted and scored on the
same images: `cross_fitted` fits on the other folds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.intervals import DRAWS, Integers, Interval, percentile_interval, weight_chunks

Floats = npt.NDArray[np.float64]
BINS = 10
LEAST = 1e-12
_RANGE = (0.05, 20.0)


def log_loss(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of -log p(true class), in nats; probabilities are kept above 1e-12."""
    own = _true_probability(truth, probabilities)
    return float(-np.log(np.clip(own, LEAST, 1)).mean())


def brier(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean over images of sum_k (p_k - [y = k])^2, in 0..2 (Brier 1950)."""
    scores = np.asarray(probabilities, np.float64)
    target = np.eye(scores.shape[1])[np.asarray(truth, np.int64)]
    return float(((scores - target) ** 2).sum(axis=1).mean())


def reliability(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = BINS
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Mean confidence, share right and number of images in each of `bins` equally wide bins of confidence.

    Confidence is the largest probability. Bins are (i/bins, (i+1)/bins]; empty ones have NaN.
    """
    scores = np.asarray(probabilities, np.float64)
    confidence = scores.max(axis=1)
    right = scores.argmax(axis=1) == np.asarray(truth, np.int64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    known = np.where(count > 0, count, 1)
    mean = np.bincount(place, confidence, minlength=bins) / known
    share = np.bincount(place, right, minlength=bins) / known
    return np.where(count > 0, mean, np.nan), np.where(count > 0, share, np.nan), count


def expected_calibration_error(truth: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = BINS) -> float:
    """ECE: sum over bins of n_b / N * |share right - mean confidence| (Guo et al. 2017), in 0..1."""
    mean, share, count = reliability(truth, probabilities, bins)
    used = count > 0
    return float((count[used] * np.abs(share[used] - mean[used])).sum() / max(1, count.sum()))


def apply_temperature(probabilities: npt.ArrayLike, temperature: float) -> Floats:
    """softmax(log p / T): what dividing the logits by the temperature T gives, [N,K]."""
    logits = np.log(np.clip(np.asarray(probabilities, np.float64), LEAST, 1)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def fit_temperature(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """The temperature in 0.05..20 with the least log loss (Guo et al. 2017).

    The loss is convex in 1/T, so a golden-section search over log T finds it. 1.0 for no image.
    """
    if len(np.asarray(truth)) == 0:
        return 1.0
    golden = (np.sqrt(5) - 1) / 2
    low, high = np.log(_RANGE)

    def loss(log_temperature: float) -> float:
        return log_loss(truth, apply_temperature(probabilities, float(np.exp(log_temperature))))

    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(60):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = loss(right)
    return float(np.exp((low + high) / 2))


def cross_fitted(truth: npt.ArrayLike, probabilities: npt.ArrayLike, folds: npt.ArrayLike) -> Floats:
    """Probabilities [N,K], each fold's with the temperature that was fitted on the other folds.

    folds: the fold of each image [N]. With one fold nothing can be fitted: they come back as they are.
    """
    labels, scores = np.asarray(truth, np.int64), np.asarray(probabilities, np.float64)
    parts = np.asarray(folds)
    result = scores.copy()
    if len(np.unique(parts)) < 2:
        return result
    for fold in np.unique(parts):
        own = parts == fold
        result[own] = apply_temperature(scores[own], fit_temperature(labels[~own], scores[~own]))
    return result


def calibration_intervals(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, groups: Sequence[str], rng: np.random.Generator
) -> dict[str, Interval]:
    """95% intervals over patients of `ece`, `brier` and `log_loss`, by the bootstrap (20,000 samples).

    groups: the patient of each image [N]. The ECE of a sample is too high, as that of few images is: the
    scatter within a bin counts as miscalibration. So its interval is the basic bootstrap's, which takes from
    the estimate what the samples add to it (Davison and Hinkley, 1997, eq. 5.6), and not under 0.
    """
    labels, scores = np.asarray(truth, np.int64), np.asarray(probabilities, np.float64)
    squared = ((scores - np.eye(scores.shape[1])[labels]) ** 2).sum(axis=1)
    surprise = -np.log(np.clip(_true_probability(labels, scores), LEAST, 1))
    draws: dict[str, list[Floats]] = {"ece": [], "brier": [], "log_loss": []}
    for weights in weight_chunks(groups, DRAWS, rng):
        total = np.maximum(weights.sum(axis=1), 1)
        draws["ece"].append(_weighted_ece(labels, scores, weights))
        draws["brier"].append(weights @ squared / total)
        draws["log_loss"].append(weights @ surprise / total)
    found = {name: percentile_interval(np.concatenate(parts)) for name, parts in draws.items()}
    low, high = found["ece"]
    if low is not None and high is not None:
        point = expected_calibration_error(labels, scores)
        found["ece"] = Interval(max(0.0, 2 * point - high), max(0.0, 2 * point - low))
    return found


def _weighted_ece(labels: npt.NDArray[np.int64], scores: Floats, weights: Integers) -> Floats:
    """The expected calibration error for each row of weights [D,N]: [D]."""
    confidence = scores.max(axis=1)
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gap = (scores.argmax(axis=1) == labels) - confidence
    sums = weights @ (np.eye(BINS)[place] * gap[:, None])
    result: Floats = np.abs(sums).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
    return result


def calibration_slope(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """1 / T of the temperature that fits these images: 1 is right, below 1 is too sure, above 1 too timid."""
    return 1 / fit_temperature(truth, probabilities)


def _true_probability(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> Floats:
    scores = np.asarray(probabilities, np.float64)
    own: Floats = np.take_along_axis(scores, np.asarray(truth, np.int64)[:, None], axis=1)[:, 0]
    return own
