from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from scipy.stats.contingency import association

from magsd_cli.metrics.association import corrected_cramers_v, cramers_v, rank_correlation


def test_independent_and_settled() -> None:
    assert cramers_v(["a", "a", "b", "b"], ["x", "y", "x", "y"]) == pytest.approx(0)
    assert cramers_v(["a", "a", "b", "b"], ["x", "x", "y", "y"]) == pytest.approx(1)
    assert cramers_v(["a", "b"], ["x", "x"]) is None


def test_scipy_agrees() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
    table = np.zeros((3, 4), int)
    np.add.at(table, (one, other), 1)
    assert cramers_v([str(v) for v in one], [str(v) for v in other]) == pytest.approx(association(table))


def test_correction_takes_away_what_chance_gives() -> None:
    rng = np.random.default_rng(1)
    plain, corrected = [], []
    for _ in range(50):
        one, other = rng.integers(0, 3, 60).astype(str), rng.integers(0, 8, 60).astype(str)
        plain.append(cramers_v(list(one), list(other)))
        corrected.append(corrected_cramers_v(list(one), list(other))[0])
    assert np.mean(plain) > 0.3
    assert np.mean(corrected) < 0.1


def test_correction_by_hand_and_by_weights() -> None:
    # 8 2 / 2 8: phi^2 = 0.36, n = 20; (0.36 - 1/19) / (2 - 1/19 - 1) = 0.3244
    one, other = ["a"] * 10 + ["b"] * 10, ["x"] * 8 + ["y"] * 4 + ["y"] * 6 + ["x"] * 2
    assert corrected_cramers_v(one, other)[0] == pytest.approx(0.3244**0.5, abs=1e-3)
    doubled = corrected_cramers_v([*one, *one], [*other, *other])[0]
    weighted = corrected_cramers_v(one, other, np.full((3, 20), 2))
    np.testing.assert_allclose(weighted, doubled)
    assert np.isnan(corrected_cramers_v(one, ["x"] * 20)[0])


def test_rank_correlation_agrees_with_scipy_and_knows_when_there_is_none() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        one, other = rng.integers(0, 4, 6), rng.normal(size=6)
        expected = spearmanr(one, other).statistic
        assert rank_correlation(one, other) == pytest.approx(expected)
    assert rank_correlation([1, 2, 9], [10, 20, 21]) == 1
    assert rank_correlation([1, 2, 9], [3, 2, 1]) == -1
    assert rank_correlation([1, 1, 1], [3, 2, 1]) is None
    assert rank_correlation([1, 2, np.nan], [3, 2, 1]) is None
