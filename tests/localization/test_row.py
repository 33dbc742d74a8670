"""The row of the localization table: its type names the columns of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from known_places import attended

from magsd_cli.artifacts.tables import (
    LOCALIZATION,
    LOCALIZATION_CONTROLS,
    LOCALIZATION_MEASURES,
    table_schema,
)
from magsd_cli.localization.choice import Choice, Threshold
from magsd_cli.localization.measure import KnownTruth
from magsd_cli.localization.regions import find_region
from magsd_cli.localization.row import LocalizationRow, error_row, localization_row, number_in
from magsd_cli.localization.scores import CONTROLS
from magsd_cli.localization.views import View

OF_CONTROLS = {f"{control}_{name}" for control in LOCALIZATION_CONTROLS for name in LOCALIZATION_MEASURES}


def test_the_row_has_the_columns_of_the_table() -> None:
    names = table_schema(LOCALIZATION, []).names
    assert len(set(names)) == len(names)
    assert set(names) == set(LocalizationRow.__annotations__) | OF_CONTROLS
    assert {prefix.rstrip("_") for prefix in CONTROLS.values()} == set(LOCALIZATION_CONTROLS)


def test_a_row_fills_no_column_that_the_table_has_not() -> None:
    maps = np.eye(24, dtype=np.float32)
    one = attended("x.png", {"attention": maps})
    choice = Choice("attention", "largest", Threshold(0.5, "given"))
    row = localization_row(one, find_region(maps, (24, 24), 0.5), KnownTruth(), choice, ["A", "B"])
    columns = set(table_schema(LOCALIZATION, ["A", "B"]).names)
    assert set(row) <= columns
    assert set(error_row(View(Path("x.png")))) <= columns
    assert (row["predicted"], number_in(row, "p_B"), number_in(row, "unseen")) == ("B", 0.75, 1)
    with pytest.raises(TypeError):
        number_in(row, "iou_box")  # without truth there is no IoU
