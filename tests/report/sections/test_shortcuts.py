from __future__ import annotations

import numpy as np
import pytest
from facts import some_facts

from magsd_cli.evaluation.shortcuts import Shortcut, ShortcutAudit, measure_association, measure_shortcut
from magsd_cli.metrics.intervals import Interval
from magsd_cli.render.document import Table
from magsd_cli.report.sections.shortcuts import shortcut_cautions, shortcut_section

CLASSES = ("a", "b")


def _shortcut(low: float, lungless: bool = True) -> Shortcut:
    bounds = (Interval(low, 1.0), Interval(0.4, 0.6))
    return Shortcut("the border of the picture alone", (0.9, 0.5), bounds, lungless)


def test_only_a_sure_shortcut_without_lungs_is_a_caution() -> None:
    found = shortcut_cautions([_shortcut(0.8), _shortcut(0.9)], CLASSES)
    assert len(found) == 1
    assert found[0].text.count("from the border of the picture alone it recognises a (AUC 90.0%)") == 2
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


def test_association_of_source_and_class() -> None:
    rng = np.random.default_rng(0)
    labels, sources = list("ab" * 100), list("xy" * 100)
    settled = measure_association(labels, sources, [""] * 200)
    assert settled is not None
    assert settled.plain == pytest.approx(1)
    assert settled.corrected == pytest.approx(1)
    by_chance = measure_association(labels, list(rng.permutation(sources)), [""] * 200)
    assert by_chance is not None
    assert by_chance.corrected < 0.15
    assert by_chance.interval.low == 0
    assert measure_association(labels, ["x"] * 200, [""] * 200) is None


def test_the_section_with_and_without_figures() -> None:
    audit = ShortcutAudit(
        (_shortcut(0.8),), (_shortcut(0.6),), ("north", "south"), None, "Lungs removed: it."
    )
    classes, sources = (
        b for b in shortcut_section(some_facts(shortcuts=audit, classes=CLASSES)) if isinstance(b, Table)
    )
    assert classes.rows == (
        ("the border of the picture alone", "90.0 [80.0 to 100.0]", "50.0 [40.0 to 60.0]"),
    )
    assert classes.caption.endswith("Lungs removed: it.")
    assert sources.head == ("what the classifier sees", "north", "south")
    without = str(shortcut_section(some_facts(missing={"cache": "the cache is missing"})))
    assert "the cache is missing" in without
    assert "all images come from one source or it is not known" in without
