"""Thresholds by hand, against scikit-learn's curve, and their optimism on noise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_score, roc_curve

from magsd_cli.metrics.calibration import apply_temperature, fit_temperature
from magsd_cli.metrics.thresholds import (
    SENSITIVITY,
    SPECIFICITY,
    ThresholdTarget,
    achieved,
    choose_threshold,
    cross_fitted_decisions,
    predictive_intervals,
    predictive_values,
)

POSITIVE = np.array([1, 1, 0, 1, 0, 0, 1, 0], bool)
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])


@pytest.mark.parametrize(
    ("rate", "value", "expected"),
    [
        (SENSITIVITY, 0.75, (0.6 + 0.5) / 2),  # three of four are found
        (SENSITIVITY, 0.7, (0.6 + 0.5) / 2),  # and so for less, where two would be too few
        (SENSITIVITY, 1.0, (0.3 + 0.2) / 2),
        (SENSITIVITY, 0.5, (0.8 + 0.7) / 2),
        (SPECIFICITY, 0.75, (0.5 + 0.6) / 2),  # three of four are not called
        (SPECIFICITY, 1.0, (0.7 + 0.8) / 2),
        (SPECIFICITY, 0.25, (0.2 + 0.3) / 2),
    ],
)
def test_by_hand(rate: str, value: float, expected: float) -> None:
    assert choose_threshold(POSITIVE, SCORES, rate, value) == pytest.approx(expected)


def test_the_edges() -> None:
    assert choose_threshold([True, True], [0.4, 0.6], SENSITIVITY, 1.0) == pytest.approx(0.2)
    assert choose_threshold([True, True], [0.4, 0.6], SPECIFICITY, 0.9) is None
    assert choose_threshold([False], [0.4], SENSITIVITY, 0.9) is None
    highest = choose_threshold([False, True], [1.0, 0.5], SPECIFICITY, 1.0)
    assert highest is not None
    assert highest > 1  # a negative with certainty: nothing can be called


@pytest.mark.parametrize("rate", [SENSITIVITY, SPECIFICITY])
@pytest.mark.parametrize("value", [0.5, 0.8, 0.9, 0.95, 1.0])
def test_no_threshold_of_scikit_learns_curve_is_better(rate: str, value: float) -> None:
    rng = np.random.default_rng(7)
    positive = rng.random(300) < 0.3
    scores = np.clip(rng.normal(0.4 + 0.2 * positive, 0.15), 0, 1).round(2)  # with ties
    threshold = choose_threshold(positive, scores, rate, value)
    called = scores >= threshold
    ours = {SENSITIVITY: called[positive].mean(), SPECIFICITY: (~called[~positive]).mean()}
    false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
    rates = {SENSITIVITY: true, SPECIFICITY: 1 - false}
    other = SPECIFICITY if rate == SENSITIVITY else SENSITIVITY
    assert ours[rate] >= value
    assert ours[other] == pytest.approx(rates[other][rates[rate] >= value - 1e-12].max())


def test_a_fold_never_chooses_its_own_threshold() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 80)
    first = rng.random(80)
    scores, folds = np.stack([1 - first, first], axis=1), np.arange(80) % 2
    target = ThresholdTarget(1, SENSITIVITY, 0.9)
    called = cross_fitted_decisions(truth, scores, folds, target)
    assert called is not None
    temperature = fit_temperature(truth[folds == 1], scores[folds == 1])
    threshold = choose_threshold(
        truth[folds == 1] == 1, apply_temperature(scores[folds == 1], temperature)[:, 1], SENSITIVITY, 0.9
    )
    assert (
        called[folds == 0] == (apply_temperature(scores[folds == 0], temperature)[:, 1] >= threshold)
    ).all()
    truth[folds == 0] = 1 - truth[folds == 0]  # its own labels change nothing for a fold
    again = cross_fitted_decisions(truth, scores, folds, target)
    assert again is not None
    assert (again[folds == 0] == called[folds == 0]).all()


def test_without_another_fold_or_a_positive_there_is_none() -> None:
    scores = np.full((4, 2), 0.5)
    assert (
        cross_fitted_decisions([0, 1, 0, 1], scores, [0, 0, 0, 0], ThresholdTarget(1, SENSITIVITY, 0.9))
        is None
    )
    assert (
        cross_fitted_decisions([0, 0, 1, 1], scores, [0, 0, 1, 1], ThresholdTarget(1, SENSITIVITY, 0.9))
        is None
    )


def test_the_apparent_sensitivity_flatters_and_the_cross_fitted_does_not() -> None:
    """Scores of few positives: what a threshold achieves where it was chosen, and on new images."""
    rng = np.random.default_rng(11)
    apparent, cross_fitted, true = [], [], []
    new = rng.normal(1, 1, 20_000)
    for _ in range(100):
        truth = np.repeat([1, 0], [40, 60])
        logit = rng.normal(truth.astype(float), 1)
        scores = np.stack([1 / (1 + np.exp(logit)), 1 / (1 + np.exp(-logit))], axis=1)
        folds = np.arange(100) % 4
        threshold = choose_threshold(truth == 1, scores[:, 1], SENSITIVITY, 0.9)
        called = cross_fitted_decisions(truth, scores, folds, ThresholdTarget(1, SENSITIVITY, 0.9))
        assert called is not None
        apparent.append((scores[truth == 1, 1] >= threshold).mean())
        cross_fitted.append(called[truth == 1].mean())
        true.append((1 / (1 + np.exp(-new)) >= threshold).mean())
    assert np.mean(apparent) - np.mean(true) > 0.01
    assert np.mean(apparent) == pytest.approx(0.9)
    # Fewer images to choose on: a little too modest, never too good.
    assert -0.03 < np.mean(cross_fitted) - np.mean(true) < 0.01


def test_what_is_achieved() -> None:
    called = SCORES >= 0.55
    found = achieved(POSITIVE, called, [str(i) for i in range(8)])
    assert (found.sensitivity, found.specificity) == (0.75, 0.75)
    assert found.sensitivity_interval.low is not None
    assert found.sensitivity_interval.low < 0.75 < (found.sensitivity_interval.high or 0)
    none = achieved([False, False], [True, False], ["a", "b"])
    assert none.sensitivity is None
    assert none.sensitivity_interval.low is None
    assert none.specificity == 0.5


def test_predictive_values() -> None:
    # Of 10,000 people 500 are ill: 450 are found; of 9,500 well 950 are called.
    ppv, npv = predictive_values(0.9, 0.9, 0.05)
    assert float(ppv) == pytest.approx(450 / (450 + 950))
    assert float(npv) == pytest.approx(8550 / (8550 + 50))
    assert np.isnan(predictive_values(0.0, 1.0, 0.05)[0])
    # At the prevalence of the data the PPV is the precision.
    called = SCORES >= 0.45
    se, sp = called[POSITIVE].mean(), (~called[~POSITIVE]).mean()
    assert float(predictive_values(se, sp, 0.5)[0]) == pytest.approx(precision_score(POSITIVE, called))
    for interval, value in zip(
        predictive_intervals(POSITIVE, called, [str(i) for i in range(8)], 0.5),
        predictive_values(se, sp, 0.5), strict=True,
    ):  # fmt: skip
        assert (interval.low or 0) <= float(value) <= (interval.high or 0)
