"""Multinomial logistic regression, its penalty chosen by patient: the last layer of a linear probe."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # scikit-learn's C, from the strongest
PARTS = 3
ABSENT = -30.0  # the logit of a class that no image is of: exp(-30) of the others' probability
STEPS = 1000  # of the solver


class LinearLayer(NamedTuple):
    """logits = `weight` [K, D] x + `bias` [K]; `penalty` is the C that was chosen."""

    weight: Floats
    bias: Floats
    penalty: float


def fit_logistic_regression(
    vectors: npt.ArrayLike, labels: npt.ArrayLike, groups: Sequence[str], classes: int, seed: int
) -> LinearLayer:
    """Fit class numbers `labels` [N] in 0..`classes`-1 to `vectors` [N, D]; at least two of them occur.

    The vectors are standardised, which the layer that is returned undoes. C is the one of `PENALTIES` with
    the smallest cross-entropy on `PARTS` parts left out in turn, stratified, no group (patient) in two of
    them; `groups` [N], the empty name is a group of its own. Among equals the strongest penalty wins; where
    the images cannot be shared out so it is 0.01.
    """
    values, truth = np.asarray(vectors, np.float64), np.asarray(labels, np.int64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    deviation = np.where(deviation > 1e-12, deviation, 1.0)
    standard = (values - mean) / deviation
    penalty = _choose_penalty(standard, truth, groups, seed)
    weight, bias = _coefficients(_fit(standard, truth, penalty), classes)
    weight = weight / deviation
    return LinearLayer(weight, bias - weight @ mean, penalty)


def _choose_penalty(standard: Floats, truth: Integers, groups: Sequence[str], seed: int) -> float:
    numbers: dict[str | int, int] = {}
    keys = np.array([numbers.setdefault(name or i, len(numbers)) for i, name in enumerate(groups)], np.int64)
    splitter = StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():  # a class with fewer images than parts
        warnings.simplefilter("ignore", UserWarning)
        try:
            parts = list(splitter.split(standard, truth, keys))
        except ValueError:
            parts = []
    present = np.unique(truth)
    if not parts or any(len(np.unique(truth[kept])) < len(present) or not len(out) for kept, out in parts):
        return PENALTIES[2]
    losses = [
        sum(
            log_loss(
                truth[out], _fit(standard[kept], truth[kept], c).predict_proba(standard[out]), labels=present
            )
            * len(out)
            for kept, out in parts
        )
        for c in PENALTIES
    ]
    return PENALTIES[int(np.argmin(losses))]


def _fit(standard: Floats, truth: Integers, penalty: float) -> LogisticRegression:
    with warnings.catch_warnings():  # a weak penalty may still creep at the end; the chosen one has converged
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=penalty, max_iter=STEPS).fit(standard, truth)


def _coefficients(model: LogisticRegression, classes: int) -> tuple[Floats, Floats]:
    """Weights [K, D] and biases [K] of all classes; of two scikit-learn keeps their difference alone."""
    weight = np.zeros((classes, model.coef_.shape[1]))
    bias = np.full(classes, ABSENT)
    if len(model.classes_) == 2:
        bias[model.classes_] = 0.0, model.intercept_[0]
        weight[model.classes_[1]] = model.coef_[0]
    else:
        bias[model.classes_], weight[model.classes_] = model.intercept_, model.coef_
    return weight, bias
