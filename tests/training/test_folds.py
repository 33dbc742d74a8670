import csv
from pathlib import Path

import numpy as np
import pytest

from magsd_cli.errors import UsageError
from magsd_cli.training.folds import SMALL, UNKNOWN, make_folds, source_folds

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


def test_every_source_is_a_fold_and_small_ones_are_held_out_together():
    sources = ["north"] * 20 + ["south"] * 15 + ["a"] * 4 + ["b"] * 3 + [""] * 12
    folds, names = source_folds(sources, [""] * len(sources))
    assert names == ("north", UNKNOWN, SMALL, "south")
    assert [names[fold] for fold in folds] == [
        {"a": SMALL, "b": SMALL, "": UNKNOWN}.get(source, source) for source in sources
    ]


def test_sources_that_share_a_patient_are_one_fold():
    sources = ["x"] * 10 + ["y"] * 10 + ["z"] * 10
    groups = [f"p{i}" for i in range(30)]
    groups[15] = "p3"
    folds, names = source_folds(sources, groups)
    assert names == ("x + y", "z")
    assert list(folds) == [0] * 20 + [1] * 10
    groups[25] = "p19"
    with pytest.raises(UsageError, match="one source only"):
        source_folds(sources, groups)


def test_one_source_is_none_to_hold_out():
    with pytest.raises(UsageError, match="--group source"):
        source_folds([""] * 30, [""] * 30)
