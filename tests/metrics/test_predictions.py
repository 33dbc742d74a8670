"""Predictions: the call and its confidence, in another order, and some of them."""

from __future__ import annotations

import numpy as np
import pytest

from magsd_cli.metrics.predictions import Predictions

SCORES = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
FOUND = Predictions(
    ("c", "a", "b"), np.array([1, 0, 1]), SCORES, np.array([0, 1, 0]), ("p", "", "q"), ("x", "y")
)


def test_the_call_is_the_largest_and_the_first_of_equals() -> None:
    assert FOUND.called.tolist() == [1, 0, 0]
    assert FOUND.confidence.tolist() == [0.8, 0.5, 0.9]
    assert FOUND.labels == ["y", "x", "y"]
    assert len(FOUND) == 3


def test_all_that_belongs_to_an_image_moves_with_it() -> None:
    ordered = FOUND.by_image()
    assert (ordered.image_ids, ordered.patients) == (("a", "b", "c"), ("", "q", "p"))
    assert (ordered.truth.tolist(), ordered.tested_in().tolist()) == ([0, 1, 1], [1, 0, 0])
    assert ordered.probabilities.tolist() == SCORES[[1, 2, 0]].tolist()
    some = FOUND.where(np.array([True, False, True]))
    assert (some.image_ids, some.patients, some.confidence.tolist()) == (("c", "b"), ("p", "q"), [0.8, 0.9])
    assert len(FOUND.where(np.zeros(3, bool))) == 0


def test_images_of_no_fold() -> None:
    outside = Predictions(("a",), np.array([0]), SCORES[:1], None, ("",), ("x", "y"))
    assert outside.where(np.array([True])).folds is None
    with pytest.raises(ValueError, match="no fold"):
        outside.tested_in()
