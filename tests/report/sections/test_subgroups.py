from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from facts import some_facts, some_predictions
from sklearn.metrics import accuracy_score

from magsd_cli.render.document import Block, Caution, Drawing, Paragraph, Table
from magsd_cli.report.sections.calibration import calibration_section
from magsd_cli.report.sections.subgroups import held_out_section, subgroup_section

CLASSES = ("a", "b")


def _data(count: int = 60) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    about = pd.DataFrame(
        {
            "sex": ["F", "M"] * (count // 2),
            "age": ["70"] * 5 + ["063Y"] * (count - 6) + [None],
            "view": ["PA"] * count,
            "source": ["x"] * (count - 3) + ["y"] * 3,
        }
    )
    return about, rng.integers(0, 2, count), rng.dirichlet(np.ones(2), count)


def test_groups_with_n_and_interval_and_small_ones_hidden() -> None:
    about, truth, probabilities = _data()
    blocks = subgroup_section(some_facts(some_predictions(truth, probabilities, CLASSES), tested=about))
    table = next(block for block in blocks if isinstance(block, Table))
    assert [row[0] for row in table.rows] == ["sex: F", "sex: M", "age: 40-64", "source: x"]
    own = np.asarray(about["sex"] == "F")
    expected = 100 * accuracy_score(truth[own], probabilities[own].argmax(axis=1))
    assert table.rows[0][1] == "30"
    assert table.rows[0][3].startswith(f"{expected:.1f} [")
    # Hidden: age 65 and over (5), age unknown (1), source y (3); the one view is no subgroup.
    assert any("3 groups with fewer than 10" in b.text for b in blocks if isinstance(b, Paragraph))


def test_nothing_known_is_said() -> None:
    about, truth, probabilities = _data()
    nothing = about.assign(sex="", age="", view="", source="")
    words = [
        b.text
        for b in subgroup_section(some_facts(some_predictions(truth, probabilities, CLASSES), tested=nothing))
    ]  # type: ignore[union-attr]
    assert any("Not available" in text for text in words)


def _calibration(truth: np.ndarray, probabilities: np.ndarray, folds: np.ndarray) -> list[Block]:  # type: ignore[type-arg]
    found = some_predictions(truth, probabilities, CLASSES, folds)
    return calibration_section(some_facts(found, calibrated=found))


def test_calibration_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magsd_cli.render.charts.drawing", lambda _figure: Drawing(b"png"))
    _, truth, probabilities = _data()
    blocks = _calibration(truth, probabilities, np.array([0, 1] * 30))
    table = next(block for block in blocks if isinstance(block, Table))
    assert [row[0] for row in table.rows] == ["as the network says", "temperature fitted on the other folds"]
    alone = _calibration(truth, probabilities, np.zeros(60, np.int64))
    assert len(next(block for block in alone if isinstance(block, Table)).rows) == 1
    assert len(_calibration(truth[:0], probabilities[:0], truth[:0])) == 2


def test_each_source_held_out_with_what_it_never_learnt() -> None:
    truth = np.array([0, 1] * 20 + [1] * 20)
    folds = np.array([0] * 40 + [1] * 20)
    truth[:40] = 0
    truth[:5] = 1
    rng = np.random.default_rng(0)
    found = some_predictions(truth, rng.dirichlet(np.ones(2), 60), CLASSES, folds)
    blocks = held_out_section(some_facts(found, held_out=("north", "south")))
    table = next(block for block in blocks if isinstance(block, Table))
    assert [row[:3] for row in table.rows] == [("north", "40", "35 / 5"), ("south", "20", "0 / 20")]
    assert "n/a" in table.rows[1][4]
    (gap,) = (block for block in blocks if isinstance(block, Caution))
    assert gap.text.startswith("All images of a are from north")
