from __future__ import annotations

import numpy as np
import pytest
from facts import some_facts, some_predictions

from magsd_cli.render.document import Drawing, Figure, Paragraph
from magsd_cli.report.sections.net_benefit import net_benefit_section


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magsd_cli.render.charts.drawing", lambda _figure: Drawing(b"\x89PNG"))


def test_the_curve_of_each_class_is_read_out() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    right = np.where(truth == 0, 0.95, 0.05)
    found = some_predictions(truth, np.stack([right, 1 - right], axis=1), ("a", "b"), np.arange(200) % 2)
    blocks = net_benefit_section(some_facts(found, calibrated=found))
    (figure,) = [block for block in blocks if isinstance(block, Figure)]
    share = 100 * np.mean(truth == 0)
    everyone = share - (100 - share) / 9
    # All are told apart: what is gained is the class's share at every threshold that a probability reaches.
    assert f"a {share:.1f} and {everyone:.1f} at 10%" in figure.alt
    words = blocks[-1]
    assert isinstance(words, Paragraph)
    assert "a 6% to 95%; b 6% to 95%" in words.text
    assert "temperature that the other folds chose" in figure.caption


def test_without_another_fold_the_probabilities_are_said_to_be_raw() -> None:
    truth = np.array([0, 1, 0, 1])
    found = some_predictions(truth, np.eye(2)[truth], ("a", "b"), np.zeros(4, np.int64))
    (figure,) = [b for b in net_benefit_section(some_facts(found, calibrated=found)) if isinstance(b, Figure)]
    assert "as the network gives them" in figure.caption


def test_one_class_alone_has_no_curve() -> None:
    found = some_predictions(np.zeros(3, np.int64), np.full((3, 2), 0.5), ("a", "b"))
    blocks = net_benefit_section(some_facts(found, calibrated=found))
    assert blocks[-1] == Paragraph("n/a: all tested images are of one class.")
