from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from test_intervals import simulate

from magsd_cli.metrics import rates
from magsd_cli.metrics.intervals import Interval
from magsd_cli.metrics.significance import (
    UNDEFINED,
    Estimate,
    Sampled,
    difference,
    estimate,
    holm,
    sample_rates,
)


def test_clustered_differences():
    rng = np.random.default_rng(0)
    truth, good, groups = simulate(rng, 150, skill=2.5)
    bad = rng.dirichlet(np.ones(3), len(truth))
    one, other = sample_rates(truth, [good, bad], groups, np.random.default_rng(1), 2000)
    for metric in ("accuracy", "auc"):
        expected = rates.summary(truth, good)[metric] - rates.summary(truth, bad)[metric]
        found = difference([one[metric]], [other[metric]])
        assert found.value == pytest.approx(expected)
        assert found.interval.low > 0
        assert found.p == pytest.approx(2 / 2001)
        assert found.between_repeats is None
        assert found.over_patients == pytest.approx((one[metric].draws - other[metric].draws).std(ddof=1))
    assert difference([one["auc"]], [one["auc"]]) == Estimate(0, Interval(0, 0), 1, None, 0)
    again = sample_rates(truth, [good, bad], groups, np.random.default_rng(1), 2000)
    assert (again[1]["auc"].draws == other["auc"].draws).all()


def test_the_samples_are_those_of_the_intervals_and_shared_by_the_runs():
    truth, scores, groups = simulate(np.random.default_rng(0), 60, skill=1.5)
    one, same, other = sample_rates(
        truth, [scores, scores, scores[::-1]], groups, np.random.default_rng(1), 300
    )
    assert (one["accuracy"].draws == same["accuracy"].draws).all()
    assert one["accuracy"].draws.std() > 0
    assert not (one["accuracy"].draws == other["accuracy"].draws).all()


def test_an_undefined_metric_has_no_difference():
    one, other = sample_rates(
        [0, 0],
        [[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4]] * 2],
        ["a", "b"],
        np.random.default_rng(0),
        20,
    )
    assert difference([one["auc"]], [other["auc"]]) == UNDEFINED


def test_repeats_by_hand():
    """Values 0.1 and 0.3: s^2 = 0.02. Samples (0, .2, .4), (.1, .3, .5): variances and covariance 0.04."""
    two = [Sampled(0.1, np.array([0.0, 0.2, 0.4])), Sampled(0.3, np.array([0.1, 0.3, 0.5]))]
    found = estimate(two)
    total = 0.02 / 2 + 0.04
    freedom = (total / 0.01) ** 2
    half = stats.t.ppf(0.975, freedom) * total**0.5
    assert found.value == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.2 - half, 0.2 + half))
    assert found.p == pytest.approx(2 * stats.t.sf(0.2 / total**0.5, freedom))
    assert found.between_repeats == pytest.approx(0.02**0.5)
    assert found.over_patients == pytest.approx(0.2)
    cut = estimate(two, bounds=Interval(0, 1))
    assert cut.interval == pytest.approx((0, 0.2 + half))


def test_repeats_that_patients_do_not_share_leave_the_seeds_alone():
    """With a covariance below 0 the interval is Student's of the repeats themselves."""
    values = [0.1, 0.2, 0.4]
    up, down = np.array([0.0, 0.5]), np.array([0.5, 0.0])
    found = estimate([Sampled(v, d) for v, d in zip(values, (up, down, down), strict=True)])
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert found.interval == pytest.approx((low, high))
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_repeats_that_all_agree():
    same = Sampled(0.2, np.full(5, 0.2))
    assert estimate([same, same])[:3] == (pytest.approx(0.2), (pytest.approx(0.2),) * 2, 0.0)
    none = Sampled(0.0, np.zeros(5))
    assert estimate([none, none])[:3] == (0, (0, 0), 1)
    # The seeds agree and the patients vary: the normal interval.
    wide = Sampled(0.2, np.array([0.1, 0.2, 0.3]))
    assert estimate([wide, wide]).interval == pytest.approx((0.2 - 0.196, 0.2 + 0.196), abs=1e-4)


def test_repeats_that_agree_by_chance_have_the_interval_of_their_patients():
    """Nothing that the samples share, and the same value twice: each alone is known to 0.5 at best."""
    up, across = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
    found = estimate([Sampled(0.2, up), Sampled(0.2, across)])
    error = np.std((up + across) / 2, ddof=1)
    assert found.interval == pytest.approx((0.2 - 1.96 * error, 0.2 + 1.96 * error), abs=1e-4)
    assert found.p == pytest.approx(2 * stats.norm.sf(0.2 / error))
    assert found.between_repeats == 0


@pytest.mark.parametrize(
    ("of_patients", "of_seeds", "of_both", "seeds"),
    [
        (0.2, 0.01, 0.4, 3), (0.02, 0.02, 0.4, 3), (0.3, 0.0, 0.0, 3), (0.05, 0.05, 0.05, 3),
        (0.0, 0.0, 0.4, 3), (0.02, 0.02, 0.4, 2), (0.1, 0.0, 0.4, 2),
    ],
)  # fmt: skip
def test_the_interval_covers_the_truth_with_few_seeds(of_patients, of_seeds, of_both, seeds):
    """600 studies of 200 patients with no true difference: 95 % cover, whichever part is large.

    The differences are those of images, one a patient; the mean's samples over patients are normal with the
    covariance that resampling has, which for a mean is known.
    """
    rng = np.random.default_rng(0)
    people, covered, halves = 200, [], []
    for _ in range(600):
        each = of_patients * rng.normal(size=(people, 1)) + of_seeds * rng.normal(size=(1, seeds))
        each = each + of_both * rng.normal(size=(people, seeds))
        mean = each.mean(axis=0)
        covariance = np.cov(each.T) / people
        draws = rng.multivariate_normal(mean, covariance, size=1000).T
        found = estimate([Sampled(m, d) for m, d in zip(mean, draws, strict=True)])
        covered.append(found.interval.low <= 0 <= found.interval.high)
        halves.append((found.interval.high - found.interval.low) / 2)
    assert 0.925 <= np.mean(covered) <= 0.995
    error = (of_patients**2 / people + of_seeds**2 / seeds + of_both**2 / people / seeds) ** 0.5
    if of_patients > max(of_seeds, of_both):  # where patients are all of it nothing is given away
        assert np.median(halves) < 1.5 * 1.96 * error


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([0.0001] * 3) == pytest.approx([0.0003] * 3)
    assert holm([]) == []
