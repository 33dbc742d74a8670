from __future__ import annotations

import numpy as np
import pytest
from scipy.stats.contingency import association

from magsd_cli.metrics.association import cramers_v


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
