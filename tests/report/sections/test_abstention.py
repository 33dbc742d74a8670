"""The section on referral: the rules that are stored, each class, coverage against error."""

from __future__ import annotations

import numpy as np
import pytest
from facts import some_facts, some_predictions
from operating_points import VALUES, operating_point

from magsd_cli.artifacts.operating_point import OperatingPoint
from magsd_cli.render.document import Block, Bullets, Drawing, Figure, Paragraph, Table
from magsd_cli.report.sections.abstention import abstention_section

RIGHT = np.array([True] * 12 + [False] * 4 + [True] * 4)
CONFIDENCE = np.linspace(0.99, 0.4, 20)
PATIENTS = [f"p{i}" for i in range(20)]
STORED = operating_point(confidence={"coverage": 0.9, "least": 0.45})


def _section(point: OperatingPoint | None, count: int = 20) -> list[Block]:
    """Of three classes the first gets the confidence, and is the true one where the call is right."""
    rest = (1 - CONFIDENCE) / 2
    scores = np.stack([CONFIDENCE, rest, rest], axis=1)[:count]
    found = some_predictions(np.where(RIGHT, 0, 1)[:count], scores, "abc", None, PATIENTS[:count])
    return abstention_section(some_facts(found, calibrated=found, operating_point=point))


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magsd_cli.render.charts.drawing", lambda _figure: Drawing(b"\x89PNG"))


def test_rules_classes_and_coverage() -> None:
    blocks = _section(STORED)
    rules = " ".join(next(block for block in blocks if isinstance(block, Bullets)).items)
    assert "over 2.500" in rules
    assert "at most 5% of new patients' images" in rules
    assert "cannot be said from cross-validation" in rules
    assert "under a confidence of 0.450" in rules
    by_class, coverage = (block for block in blocks if isinstance(block, Table))
    assert [row[:2] for row in by_class.rows] == [("COVID-19", "20"), ("Normal", "80")]
    assert by_class.rows[0][2].startswith("10.0 [")
    assert coverage.rows[0][:2] == ("100.0", "20")
    assert coverage.rows[0][3].startswith("20.00 [")
    assert coverage.rows[-1][:2] == ("50.0", "10")
    assert coverage.rows[-1][3].startswith("0.00 [0.0 to ")  # ten of ten right, and still a width
    figure = next(block for block in blocks if isinstance(block, Figure))
    assert "100% answered: 20.0% wrong" in figure.alt


def test_what_is_not_there_is_said() -> None:
    blocks = _section(None)
    assert "not available: operating.json is missing" in str(blocks[1])
    assert any(isinstance(block, Figure) for block in blocks)  # coverage needs predictions alone
    nothing = operating_point(confidence=None, appearance=None)
    bare = _section(nothing)
    rules = " ".join(next(block for block in bare if isinstance(block, Bullets)).items)
    assert "is not checked" in rules
    assert "not asked for" in rules
    few = operating_point(appearance=VALUES["appearance"] | {"assurance": None})
    assert "80 patients are too few" in str(_section(few)[1])


def test_no_image() -> None:
    empty = _section(STORED, 0)
    assert isinstance(empty[-1], Paragraph)
