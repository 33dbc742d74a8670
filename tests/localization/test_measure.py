"""The row of the localization table: its type names the columns of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from magsd_cli.artifacts.tables import LOCALIZATION, table_schema
from magsd_cli.localization.measure import (
    AttendedImage,
    LocalizationRow,
    Threshold,
    error_row,
    localization_row,
    number_in,
)
from magsd_cli.localization.regions import find_region
from magsd_cli.localization.views import View


def test_the_row_has_the_columns_of_the_table() -> None:
    assert set(table_schema(LOCALIZATION, []).names) == set(LocalizationRow.__annotations__)


def test_a_row_fills_no_column_that_the_table_has_not() -> None:
    maps = np.eye(8, dtype=np.float32)
    view = View(Path("x.png"), maps.astype(np.uint8), shape=(8, 8))
    attended = AttendedImage(view, np.array([0.25, 0.75], np.float32), maps, (0,), True)
    row = localization_row(
        attended, find_region(maps, (8, 8), 0.5), None, Threshold(0.5, "given"), ["A", "B"]
    )
    columns = set(table_schema(LOCALIZATION, ["A", "B"]).names)
    assert set(row) <= columns
    assert set(error_row(View(Path("x.png")))) <= columns
    assert (row["predicted"], number_in(row, "p_B"), number_in(row, "unseen")) == ("B", 0.75, 1)
    with pytest.raises(TypeError):
        number_in(row, "iou_box")  # without truth there is no IoU
