from __future__ import annotations

import numpy as np
import pytest
from facts import some_predictions
from sklearn import metrics as sk

from magsd_cli.metrics.rates import summary
from magsd_cli.report.sections.performance import _precision_recall, class_table, metrics_table, roc_curves

CLASSES = ["a", "b", "c"]


def _metrics(truth: np.ndarray, probabilities: np.ndarray) -> dict:  # type: ignore[type-arg]
    pooled = summary(truth, probabilities, CLASSES)
    names = ("accuracy", "sensitivity", "specificity", "f1", "auc", "precision", "npv")
    fold = {"fold": 0, **pooled}
    return {
        "classes": CLASSES,
        "folds": [fold, {**fold, "fold": 1}],
        "mean": {name: pooled[name] for name in names},
        "std": {name: 0.01 if pooled[name] is not None else None for name in names},
        "pooled": pooled,
    }


def _predictions(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, 90), rng.dirichlet(np.ones(3), 90)


def test_the_papers_form_and_the_baseline() -> None:
    truth, probabilities = _predictions()
    table = metrics_table(_metrics(truth, probabilities), "b")
    accuracy = 100 * sk.accuracy_score(truth, probabilities.argmax(axis=1))
    assert table.rows[0][2] == f"{accuracy:.2f} ± 1.00"
    assert [row[0] for row in table.rows[1:4]] == ["fold 0", "fold 1", "all images pooled"]
    name, _, *cells = table.rows[4]
    assert name.endswith("every image called b")
    share = (truth == 1).mean()
    # Sensitivity (0 + 1 + 0) / 3, specificity (1 + 0 + 1) / 3, F1 of b alone: 2p / (1 + p), AUC 0.5.
    expected = [share, 1 / 3, 2 / 3, 2 * share / (1 + share) / 3, 0.5]
    assert cells == [f"{100 * value:.2f}" for value in expected]


def test_an_absent_class_is_null_with_its_reason() -> None:
    truth, probabilities = _predictions()
    keep = truth != 2
    table = class_table(summary(truth[keep], probabilities[keep], CLASSES))
    assert table.rows[2][1] == "0"
    assert table.rows[2][2] == "n/a (no image of this class)"
    names = [curve.name for curve in roc_curves(some_predictions(truth[keep], probabilities[keep], CLASSES))]
    assert names == ["a", "b", "macro (mean of the classes)"]


def test_curves_have_scikit_learns_areas() -> None:
    truth, probabilities = _predictions()
    *curves, macro = roc_curves(some_predictions(truth, probabilities, CLASSES))
    areas = [sk.roc_auc_score(truth == k, probabilities[:, k]) for k in range(3)]
    assert [curve.area for curve in curves] == pytest.approx(areas)
    assert macro.area == pytest.approx(np.mean(areas))
    assert np.trapezoid(macro.true_rate, macro.false_rate) == pytest.approx(np.mean(areas), abs=0.02)


def test_one_class_alone_has_no_curve() -> None:
    assert roc_curves(some_predictions(np.zeros(4, np.int64), np.full((4, 3), 1 / 3), CLASSES)) == []


def test_curves_have_bands_and_intervals_where_they_can_be_told_apart() -> None:
    truth, probabilities = _predictions()
    found = some_predictions(truth, probabilities, CLASSES)
    intervals = {"auc": (0.4, 0.6), "auc.0": (0.45, 0.55)}
    curves = roc_curves(found, intervals)
    assert [curve.interval for curve in curves] == ["[45.0 to 55.0]", "", "", "[40.0 to 60.0]"]
    assert all(curve.band is not None for curve in curves)
    many = np.random.default_rng(0).integers(0, 5, 90)
    five = some_predictions(many, np.random.default_rng(1).dirichlet(np.ones(5), 90), list("abcde"))
    assert [curve.band is not None for curve in roc_curves(five, {})] == [False] * 5 + [True]
    assert all(curve.band is None for curve in roc_curves(found))


def test_precision_is_read_out_at_three_recalls() -> None:
    truth = np.repeat([0, 1, 2], 30)
    figure = _precision_recall(some_predictions(truth, np.eye(3)[truth] * 0.9 + 0.03, CLASSES))
    assert "a 100% at 50%, 100% at 80%, 100% at 90%; b 100%" in figure.alt
