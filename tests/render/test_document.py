from __future__ import annotations

import pytest

from magsd_cli.render.document import Table, interval_text, mean_and_deviation, percent, unbroken


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


def test_intervals_have_one_notation() -> None:
    assert interval_text((0.1, 0.256)) == "[10.0 to 25.6]"
    assert interval_text((-0.01, 0.02), digits=2, signed=True) == "[-1.00 to +2.00]"
    assert interval_text((0.5, 1.25), digits=3, scale=1) == "[0.500 to 1.250]"
    assert interval_text((None, None)) == interval_text(None) == "[n/a]"


@pytest.mark.parametrize(
    "text",
    ["[1.0 to 25.6]", "[-1.00 to +2.00]", "(5.3 to 13.2)", "(28.0%)", "81.24 ± 4.14", "81.24 ± 4.14%"],
)
def test_numbers_that_belong_together_stay_on_one_line(text: str) -> None:
    together = unbroken(f"It is {text} of 3 to 5 (see 4 of them) here.")
    assert together == f"It is {text.replace(' ', chr(0xA0))} of 3 to 5 (see 4 of them) here."
