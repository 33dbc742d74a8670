"""Folds for cross-validation: stratified by class, never splitting a group (a patient)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from magsd_cli.errors import UsageError

#: A source with fewer images is held out together with the other small ones.
LEAST_OF_SOURCE = 10
SMALL = "sources with few images"
UNKNOWN = "source unknown"


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


def source_folds(
    sources: Sequence[str], groups: Sequence[str]
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """The fold of each image, int64 [N], where every fold is one source; and the names of the folds.

    sources, groups: one name an image [N], such as its hospital's and its patient's; "" is unknown. Sources
    that share a group are one fold, so that no patient is split; those with fewer than `LEAST_OF_SOURCE`
    images are one fold together. Folds are numbered in the order of their names. Raises `UsageError` where
    less than two folds are left.
    """
    known = [source or UNKNOWN for source in sources]
    counts = {source: known.count(source) for source in set(known)}
    held = {source: SMALL if count < LEAST_OF_SOURCE else source for source, count in counts.items()}
    first_of: dict[str, str] = {}
    for source, group in zip(known, groups, strict=True):
        one, other = held[source], held[first_of.setdefault(group, source)] if group else held[source]
        if one != other:
            both = " + ".join(sorted({*one.split(" + "), *other.split(" + ")}))
            held = {name: both if place in (one, other) else place for name, place in held.items()}
    names = sorted(set(held.values()))
    if len(names) < 2:
        raise UsageError(
            f"--group source: the images have one source only ({names[0]}), or their patients are in all of "
            "them; there is none to hold out (metadata.csv may name it in a column source)"
        )
    return np.array([names.index(held[source]) for source in known], np.int64), tuple(names)


def _group_numbers(groups: Sequence[str]) -> npt.NDArray[np.int64]:
    """A number from 0 for each group in order of appearance; each empty name gets its own."""
    numbers: dict[str | int, int] = {}
    return np.array(
        [numbers.setdefault(name or position, len(numbers)) for position, name in enumerate(groups)], np.int64
    )
