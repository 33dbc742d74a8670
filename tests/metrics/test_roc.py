import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn import metrics as sk

from magsd_cli.metrics.roc import auc, mid_ranks, one_vs_rest_auc, roc_curve


def test_area_by_hand_with_a_tie():
    # Pairs (positive, negative): 0.9 beats both; 0.5 ties 0.5 and beats 0.1 -> 3.5 of 4.
    assert auc([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1]) == pytest.approx(3.5 / 4)


def test_curve_by_hand_with_a_tie():
    false_rate, true_rate, threshold = roc_curve([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1])
    assert false_rate.tolist() == [0, 0, 0.5, 1]
    assert true_rate.tolist() == [0, 0.5, 1, 1]
    assert threshold.tolist() == [np.inf, 0.9, 0.5, 0.1]


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(200) < 0.3
    scores = np.round(rng.random(200) + 0.3 * truth, 1 if seed % 2 else 6)
    assert auc(truth, scores) == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-12)
    expected = sk.roc_curve(truth, scores, drop_intermediate=False)
    for ours, theirs in zip(roc_curve(truth, scores), expected, strict=True):
        assert ours == pytest.approx(theirs)
    assert sk.auc(*roc_curve(truth, scores)[:2]) == pytest.approx(auc(truth, scores))


def test_ranks_agree_with_scipy():
    values = np.random.default_rng(0).integers(0, 9, 100)
    assert np.array_equal(mid_ranks(values), rankdata(values))


def test_one_kind_only_has_no_area():
    assert np.isnan(auc([1, 1], [0.1, 0.2]))
    assert np.isnan(one_vs_rest_auc([0, 0], [[0.1, 0.9], [0.4, 0.6]])).all()
    assert np.isnan(roc_curve([1, 1], [0.1, 0.2])[0]).all()
