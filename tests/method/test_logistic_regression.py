"""The last layer of a linear probe against scikit-learn's own answers, and where classes or patients lack."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from magsd_cli.method import logistic_regression
from magsd_cli.method.logistic_regression import ABSENT, PENALTIES, fit_logistic_regression


def clusters(
    classes: int, each: int = 30, apart: float = 2.0, width: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [N, D] around a centre for each class, of very different scales and one constant column."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    vectors = rng.normal(size=(len(labels), width)) + apart * rng.normal(size=(classes, width))[labels]
    vectors *= np.logspace(-3, 3, width)
    vectors[:, 1] = 7
    return vectors, labels


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_it_answers_as_scikit_learn_does(classes: int) -> None:
    vectors, labels = clusters(classes)
    found = fit_logistic_regression(vectors, labels, [""] * len(labels), classes, 0)
    assert found.weight.shape == (classes, 5)
    scaler = StandardScaler().fit(vectors)
    model = LogisticRegression(C=found.penalty, max_iter=1000).fit(scaler.transform(vectors), labels)
    expected = model.predict_proba(scaler.transform(vectors))
    assert softmax(vectors @ found.weight.T + found.bias) == pytest.approx(expected, abs=1e-6)


def test_a_class_without_images_is_never_called() -> None:
    vectors, labels = clusters(2)
    found = fit_logistic_regression(vectors, labels * 2, [""] * len(labels), 4, 0)
    assert (found.bias[[1, 3]] == ABSENT).all()
    probabilities = softmax(vectors @ found.weight.T + found.bias)
    assert probabilities[:, [1, 3]].max() < 1e-6
    assert (probabilities.argmax(axis=1) == labels * 2).mean() > 0.9


def test_the_penalty_is_chosen_by_patient() -> None:
    """Labels that only the patient tells: by image a weak penalty would look best, by patient it does not."""
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(40), 6)
    labels = rng.integers(0, 2, 40)[patients]
    vectors = rng.normal(size=(40, 60))[patients] + 0.01 * rng.normal(size=(240, 60))
    by_patient = fit_logistic_regression(vectors, labels, [str(p) for p in patients], 2, 0)
    by_image = fit_logistic_regression(vectors, labels, [""] * 240, 2, 0)
    assert by_patient.penalty == PENALTIES[0]
    assert by_image.penalty > PENALTIES[2]


def test_too_few_images_to_choose_with() -> None:
    vectors, labels = clusters(2, each=1)
    assert fit_logistic_regression(vectors, labels, ["a", "b"], 2, 0).penalty == PENALTIES[2]
    vectors, labels = clusters(2, each=10)
    one_patient = fit_logistic_regression(vectors, labels, ["a"] * 20, 2, 0)
    assert one_patient.penalty == PENALTIES[2]


def test_the_same_seed_gives_the_same_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels = clusters(3, apart=0.5)
    monkeypatch.setattr(logistic_regression, "PENALTIES", (0.01, 1.0, 1.0))
    one, two = (fit_logistic_regression(vectors, labels, [""] * 90, 3, 5) for _ in range(2))
    assert (one.weight == two.weight).all()
