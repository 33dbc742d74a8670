from __future__ import annotations

import numpy as np

from magsd_cli.metrics.intervals import Interval
from magsd_cli.reporting.audited import Shortcut, audit_section, measure_shortcut, shortcut_cautions
from magsd_cli.reporting.document import Table

CLASSES = ("a", "b")


def _shortcut(low: float, lungless: bool = True) -> Shortcut:
    bounds = (Interval(low, 1.0), Interval(0.4, 0.6))
    return Shortcut("the border of the picture alone", (0.9, 0.5), bounds, lungless)


def test_only_a_sure_shortcut_without_lungs_is_a_caution() -> None:
    found = shortcut_cautions([_shortcut(0.8)], CLASSES)
    assert len(found) == 1
    assert "recognises a (AUC 90.0 %)." in found[0].text
    assert shortcut_cautions([_shortcut(0.7)], CLASSES) == []
    assert shortcut_cautions([_shortcut(0.8, lungless=False)], CLASSES) == []


def test_measured_on_a_marker_and_on_noise() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(200) % 2
    sure = np.stack([1 - truth, truth], axis=1) * 0.8 + 0.1
    told = measure_shortcut("x", truth, sure, [""] * 200, lungless=True)
    assert told.areas == (1.0, 1.0)
    noise = rng.dirichlet(np.ones(2), 200)
    assert shortcut_cautions([measure_shortcut("x", truth, noise, [""] * 200, True)], CLASSES) == []


def test_the_section_with_and_without_figures() -> None:
    table = next(b for b in audit_section([_shortcut(0.8)], CLASSES, 0.5) if isinstance(b, Table))
    assert table.rows == (("the border of the picture alone", "90.0 [80.0–100.0]", "50.0 [40.0–60.0]"),)
    assert "0.50" in str(audit_section([_shortcut(0.8)], CLASSES, 0.5)[-1])
    assert "the cache is missing" in str(audit_section([], CLASSES, None, "the cache is missing")[-1])
