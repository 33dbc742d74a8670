from __future__ import annotations

import numpy as np
import pandas as pd

from magsd_cli.reporting.localized import localization_blocks, localization_table


def _table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "status": ["ok", "ok", "ok", "error"],
            "unseen": [True, True, False, None],
            "label": ["a", "b", "a", "a"],
            "iou_mask": [0.6, 0.2, 1.0, np.nan],
            "control_iou_mask": [0.1, 0.1, 0.1, np.nan],
            "iou_box": [np.nan] * 4,
            "control_iou_box": [np.nan] * 4,
            "pointing_hit": [True, False, True, None],
            "control_pointing": [0.25, 0.25, 0.25, np.nan],
        }
    )


def test_only_unseen_images_count() -> None:
    table = localization_table(_table())
    assert table is not None
    name, n, mean, over_quarter, over_half, chance, gain = table.rows[0]
    assert (name, n) == ("IoU with the true mask, all", "2")
    assert mean.startswith("40.0 [")
    assert (over_quarter, over_half, chance) == ("50.0", "50.0", "10.0")
    assert gain.startswith("+30.0 [")
    pointing = next(row for row in table.rows if row[0].endswith("lesion, all"))
    assert pointing[2].startswith("50.0 [")
    assert pointing[3:5] == ("", "")


def test_without_truth_it_says_so() -> None:
    table = _table().assign(iou_mask=np.nan, pointing_hit=None)
    assert localization_table(table) is None
    text = " ".join(str(block) for block in localization_blocks("x", table, [], 0))
    assert "n/a" in text
    assert "1 of them may have been trained on" in text
