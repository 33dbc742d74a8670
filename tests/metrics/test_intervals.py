import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk

from magsd_cli.metrics import rates
from magsd_cli.metrics.intervals import (
    Interval,
    bootstrap,
    patient_weights,
    percentile_interval,
    rate_draws,
    rate_intervals,
    share_interval,
    weighted_share,
    wilson,
)
from magsd_cli.metrics.roc import auc, weighted_auc


def simulate(rng: np.random.Generator, patients: int, classes: int = 3, skill: float = 1.0):
    """Images of patients: 1 to 3 each, of one class, with a difficulty that they share."""
    images = rng.integers(1, 4, patients)
    owner = np.repeat(np.arange(patients), images)
    truth = rng.choice(classes, patients)[owner]
    difficulty = rng.normal(0, 1, patients)[owner]
    scores = rng.normal(0, 1, (len(owner), classes))
    scores[np.arange(len(owner)), truth] += skill + difficulty
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return truth, probabilities, [f"p{i}" for i in owner]


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (3, 7), (50, 100), (1, 1), (999, 1000)])
def test_wilson_agrees_with_scipy(successes, total):
    expected = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    assert wilson(successes, total) == pytest.approx((expected.low, expected.high))


def test_wilson_contains_the_share_and_knows_nothing_of_nothing():
    assert wilson(0, 0) == (None, None)
    for n in range(1, 40):
        for x in range(n + 1):
            low, high = wilson(x, n)
            assert 0 <= low <= x / n <= high <= 1


def test_patients_are_drawn_whole():
    groups = ["a", "b", "a", "", "", "b", "b"]
    weights = patient_weights(groups, 500, np.random.default_rng(0))
    assert weights.shape == (500, 7)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [1, 1]] == weights[:, [5, 6]]).all()
    assert (weights[:, [0, 1, 3, 4]].sum(1) == 4).all()  # four patients, four draws
    assert (weights[:, 3] != weights[:, 4]).any()
    assert weights.mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_draws_equal_the_summary_of_the_repeated_images(seed):
    rng = np.random.default_rng(seed)
    truth, probabilities, groups = simulate(rng, 20)
    probabilities = np.round(probabilities, 1)  # ties
    weights = patient_weights(groups, 6, rng)
    found = rate_draws(truth, probabilities, weights)
    for row, weight in enumerate(weights):
        repeated = np.repeat(np.arange(len(truth)), weight)
        expected = rates.summary(truth[repeated], probabilities[repeated])
        for metric in rates.METRICS:
            value = found[metric][row]
            assert np.isnan(value) if expected[metric] is None else value == pytest.approx(expected[metric])
        for k, per_class in enumerate(expected["per_class"]):
            value = found[f"sensitivity.{k}"][row]
            wanted = per_class["sensitivity"]
            assert np.isnan(value) if wanted is None else value == pytest.approx(wanted)


def test_weighted_area_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    truth, scores = rng.random(60) < 0.4, np.round(rng.random(60), 1)
    weights = rng.integers(0, 4, (5, 60))
    expected = [sk.roc_auc_score(truth, scores, sample_weight=row) for row in weights]
    assert weighted_auc(truth, scores, weights) == pytest.approx(expected)
    assert weighted_auc(truth, scores, np.ones((1, 60))) == pytest.approx([auc(truth, scores)])


def test_the_seed_decides_and_the_estimate_is_inside():
    truth, probabilities, groups = simulate(np.random.default_rng(1), 80)
    first = rate_intervals(truth, probabilities, groups, np.random.default_rng(5))
    assert first == rate_intervals(truth, probabilities, groups, np.random.default_rng(5))
    assert first != rate_intervals(truth, probabilities, groups, np.random.default_rng(6))
    estimate = rates.summary(truth, probabilities)
    for metric in rates.METRICS:
        low, high = first[metric]
        assert low < estimate[metric] < high


def test_chunks_change_nothing(monkeypatch):
    truth, probabilities, groups = simulate(np.random.default_rng(1), 30)
    whole = rate_intervals(truth, probabilities, groups, np.random.default_rng(5), draws=100)
    monkeypatch.setattr("magsd_cli.metrics.intervals.CHUNK", 7 * len(truth))
    assert rate_intervals(truth, probabilities, groups, np.random.default_rng(5), draws=100) == whole


