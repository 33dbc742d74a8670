import numpy as np
import pytest
from scipy.stats import binomtest, norm
from test_intervals import simulate

from magsd_cli.metrics import rates
from magsd_cli.metrics.roc import auc
from magsd_cli.metrics.significance import compare_rates, delong, delong_interval, holm, mcnemar


def naive_delong(truth, first, second):
    """DeLong et al. (1988), straight from the definition: psi over all pairs, S10 and S01."""
    ours, others = np.flatnonzero(truth), np.flatnonzero(~truth)
    v10, v01 = [], []
    for scores in (first, second):
        psi = (scores[ours][:, None] > scores[others]) + 0.5 * (scores[ours][:, None] == scores[others])
        v10.append(psi.mean(1))
        v01.append(psi.mean(0))
    covariance = np.cov(v10) / len(ours) + np.cov(v01) / len(others)
    contrast = np.array([1.0, -1.0])
    areas = np.array([v.mean() for v in v10])
    difference, error = contrast @ areas, np.sqrt(contrast @ covariance @ contrast)
    return areas, difference, error


def two_models(seed: int, n: int = 80, better: float = 0.5):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    shared = rng.normal(0, 1, n)
    first = shared + rng.normal(0, 1, n) + (1 + better) * truth
    second = shared + rng.normal(0, 1, n) + truth
    return truth, np.round(first, 1), np.round(second, 1)


@pytest.mark.parametrize("seed", range(5))
def test_delong_agrees_with_its_definition(seed):
    truth, first, second = two_models(seed)
    areas, difference, error = naive_delong(truth, first, second)
    found = delong(truth, first, second)
    assert areas == pytest.approx([auc(truth, first), auc(truth, second)])
    assert found.difference == pytest.approx(difference)
    assert found.p == pytest.approx(2 * norm.sf(abs(difference) / error))
    assert found.interval == pytest.approx((difference - 1.959964 * error, difference + 1.959964 * error))
    assert delong(truth, second, first).difference == pytest.approx(-difference)


def test_delong_at_the_edges():
    truth = np.array([1, 1, 0, 0, 0], bool)
    scores = np.array([0.9, 0.3, 0.4, 0.2, 0.1])
    assert delong(truth, scores, scores).p == 1
    assert delong(truth, scores, 2 * scores).difference == 0
    assert delong([1, 0, 0], [1, 2, 3], [3, 2, 1]) == (None, (None, None), None)
    assert delong(truth, truth, np.zeros(5)) == (0.5, (None, None), None)
    assert delong_interval(truth, truth) == (None, None)
    assert delong_interval([1, 0], [1, 0]) == (None, None)
    low, high = delong_interval(truth, scores)
    assert 0 < low < auc(truth, scores) < high < 1


@pytest.mark.parametrize(
    ("both", "first", "second", "neither"), [(50, 9, 2, 10), (5, 0, 0, 2), (3, 6, 6, 0), (0, 0, 8, 1)]
)
def test_mcnemar_agrees_with_the_binomial_test(both, first, second, neither):
    ours = np.repeat([True, True, False, False], [both, first, second, neither])
    theirs = np.repeat([True, False, True, False], [both, first, second, neither])
    found = mcnemar(ours, theirs)
    assert found.difference == pytest.approx((first - second) / len(ours))
    assert found.p == pytest.approx(binomtest(first, first + second).pvalue if first + second else 1)
    assert found.interval.low <= found.difference <= found.interval.high
    assert (found.interval.low > 0) <= (found.difference > 0)


def test_mcnemar_by_hand():
    # 1 against 4 of 5 disagreements: p = 2 * (1 + 5) / 2**5
    assert mcnemar([1, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 1]).p == pytest.approx(2 * 6 / 32)
    assert mcnemar([], []) == (None, (None, None), None)


def test_clustered_differences():
    rng = np.random.default_rng(0)
    truth, good, groups = simulate(rng, 150, skill=2.5)
    bad = rng.dirichlet(np.ones(3), len(truth))
    found = compare_rates(truth, good, bad, groups, np.random.default_rng(1))
    for metric in ("accuracy", "auc", "f1"):
        expected = rates.summary(truth, good)[metric] - rates.summary(truth, bad)[metric]
        assert found[metric].difference == pytest.approx(expected)
        assert found[metric].interval.low > 0
        assert found[metric].p == pytest.approx(2 / 2001)
    same = compare_rates(truth, good, good, groups, np.random.default_rng(1))
    assert same["auc"] == (0, (0, 0), 1)
    assert found == compare_rates(truth, good, bad, groups, np.random.default_rng(1))


def test_an_undefined_metric_has_no_difference():
    found = compare_rates(
        [0, 0], [[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4]] * 2, ["a", "b"], np.random.default_rng(0), 20
    )
    assert found["auc"] == (None, (None, None), None)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([0.0001] * 3) == pytest.approx([0.0003] * 3)
    assert holm([]) == []


@pytest.mark.slow
def test_the_paired_tests_hold_their_level_and_cover():
    """2,000 studies in which the models are equally good, 100 patients each."""
    rejected = {"delong": 0, "mcnemar": 0}
    covered = {"delong": 0, "mcnemar": 0, "area": 0}
    true_area = norm.cdf(1 / 2)  # two normal scores of variance 2, one unit apart
    for study in range(2000):
        truth, first, second = two_models(study + 10_000, n=100, better=0.0)
        areas = delong(truth, first, second)
        right = mcnemar((first > 0.5) == truth, (second > 0.5) == truth)
        for name, found in (("delong", areas), ("mcnemar", right)):
            rejected[name] += found.p < 0.05
            covered[name] += found.interval.low <= 0 <= found.interval.high
        low, high = delong_interval(truth, first)
        covered["area"] += low <= true_area <= high
    print(rejected, covered)
    assert 0.03 * 2000 <= rejected["delong"] <= 0.07 * 2000
    assert rejected["mcnemar"] <= 0.06 * 2000  # exact: never above its level, often below
    assert all(0.93 * 2000 <= count <= 0.985 * 2000 for count in covered.values())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_clustered_difference_holds_its_level():
    """1,000 studies of 120 patients with up to three images: two equally good models differ in 5% +- 2."""
    rejected = 0
    for study in range(1000):
        rng = np.random.default_rng([3, study])
        truth, _, groups = simulate(rng, 120)
        models = []
        hard = np.unique(groups, return_inverse=True)[1]
        for _ in range(2):
            scores = rng.normal(0, 1, (len(truth), 3))
            scores[np.arange(len(truth)), truth] += 1 + rng.normal(0, 1, hard.max() + 1)[hard]
            models.append(np.exp(scores) / np.exp(scores).sum(1, keepdims=True))
        low, high = compare_rates(truth, *models, groups, rng, draws=500)["accuracy"].interval
        rejected += not low <= 0 <= high
    print(rejected)
    assert 30 <= rejected <= 70
