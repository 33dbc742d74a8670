import numpy as np
import pytest
from test_intervals import simulate

from magsd_cli.metrics import rates
from magsd_cli.metrics.significance import compare_rates, holm


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
