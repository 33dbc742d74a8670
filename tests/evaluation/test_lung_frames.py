"""What the box around the lungs gives away."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from magsd_cli.artifacts.cache import FRAME_COLUMNS
from magsd_cli.evaluation.lung_frames import frame_features, frames_by_class
from magsd_cli.evaluation.shortcuts import out_of_fold
from magsd_cli.metrics.roc import one_vs_rest_auc


def table(boxes: list[tuple[float, float, float, float] | None]) -> pd.DataFrame:
    rows = [box or (np.nan,) * 4 for box in boxes]
    return pd.DataFrame(rows, columns=list(FRAME_COLUMNS)).assign(width=200, height=100)


def test_shares_of_the_film_and_films_that_are_kept_whole() -> None:
    features = frame_features(table([(20, 10, 100, 50), None]))
    assert features is not None
    np.testing.assert_allclose(features, [[0.1, 0.1, 0.5, 0.5, np.log(2), 0], [0, 0, 1, 1, np.log(2), 1]])
    assert frame_features(pd.DataFrame({"width": [1], "height": [1]})) is None


def test_by_class() -> None:
    features = frame_features(table([(20, 10, 100, 50), (40, 10, 80, 50), None, None, (0, 0, 200, 100)]))
    assert features is not None
    truth = np.array([0, 0, 0, 1, 2])
    first, second, third, fourth = frames_by_class(features, truth, 4, ["p", "q", "r", "s", "t"])
    assert (first.films, first.whole) == (3, 1)
    assert first.means == pytest.approx((0.15, 0.1, 0.45, 0.5, 1.8))
    assert first.deviations is not None
    assert first.interval.low is not None
    assert first.interval.low < 1 / 3 < (first.interval.high or 0)
    assert (second.whole, second.means) == (1, None)
    assert (third.films, third.whole) == (1, 0)
    assert (fourth.films, fourth.means) == (0, None)


def test_a_box_that_differs_by_class_is_told() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(120) % 2
    folds = np.arange(120) // 2 % 3
    boxes = [(20 + 10 * k + rng.normal(), 10, 100, 50) for k in truth]
    features = frame_features(table(boxes))
    assert features is not None
    told = out_of_fold(features, truth, folds, 2)
    assert told is not None
    assert one_vs_rest_auc(truth, told)[0] > 0.99
