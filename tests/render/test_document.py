from __future__ import annotations

import pytest

from magsd_cli.render.document import Table, mean_and_deviation, percent


def test_a_ragged_table_is_a_bug() -> None:
    with pytest.raises(ValueError, match="1 cells under 2 headings"):
        Table("", ("a", "b"), (("1", "2"), ("3",)))


def test_undefined_figures_say_why() -> None:
    assert percent(None, "no image of this class") == "n/a (no image of this class)"
    assert percent(None) == "n/a"
    assert percent(0.5) == "50.00"
    assert mean_and_deviation(None, None, "empty") == "n/a (empty)"
    assert mean_and_deviation(0.9, None) == "90.00"
    assert mean_and_deviation(0.9, 0.0123) == "90.00 ± 1.23"
