"""Receiver operating characteristic: the curve, and the area under it by ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def roc_curve(positive: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """False positive rate, true positive rate and threshold at every change of the threshold.

    positive: bool [N]; scores: [N], higher means more likely positive. Returns three arrays [T] that start at
    (0, 0) with threshold inf and end at (1, 1); images of equal score are taken together. NaN rates where
    there is no negative, or no positive, image.
    """
    truth, values = np.asarray(positive, bool), np.asarray(scores, np.float64)
    order = np.argsort(-values, kind="stable")
    truth, values = truth[order], values[order]
    cuts = np.flatnonzero(np.diff(values, append=-np.inf))  # the last of each run of equal scores
    true_positives = np.append(0, np.cumsum(truth)[cuts]).astype(np.float64)
    false_positives = np.append(0, np.cumsum(~truth)[cuts]).astype(np.float64)
    thresholds = np.append(np.inf, values[cuts])
    return _share(false_positives, int((~truth).sum())), _share(true_positives, int(truth.sum())), thresholds


def _share(counts: Floats, total: int) -> Floats:
    return counts / total if total else np.full_like(counts, np.nan)


def auc(positive: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    positive: bool [N]; scores: [N]. By ranks (Mann-Whitney), so ties are exact. NaN where one kind is absent.
    """
    truth, values = np.asarray(positive, bool), np.asarray(scores, np.float64)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    rank_sum = float(mid_ranks(values)[truth].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def weighted_auc(positive: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """`auc` where each image counts as often as its weight says: [D], for D rows of weights [D, N] at once.

    positive: bool [N]; scores: [N]. NaN for rows in which one kind has no weight.
    """
    return auc_of_columns(positive, scores, np.ascontiguousarray(np.asarray(weights, np.float64).T))


def auc_of_columns(positive: npt.ArrayLike, scores: npt.ArrayLike, columns: Floats) -> Floats:
    """`weighted_auc` of weights [N, D], a column for each set of them, which is how it is computed: [D].

    The negatives' weights are added up in the order of their scores; each positive then looks up how many it
    beats. Sums of whole weights are exact.
    """
    truth, values = np.asarray(positive, bool), np.asarray(scores, np.float64)
    ours, others = np.flatnonzero(truth), np.flatnonzero(~truth)
    others = others[np.argsort(values[others], kind="stable")]
    below = np.zeros((len(others) + 1, columns.shape[1]))
    np.cumsum(columns[others], axis=0, out=below[1:])
    fewer, no_more = (np.searchsorted(values[others], values[ours], side) for side in ("left", "right"))
    beaten = below[fewer]
    tied = fewer < no_more
    beaten[tied] = (beaten[tied] + below[no_more[tied]]) / 2
    mine = columns[ours]
    pairs = mine.sum(axis=0) * below[-1]
    wins = np.einsum("nd,nd->d", mine, beaten)
    return np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1), np.nan)


def mid_ranks(values: npt.ArrayLike) -> Floats:
    """Ranks from 1 of `values` [N]; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks


def one_vs_rest_auc(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> Floats:
    """AUC of each class against the others: [K], from class numbers [N] and probabilities [N, K]."""
    labels, scores = np.asarray(truth), np.asarray(probabilities)
    return np.array([auc(labels == k, scores[:, k]) for k in range(scores.shape[1])])
