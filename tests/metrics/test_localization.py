"""Figures of localization: by hand, and honest about n and chance."""

from __future__ import annotations

import numpy as np
import pytest

from magsd_cli.metrics.localization import interval, summarise


def test_figures_by_hand() -> None:
    found = summarise([0.0, 0.25, 0.5, 0.65], [0.1, 0.1, 0.1, 0.1])
    assert found["n"] == 4
    assert found["mean"] == pytest.approx(0.35)
    assert found["median"] == pytest.approx(0.375)
    assert found["over_0.25"] == 0.75
    assert found["over_0.5"] == 0.5
    assert found["control"] == pytest.approx(0.1)
    assert found["over_control"] == pytest.approx(0.25)
    low, high = found["over_control_interval95"]
    assert low < 0.25 < high
    assert found["interval95"][0] == pytest.approx(low + 0.1, abs=0.05)


def test_nothing_one_and_no_control() -> None:
    assert summarise([], []) == {"n": 0}
    one = summarise([0.5], [None])
    assert one["interval95"] is None
    assert "control" not in one


def test_the_interval_is_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(1).normal(size=2000)
    low, high = interval(values, np.random.default_rng(0)) or (0, 0)
    half = 1.96 / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - half, abs=half / 5)
    assert high == pytest.approx(values.mean() + half, abs=half / 5)


def test_the_same_figures_twice() -> None:
    assert summarise([0.1, 0.7, 0.3], [0.1, 0.2, 0.3]) == summarise([0.1, 0.7, 0.3], [0.1, 0.2, 0.3])
