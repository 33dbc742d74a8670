from __future__ import annotations

import pandas as pd

from magsd_cli.evaluation.attention import choose_cases
from magsd_cli.report.sections.attention import case_title


def test_the_surest_right_and_the_surest_wrong_of_each_class() -> None:
    table = pd.DataFrame(
        {
            "image_id": list("fedcba"),
            "label": ["x", "x", "x", "x", "y", "y"],
            "predicted": ["x", "x", "y", "y", "y", "y"],
            "fold": [0, 1, 0, 1, 0, 1],
        }
    )
    chosen = choose_cases(table, [0.6, 0.9, 0.7, 0.8, 0.5, 0.5], ["x", "y"])
    assert [(case.image_id, case.label == case.predicted, case.row) for case in chosen] == [
        ("e", True, 1),
        ("c", False, 3),
        ("a", True, 5),  # equally sure: the first image id; nothing of y is wrong
    ]
    assert case_title(chosen[1]).startswith("x, called y (80.0 %): wrong")
