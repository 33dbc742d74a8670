"""Section 4.3: the rates of a classifier. Each class is counted once; every rate is a function of the counts.

The true class stands in the rows of a confusion matrix, the predicted one in its columns. A class is judged
one against the rest. A rate whose denominator is zero is undefined: NaN for one class, and None with its
reason in `summary`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.roc import one_vs_rest_auc

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Counts(NamedTuple):
    """True and false positives and negatives of each class, int64 [..., K] each."""

    tp: Integers
    fp: Integers
    fn: Integers
    tn: Integers


def confusion_matrix(truth: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> Integers:
    """Count how often true class i was predicted as j: int64 [K, K], from class numbers [N] in 0..K-1."""
    cells = np.asarray(truth, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def class_counts(confusion: Integers) -> Counts:
    """TP, FP, FN and TN of each class from a confusion matrix [K, K], or from many of them [..., K, K]."""
    tp = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.int64)
    fp = confusion.sum(axis=-2) - tp
    fn = confusion.sum(axis=-1) - tp
    return Counts(tp, fp, fn, confusion.sum(axis=(-2, -1))[..., None] - tp - fp - fn)


def accuracy(counts: Counts) -> Floats:
    """Eq. 8. Accuracy = (TP + TN) / (TP + TN + FP + FN), over all classes together: the share called right.

    Every image is a TP of one class or an FN of one, so the share is sum(TP) / sum(TP + FN), in 0..1.
    The mean of the one-against-rest accuracies, (TP + TN) / N of each class, would flatter: TNs count.
    """
    return _ratio(counts.tp.sum(axis=-1), (counts.tp + counts.fn).sum(axis=-1))


def sensitivity(counts: Counts) -> Floats:
    """Eq. 9. Sensitivity = TP / (TP + FN), of each class [K] in 0..1; NaN where the class has no image."""
    return _ratio(counts.tp, counts.tp + counts.fn)


def specificity(counts: Counts) -> Floats:
    """Eq. 10. Specificity = TN / (TN + FP), of each class [K] in 0..1; NaN where there is nothing else.

    The authors' code swaps truth and prediction here and so reports `npv`; this is the paper's equation.
    """
    return _ratio(counts.tn, counts.tn + counts.fp)


def f1(counts: Counts) -> Floats:
    """Eq. 11. F1 = 2 TP / (2 TP + FP + FN), of each class [K]; NaN where it is nowhere."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def precision(counts: Counts) -> Floats:
    """Positive predictive value TP / (TP + FP), of each class [K]; NaN where the class is never predicted."""
    return _ratio(counts.tp, counts.tp + counts.fp)


def npv(counts: Counts) -> Floats:
    """Negative predictive value TN / (TN + FN), of each class [K]; NaN where all are called so."""
    return _ratio(counts.tn, counts.tn + counts.fn)


def _ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> Floats:
    below = np.asarray(below, np.float64)
    known = below > 0
    return np.where(known, np.asarray(above, np.float64) / np.where(known, below, 1.0), np.nan)


def summary(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """All rates of one set of predictions, as plain values for JSON.

    truth: class numbers [N] in 0..K-1; probabilities: [N, K], rows summing to 1 (the arg-max is predicted,
    the first one among equals). Returns `n`, every name of `METRICS` as the macro mean over the classes
    (accuracy: the share called right), `per_class` (a list with `class`, `n` and the same rates),
    `confusion` (rows: truth) and `undefined` (metric -> why it is None).
    """
    labels = np.asarray(truth, np.int64)
    scores = np.asarray(probabilities, np.float64)
    names = list(class_names or [str(i) for i in range(scores.shape[1])])
    confusion = confusion_matrix(labels, scores.argmax(axis=1), scores.shape[1])
    counts = class_counts(confusion)
    by_class = {name: rate(counts) for name, rate in RATES.items()}
    by_class["auc"] = one_vs_rest_auc(labels, scores)
    result: dict[str, Any] = {"n": len(labels), "accuracy": _number(float(accuracy(counts))), "undefined": {}}
    for metric, values in by_class.items():
        absent = [name for name, value in zip(names, values, strict=True) if np.isnan(value)]
        result[metric] = None if absent else float(np.mean(values))
        if absent:
            result["undefined"][metric] = f"{', '.join(absent)}: {UNDEFINED[metric]}"
    if len(labels) == 0:
        result["undefined"]["accuracy"] = "no image"
    result["per_class"] = [
        {"class": name, "n": int(confusion[i].sum()), **{m: _number(v[i]) for m, v in by_class.items()}}
        for i, name in enumerate(names)
    ]
    result["confusion"] = confusion.tolist()
    return result


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


RATES: dict[str, Callable[[Counts], Floats]] = {
    "sensitivity": sensitivity,
    "specificity": specificity,
    "f1": f1,
    "precision": precision,
    "npv": npv,
}

UNDEFINED = {
    "sensitivity": "no image of this class",
    "specificity": "no image of another class",
    "f1": "neither occurs nor is predicted",
    "precision": "never predicted",
    "npv": "predicted for every image",
    "auc": "no image of this class, or of another one",
}

METRICS = ("accuracy", "sensitivity", "specificity", "f1", "auc", "precision", "npv")
