from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from magsd_cli.metrics.curves import (
    GRID,
    average_precision,
    precision_recall,
    roc_bands,
    weighted_average_precision,
)
from magsd_cli.metrics.intervals import patient_weights, rate_intervals, wilson
from magsd_cli.metrics.net_benefit import THRESHOLDS, better_ranges, decision_curve
from magsd_cli.metrics.roc import roc_curve


def _study(seed: int = 0, count: int = 200, signal: float = 1.5):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, count)
    logits = rng.normal(size=(count, 3)) + signal * np.eye(3)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, np.round(probabilities, 2), [f"p{i // 2}" for i in range(count)]  # rounded: ties


def test_bands_hold_the_curve_and_its_area() -> None:
    truth, scores, groups = _study()
    bands, mean = roc_bands(truth, scores, groups, np.random.default_rng(0), draws=500)
    assert sorted(bands) == [0, 1, 2]
    assert mean is not None
    intervals = rate_intervals(truth, scores, groups, np.random.default_rng(0), draws=500)
    for k, band in bands.items():
        false_rate, true_rate, _ = roc_curve(truth == k, scores[:, k])
        curve = np.interp(GRID, false_rate, true_rate)
        assert (band.low <= curve + 1e-9).all()
        assert (band.high >= curve - 1e-9).all()
        area = intervals[f"auc.{k}"]
        # The pointwise band is wider than the interval of the area, and not by much.
        assert np.trapezoid(band.low, GRID) < area.low
        assert area.high < np.trapezoid(band.high, GRID) < area.high + 0.05


def test_a_band_is_the_curve_of_the_drawn_images() -> None:
    """One sample, drawn by hand: images repeated as often as their weights say."""
    truth, scores, groups = _study(1, 60)
    drawn = patient_weights(groups, 1, np.random.default_rng(3))[0]
    band = roc_bands(truth, scores, groups, np.random.default_rng(3), draws=1)[0][1]
    again = np.repeat(np.arange(60), drawn)
    false_rate, true_rate, _ = roc_curve(truth[again] == 1, scores[again, 1])
    curve = np.interp(GRID, false_rate, true_rate)
    np.testing.assert_allclose(band.high, curve)
    np.testing.assert_allclose(band.low[curve < 1], curve[curve < 1])  # at 1 Wilson's bound stands


def test_a_perfect_curve_still_has_a_width() -> None:
    truth = np.array([0, 1] * 20)
    scores = np.eye(2)[truth]
    bands, _ = roc_bands(truth, scores, [str(i) for i in range(40)], np.random.default_rng(0), draws=100)
    assert bands[0].low[0] == pytest.approx(wilson(20, 20).low)
    assert (bands[0].high == 1).all()


def test_one_class_alone_has_no_band() -> None:
    assert roc_bands(np.zeros(5, int), np.full((5, 2), 0.5), [""] * 5, np.random.default_rng(0)) == ({}, None)


def test_precision_and_recall_are_scikit_learns() -> None:
    truth, scores, groups = _study()
    weights = patient_weights(groups, 3, np.random.default_rng(0))
    for k in range(3):
        positive, values = truth == k, scores[:, k]
        recall, precision = precision_recall(positive, values)
        theirs, their_recall, _ = sk.precision_recall_curve(positive, values, drop_intermediate=False)
        np.testing.assert_allclose(recall, their_recall[:-1][::-1])
        np.testing.assert_allclose(precision, theirs[:-1][::-1])
        assert average_precision(positive, values) == pytest.approx(
            sk.average_precision_score(positive, values)
        )
        expected = [sk.average_precision_score(positive, values, sample_weight=row) for row in weights]
        np.testing.assert_allclose(weighted_average_precision(positive, values, weights), expected)
    assert np.isnan(average_precision([False, False], [0.1, 0.2]))


def test_net_benefit_is_what_vickers_and_elkin_define() -> None:
    truth, scores, groups = _study()
    positive, values = truth == 0, scores[:, 0]
    curve = decision_curve(positive, values, groups, np.random.default_rng(0), draws=300)
    for place in (4, 19, 49, 89):
        t = THRESHOLDS[place]
        found, false = (values >= t) & positive, (values >= t) & ~positive
        assert curve.model[place] == pytest.approx(found.mean() - false.mean() * t / (1 - t))
        assert curve.everyone[place] == pytest.approx(positive.mean() - (~positive).mean() * t / (1 - t))
    assert curve.share == positive.mean()
    assert (curve.low <= curve.model).all()
    assert (curve.model <= curve.high).all()
    (first, last), *_ = better_ranges(curve)
    assert 0.01 <= first < 0.3 < last


def test_noise_is_worth_nothing_and_is_said_to_be() -> None:
    rng = np.random.default_rng(0)
    curve = decision_curve(rng.random(300) < 0.3, rng.random(300), [""] * 300, rng, draws=300)
    assert better_ranges(curve) == []
