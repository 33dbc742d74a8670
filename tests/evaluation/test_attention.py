from __future__ import annotations

import numpy as np

from magsd_cli.evaluation.attention import choose_cases
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.report.sections.attention import case_title


def test_the_surest_right_and_the_surest_wrong_of_each_class() -> None:
    first = np.array([0.6, 0.9, 0.3, 0.2, 0.5 - 1e-9, 0.5 - 1e-9])
    truth, folds = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1] * 3)
    scores = np.stack([first, 1 - first], axis=1)
    chosen = choose_cases(Predictions(tuple("fedcba"), truth, scores, folds, ("",) * 6, ("x", "y")))
    assert [(case.image_id, case.label == case.predicted, case.row) for case in chosen] == [
        ("e", True, 1),
        ("c", False, 3),
        ("a", True, 5),  # equally sure: the first image id; nothing of y is wrong
    ]
    assert case_title(chosen[1]).startswith("x, called y (80.0%): wrong")
