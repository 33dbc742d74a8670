from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sk_log_loss

from magsd_cli.metrics.calibration import (
    apply_temperature,
    brier,
    calibration_intervals,
    calibration_slope,
    cross_fitted,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
)


def _overconfident(temperature: float, count: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Labels drawn from softmax(z), and softmax(z * temperature): the true temperature is known."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, 3))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(3, p=row) for row in true])
    sure = np.exp(logits * temperature)
    return truth, sure / sure.sum(axis=1, keepdims=True)


def test_by_hand() -> None:
    truth, probabilities = [0, 1], [[0.9, 0.1], [0.6, 0.4]]
    assert brier(truth, probabilities) == pytest.approx((0.01 + 0.01 + 0.36 + 0.36) / 2)
    # One image in (0.8, 0.9], right: |1 - 0.9|; one in (0.5, 0.6], wrong: |0 - 0.6|.
    assert expected_calibration_error(truth, probabilities) == pytest.approx((0.1 + 0.6) / 2)
    mean, share, count = reliability(truth, probabilities)
    assert count.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 1, 0]
    assert (mean[5], share[5], mean[8], share[8]) == pytest.approx((0.6, 0.0, 0.9, 1.0))
    assert np.isnan(mean[0])


def test_scikit_learn_agrees() -> None:
    truth, probabilities = _overconfident(1.0, 200)
    assert log_loss(truth, probabilities) == pytest.approx(sk_log_loss(truth, probabilities))
    binary = [[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]]
    assert brier([1, 0, 1], binary) == pytest.approx(2 * brier_score_loss([1, 0, 1], [0.8, 0.3, 0.5]))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found(temperature: float) -> None:
    truth, probabilities = _overconfident(temperature)
    found = fit_temperature(truth, probabilities)
    assert found == pytest.approx(temperature, rel=0.1)
    best = minimize_scalar(
        lambda t: log_loss(truth, apply_temperature(probabilities, t)), bounds=(0.05, 20), method="bounded"
    )
    assert found == pytest.approx(best.x, rel=1e-3)
    assert calibration_slope(truth, probabilities) == pytest.approx(1 / found)


def test_held_out_calibration_error_gets_smaller() -> None:
    truth, probabilities = _overconfident(2.5)
    folds = np.arange(len(truth)) % 5
    after = cross_fitted(truth, probabilities, folds)
    assert expected_calibration_error(truth, after) < 0.3 * expected_calibration_error(truth, probabilities)
    assert (after.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    np.testing.assert_allclose(after.sum(axis=1), 1)


def test_a_fold_never_fits_itself() -> None:
    truth, probabilities = _overconfident(2.5, 300)
    folds = np.arange(300) % 3
    other = truth.copy()
    other[folds == 0] = (other[folds == 0] + 1) % 3
    before, after = (cross_fitted(labels, probabilities, folds) for labels in (truth, other))
    np.testing.assert_array_equal(before[folds == 0], after[folds == 0])
    assert not np.array_equal(before[folds == 1], after[folds == 1])


def test_extremes_do_not_crash() -> None:
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature([0, 1], sure) > 0
    assert fit_temperature([1, 0], sure) == pytest.approx(20, rel=0.01)
    assert fit_temperature([], np.zeros((0, 2))) == 1.0
    np.testing.assert_array_equal(cross_fitted([0, 1], sure, [0, 0]), sure)


def test_intervals_contain_what_they_should() -> None:
    """Over 40 studies of 300 calibrated images: the interval of the Brier score and of the ECE near zero."""
    hits = 0
    for seed in range(40):
        truth, probabilities = _overconfident(1.0, 300, seed)
        found = calibration_intervals(
            truth, probabilities, [str(i) for i in range(300)], np.random.default_rng(0)
        )
        low, high = found["brier"]
        assert low is not None
        assert high is not None
        assert low < brier(truth, probabilities) < high
        hits += (found["ece"].low or 0) < 0.03
    assert hits >= 38  # calibrated networks are not called badly calibrated
    truth, probabilities = _overconfident(3.0, 400)
    found = calibration_intervals(truth, probabilities, [""] * 400, np.random.default_rng(0))
    assert (found["ece"].low or 0) > 0.1
    assert found["log_loss"].low is not None
    assert found["log_loss"].low < log_loss(truth, probabilities) < (found["log_loss"].high or 0)
