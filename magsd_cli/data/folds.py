"""Folds for cross-validation: stratified by class, never splitting a group (a patient)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from magsd_cli.errors import UsageError


def make_folds(labels: npt.ArrayLike, groups: Sequence[str], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """The test fold of each image: int64 [N] in 0..folds-1.

    labels: class numbers [N]; groups: one name an image [N], such as its patient's; an image with the empty
    name is a group of its own. All images of a group share a fold, the classes are spread as evenly as the
    groups allow, and the same seed gives the same folds. Raises `UsageError` when there are fewer groups than
    folds, or every class has fewer images than folds.
    """
    classes = np.asarray(labels, np.int64)
    keys = _group_numbers(groups)
    distinct = int(keys.max(initial=-1)) + 1
    if folds < 2 or distinct < folds:
        raise UsageError(
            f"--folds {folds}: there are {distinct} patients (or images without one) to share out; "
            "choose from 2 to that many folds, or prepare a cache with more patients"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    chosen = np.full(len(classes), -1, np.int64)
    with warnings.catch_warnings():  # a class with fewer images than folds: the caller sees it in the counts
        warnings.simplefilter("ignore", UserWarning)
        try:
            parts = list(splitter.split(classes, classes, keys))
        except ValueError as error:
            raise UsageError(
                f"--folds {folds}: every class has fewer images than folds; choose fewer folds"
            ) from error
    for fold, (_, test) in enumerate(parts):
        if len(test) == 0:
            raise UsageError(f"--folds {folds}: fold {fold} would be empty; choose fewer folds")
        chosen[test] = fold
    return chosen


def _group_numbers(groups: Sequence[str]) -> npt.NDArray[np.int64]:
    """A number from 0 for each group in order of appearance; each empty name gets its own."""
    numbers: dict[str | int, int] = {}
    return np.array(
        [numbers.setdefault(name or position, len(numbers)) for position, name in enumerate(groups)], np.int64
    )