def test_clusters_widen_the_interval():
    truth, probabilities, groups = simulate(np.random.default_rng(2), 100)
    triple = [np.repeat(values, 3, axis=0) for values in (truth, probabilities)]
    names = [name for name in groups for _ in range(3)]
    one = rate_intervals(truth, probabilities, groups, np.random.default_rng(0))["accuracy"]
    same = rate_intervals(*triple, names, np.random.default_rng(0))["accuracy"]
    naive = rate_intervals(*triple, [""] * len(names), np.random.default_rng(0))["accuracy"]
    assert same == pytest.approx(one)  # copies of an image teach nothing
    assert naive.high - naive.low < 0.8 * (one.high - one.low)


def test_undefined_is_unknown_and_everything_right_still_has_a_width():
    found = rate_intervals([0, 0, 0], np.eye(2)[[0, 0, 0]], ["a", "b", "c"], np.random.default_rng(0), 50)
    assert found["auc"] == (None, None)
    assert found["sensitivity.1"] == (None, None)
    assert found["accuracy"] == pytest.approx(wilson(3, 3))
    truth, groups = [0, 0, 0, 1, 1], ["a", "a", "b", "c", "d"]
    wrong = rate_intervals(truth, np.eye(2)[[1, 1, 1, 0, 0]], groups, np.random.default_rng(0), 50)
    assert wrong["sensitivity.0"] == pytest.approx(wilson(0, 2))  # two patients, not three images
    assert wrong["specificity.0"] == pytest.approx(wilson(0, 2))
    assert wrong["accuracy"] == pytest.approx(wilson(0, 4))
    assert percentile_interval([np.nan, np.nan, 1.0]) == (None, None)
    empty = rate_intervals(np.zeros(0, int), np.zeros((0, 2)), [], np.random.default_rng(0), 10)
    assert set(empty.values()) == {Interval(None, None)}


def test_any_figure_can_be_bootstrapped():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = bootstrap(lambda w: w @ values / w.sum(1), [""] * 400, np.random.default_rng(0))
    assert (low, high) == pytest.approx((values.mean() - 0.196, values.mean() + 0.196), abs=0.02)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_intervals_cover_what_they_claim():
    """1,000 simulated studies of 150 patients: the 95% intervals contain the truth in 95% +- 2 of them."""
    truth, probabilities, _ = simulate(np.random.default_rng(99), 300_000)
    true = rates.summary(truth, probabilities)
    hits = dict.fromkeys(("accuracy", "sensitivity", "specificity", "f1", "auc"), 0)
    for study in range(1000):
        rng = np.random.default_rng([7, study])
        found = rate_intervals(*simulate(rng, 150), rng, draws=1000)
        for metric in hits:
            low, high = found[metric]
            hits[metric] += low <= true[metric] <= high
    shares = {metric: count / 1000 for metric, count in hits.items()}
    print(shares)
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares


def test_a_share_of_some_images():
    among, right = np.array([1, 1, 1, 1, 0], bool), np.array([1, 0, 1, 0, 1], bool)
    weights = np.array([[1, 1, 1, 1, 1], [2, 0, 0, 1, 5], [0, 0, 0, 0, 1]])
    shares = weighted_share(among, right, weights)
    assert shares[:2] == pytest.approx([1 / 2, 2 / 3])
    assert np.isnan(shares[2])
    low, high = share_interval(among, right, list("abcde"), np.random.default_rng(0))
    assert low is not None
    assert low < 0.5 < high
    # All of them, of two patients: Wilson's for two, not no width.
    whole = share_interval(among, among, ["a", "a", "b", "b", "c"], np.random.default_rng(0))
    assert whole == wilson(2, 2)
    assert share_interval(among, ~among, list("abcde"), np.random.default_rng(0)) == wilson(0, 4)
    assert share_interval(~among & right & ~right, right, list("abcde"), np.random.default_rng(0)) == (
        None,
        None,
    )
