import csv
from pathlib import Path

import numpy as np
import pytest

from magsd_cli.data.folds import make_folds
from magsd_cli.errors import UsageError

REAL = Path(__file__).parents[3] / "shared/data/cxr/metadata.csv"


def patients(seed: int = 0, n: int = 300) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=[0.1, 0.3, 0.6])
    groups = [f"{label}-{number}" for label, number in zip(labels, rng.integers(0, 40, n), strict=True)]
    return labels, groups


@pytest.mark.parametrize("k", [2, 5, 10])
def test_every_image_has_one_fold_and_patients_are_never_split(k):
    labels, groups = patients()
    folds = make_folds(labels, groups, k, 0)
    assert set(folds) == set(range(k))
    for group in set(groups):
        assert len({fold for fold, name in zip(folds, groups, strict=True) if name == group}) == 1


def test_classes_are_spread_evenly():
    labels, _ = patients(n=500)
    folds = make_folds(labels, [""] * 500, 5, 3)
    table = np.array([np.bincount(labels[folds == f], minlength=3) for f in range(5)])
    assert (np.ptp(table, axis=0) <= 1).all()


def test_the_seed_decides():
    labels, groups = patients()
    same = make_folds(labels, groups, 5, 7)
    assert np.array_equal(same, make_folds(labels, groups, 5, 7))
    assert not np.array_equal(same, make_folds(labels, groups, 5, 8))


def test_a_missing_patient_is_nobody_elses():
    labels = np.array([0, 1] * 5)
    folds = make_folds(labels, [""] * 10, 5, 0)
    assert np.bincount(folds).tolist() == [2] * 5


@pytest.mark.parametrize(("groups", "k"), [(["a", "a", "b", "b"], 3), (["a"] * 4, 2), ([], 2)])
def test_more_folds_than_patients_is_refused(groups, k):
    with pytest.raises(UsageError, match=f"--folds {k}"):
        make_folds(np.arange(len(groups)) % 2, groups, k, 0)


def test_more_folds_than_images_of_any_class_is_refused():
    with pytest.raises(UsageError, match="fewer folds"):
        make_folds([0, 1, 2, 3], list("abcd"), 3, 0)


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_file(), reason=f"{REAL} is not here")
def test_real_patients_are_shared_out_evenly():
    with REAL.open() as file:
        rows = list(csv.DictReader(file))
    labels = np.unique([row["label"] for row in rows], return_inverse=True)[1]
    folds = make_folds(labels, [row["patient_id"] for row in rows], 5, 0)
    table = np.array([np.bincount(labels[folds == f], minlength=3) for f in range(5)])
    assert (np.abs(table - table.mean(0)) <= np.maximum(3, 0.1 * table.mean(0))).all(), table
