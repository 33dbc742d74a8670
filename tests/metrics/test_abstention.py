"""Coverage and error by hand; the tolerance limit against scipy and against simulated patients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from magsd_cli.metrics.abstention import (
    allowed_exceedances,
    area_under_curve,
    confidence_for,
    coverage_curve,
    error_interval,
    tolerance_limit,
)


def test_the_curve_by_hand() -> None:
    right = [True, False, True, True]
    confidence = [0.9, 0.6, 0.6, 0.8]
    coverage, error, least = coverage_curve(right, confidence)
    assert coverage.tolist() == [1.0, 0.5, 0.25]  # the two of 0.6 go together
    assert error.tolist() == [0.25, 0.0, 0.0]
    assert least.tolist() == [0.6, 0.8, 0.9]
    # Errors among the surest 1, 2, 3, 4: 0, 0, half of one wrong in 3, 1 in 4.
    assert area_under_curve(right, confidence) == pytest.approx((0 + 0 + 0.5 / 3 + 1 / 4) / 4)
    assert [len(part) for part in coverage_curve([], [])] == [0, 0, 0]
    assert np.isnan(area_under_curve([], []))


def test_useless_confidence_has_the_area_of_the_error() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(5000) < 0.8
    assert area_under_curve(right, np.ones(5000)) == pytest.approx((~right).mean())
    assert area_under_curve(right, right + rng.random(5000) * 0.1) < 0.03


def test_the_confidence_that_answers_a_share() -> None:
    confidence = np.arange(1, 11) / 10
    assert confidence_for(confidence, 0.9) == pytest.approx(0.2)
    assert confidence_for(confidence, 0.5) == pytest.approx(0.6)
    assert confidence_for(confidence, 1.0) == 0
    assert confidence_for([], 0.9) == 0
    for share in (0.95, 0.8, 0.33):
        assert (confidence >= confidence_for(confidence, share)).mean() >= share


def test_the_error_among_the_answered() -> None:
    error, interval = error_interval([True, False, True, False], [True, True, True, False], list("abcd"))
    assert error == pytest.approx(1 / 3)
    assert interval.low is not None
    assert error_interval([True], [False], ["a"]) == (None, (None, None))


@pytest.mark.parametrize("count", [20, 58, 59, 93, 439, 611, 2000])
@pytest.mark.parametrize(("share", "assurance"), [(0.05, 0.95), (0.1, 0.9)])
def test_as_many_as_scipy_allows(count: int, share: float, assurance: float) -> None:
    allowed = allowed_exceedances(count, share, assurance)
    assert binom.cdf(allowed, count, share) <= 1 - assurance < binom.cdf(allowed + 1, count, share)


def test_the_limit_by_hand() -> None:
    values = np.random.default_rng(1).permutation(np.arange(100.0))
    # 0.95^59 = 0.0485: 59 patients are the fewest; 93 allow one.
    assert tolerance_limit(values, 58) == (99.0, False)
    assert tolerance_limit(values, 59) == (99.0, True)
    assert tolerance_limit(values, 93) == (98.0, True)
    assert tolerance_limit([], 0) == (float("inf"), False)


def test_new_images_exceed_the_limit_as_seldom_as_promised() -> None:
    """200 patients: the true share beyond the limit is above 5 % in at most 5 % of 2,000 studies."""
    rng = np.random.default_rng(5)
    limits = [tolerance_limit(rng.random(200), 200)[0] for _ in range(2000)]
    broken = np.mean([1 - limit > 0.05 for limit in limits])
    assert broken <= 0.06
    assert broken > 0.02  # and it is not merely cautious
