"""The section on the operating point says what was chosen, what it flatters, and what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from facts import some_facts, some_predictions
from operating_points import decision, operating_point

from magsd_cli.metrics.predictions import Predictions
from magsd_cli.render.document import Paragraph, Table
from magsd_cli.report.sections.operating_point import frozen_threshold_table, operating_point_section

POSITIVE = np.array([1] * 10 + [0] * 30, bool)
CALLED = np.array([1] * 8 + [0] * 2 + [1] * 6 + [0] * 24, bool)
PATIENTS = [f"p{i}" for i in range(40)]


def _section(
    decision: Any,
    called: np.ndarray | None = CALLED,
    prevalence: float | None = None,  # type: ignore[type-arg]
) -> list[Any]:
    truth = np.where(POSITIVE, 0, 1)
    found = some_predictions(truth, np.eye(2)[truth], ("COVID-19", "Normal"), truth, PATIENTS)
    point = operating_point(decision=decision)
    return operating_point_section(
        some_facts(found, operating_point=point, decisions=called, prevalence=prevalence)
    )


def _words(blocks: list[Any]) -> str:
    return " ".join(block.text for block in blocks if isinstance(block, Paragraph))


def test_what_was_chosen_and_how_much_it_flatters() -> None:
    blocks = _section(decision(), prevalence=0.05)
    tables = [block for block in blocks if isinstance(block, Table)]
    assert "at least 0.1234" in _words(blocks)
    assert "sensitivity +10.0 percentage points, specificity +0.0" in _words(blocks)
    assert tables[0].rows[0] == (
        "each fold by the threshold of the others", "80.00 [50.0 to 95.0]", "80.00 [60.0 to 90.0]",
    )  # fmt: skip
    # At 5 %: 0.8 * 0.05 / (0.8 * 0.05 + 0.2 * 0.95) = 17.39 %; in the data 8 / 14.
    assert tables[1].rows[0][0] == "as you stated: 5%"
    assert tables[1].rows[0][1].startswith("17.39 [")
    assert tables[1].rows[1][0] == "as in these data: 25%"
    assert tables[1].rows[1][1].startswith("57.14 [")
    assert "--prevalence" not in _words(blocks)


def test_without_a_prevalence_it_asks_for_one() -> None:
    assert "--prevalence 0.05" in _words(_section(decision()))


def test_what_is_not_there_is_said() -> None:
    assert "Not available: no threshold" in _words(_section(None, None))
    one_fold = _section(decision(cross_fitted=None), None)
    assert "With one fold alone" in _words(one_fold)
    assert len([block for block in one_fold if isinstance(block, Table)]) == 1
    never = _section(decision(), np.zeros(40, bool))
    assert "n/a (never called so)" in str([block.rows for block in never if isinstance(block, Table)])


def test_the_threshold_is_tried_as_it_is_on_other_images() -> None:
    scores = np.array([0.1234, 0.9, 0.1, 0.1233])
    four, truth = tuple("abcd"), np.array([0, 0, 0, 1])
    outside = Predictions(four, truth, np.stack([scores, 1 - scores], 1), None, four, ("COVID-19", "Normal"))
    chosen = operating_point().decision
    assert chosen is not None
    table = frozen_threshold_table(chosen, outside)
    assert table.rows[0][:2] == ("at the stored threshold", "3")
    assert table.rows[0][2].startswith("66.67 [")
    assert table.rows[0][3].startswith("100.00 [")
