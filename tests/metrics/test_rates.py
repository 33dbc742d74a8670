import json

import numpy as np
import pytest
from sklearn import metrics as sk

from magsd_cli.metrics import rates

# Worked by hand. Truth: 4 of class 0, 3 of class 1, 3 of class 2.
CONFUSION = np.array([[3, 1, 0], [1, 2, 0], [0, 1, 2]])


def draw(seed: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.append(np.arange(k), rng.integers(0, k, n - k))
    scores = rng.dirichlet(np.ones(k), n) + 0.5 * np.eye(k)[truth] * rng.random((n, 1))
    return truth, np.round(scores / scores.sum(1, keepdims=True), 2)


def test_counts_by_hand():
    counts = rates.class_counts(CONFUSION)
    assert [c.tolist() for c in counts] == [[3, 2, 2], [1, 2, 0], [1, 1, 1], [5, 5, 7]]


def test_rates_by_hand():
    counts = rates.class_counts(CONFUSION)
    assert rates.accuracy(counts) == pytest.approx(7 / 10)
    assert rates.sensitivity(counts) == pytest.approx([3 / 4, 2 / 3, 2 / 3])
    assert rates.specificity(counts) == pytest.approx([5 / 6, 5 / 7, 1])
    assert rates.f1(counts) == pytest.approx([6 / 8, 4 / 7, 4 / 5])
    assert rates.precision(counts) == pytest.approx([3 / 4, 2 / 4, 1])
    assert rates.npv(counts) == pytest.approx([5 / 6, 5 / 6, 7 / 8])


def test_specificity_is_not_the_negative_predictive_value():
    counts = rates.class_counts(np.array([[90, 10], [5, 5]]))
    assert rates.specificity(counts) == pytest.approx([0.5, 0.9])
    assert rates.npv(counts) == pytest.approx([5 / 15, 90 / 95])


@pytest.mark.parametrize(("seed", "n", "k"), [(0, 50, 2), (1, 200, 3), (2, 300, 4), (3, 31, 6)])
def test_summary_agrees_with_scikit_learn(seed, n, k):
    truth, scores = draw(seed, n, k)
    predicted = scores.argmax(1)
    result = rates.summary(truth, scores)
    assert result["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted))
    assert result["sensitivity"] == pytest.approx(sk.recall_score(truth, predicted, average="macro"))
    assert result["precision"] == pytest.approx(sk.precision_score(truth, predicted, average="macro"))
    assert result["f1"] == pytest.approx(sk.f1_score(truth, predicted, average="macro"))
    assert np.array_equal(result["confusion"], sk.confusion_matrix(truth, predicted))
    binary = [(truth == i, predicted == i) for i in range(k)]
    assert result["specificity"] == pytest.approx(np.mean([sk.recall_score(~t, ~p) for t, p in binary]))
    assert result["npv"] == pytest.approx(np.mean([sk.precision_score(~t, ~p) for t, p in binary]))
    areas = [sk.roc_auc_score(truth == i, scores[:, i]) for i in range(k)]
    assert result["auc"] == pytest.approx(np.mean(areas))
    assert [row["auc"] for row in result["per_class"]] == pytest.approx(areas)


def test_two_classes_are_averaged_as_well():
    result = rates.summary([0, 0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]], ["no", "yes"])
    assert result["sensitivity"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["specificity"] == pytest.approx((1 + 2 / 3) / 2)
    assert [row["class"] for row in result["per_class"]] == ["no", "yes"]
    assert result["undefined"] == {}


def test_an_absent_class_is_null_with_its_reason():
    result = rates.summary([0, 0, 1], [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]], ["a", "b", "c"])
    assert result["sensitivity"] is None
    assert result["undefined"]["sensitivity"] == "c: no image of this class"
    assert result["auc"] is None
    assert result["per_class"][0]["sensitivity"] == pytest.approx(0.5)
    assert result["per_class"][2]["sensitivity"] is None
    json.dumps(result, allow_nan=False)


def test_nothing_at_all_is_null_and_no_crash():
    result = rates.summary(np.zeros(0), np.zeros((0, 2)))
    assert all(result[name] is None for name in rates.METRICS)
    assert result["n"] == 0
    json.dumps(result, allow_nan=False)


def test_everything_right_is_one():
    truth = np.array([0, 1, 2, 1])
    result = rates.summary(truth, np.eye(3)[truth])
    assert all(result[name] == 1.0 for name in rates.METRICS)
