"""Folds for cross-validation: stratified by class, never splitting a group (a patient)."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from magsd_cli.artifacts.cache import Cache, read_samples
from magsd_cli.console import counted, say
from magsd_cli.data.unicode_forms import same_path
from magsd_cli.errors import NoInputError, UsageError

#: A source with fewer images is held out together with the other small ones.
LEAST_OF_SOURCE = 10
SMALL = "sources with few images"
UNKNOWN = "source unknown"

#: What to do where every image is of one group, as after an anonymiser that wrote one id into every file.
ONE_ID = (
    "all images have one patient or exam id, or look alike; if an anonymiser wrote one id into every file, "
    "give patient_id and exam_id of your own in a metadata.csv and prepare again; else "
)

HELD_OUT = "test"  # the fold that `magsd train` tests on, where a split has one of this name


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
            + (ONE_ID if distinct == 1 and len(classes) > 1 else "")
            + "choose from 2 to that many folds, or prepare a cache with more patients"
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


def read_splits(path: Path, image_ids: Sequence[str], groups: Sequence[str]) -> npt.NDArray[np.int64]:
    """The fold of each image, int64 [N] from 0, as the CSV `path` (columns image_id, fold) says.

    ``image_id`` is an image's id in the cache, or its file name where that is unambiguous. Folds are numbered
    in the order of their names (as numbers where all are), a fold called ``test`` first. groups: one name an
    image, images of one group may not be split; the empty name is no group. Raises `UsageError`, with the
    row, for a missing column, an id that is unknown, ambiguous or given twice, an image without a fold, a
    group in two folds, and fewer than two folds.
    """
    rows = _rows(path)
    known = _by_name(image_ids)
    names: list[str | None] = [None] * len(image_ids)
    fold_of_group: dict[str, tuple[str, str]] = {}
    for number, (image_id, fold) in enumerate(rows, start=2):
        where = f"--splits {path}: row {number}"
        found = known.get(image_id) or known.get(same_path(image_id), [])
        if len(found) != 1:
            reason = "is not a labelled image of the cache" if not found else "is the name of several images"
            raise UsageError(f"{where}: {image_id!r} {reason}; use the ids of the cache's samples.parquet")
        image = found[0]
        if names[image] is not None:
            raise UsageError(f"{where}: {image_id!r} is listed twice; keep one row for each image")
        names[image] = fold
        first_fold, first_id = fold_of_group.setdefault(groups[image] or f"\0{image}", (fold, image_id))
        if first_fold != fold:
            raise UsageError(
                f"{where}: {image_id!r} is in fold {fold}, {first_id!r} of the same patient (or a copy) "
                f"in fold {first_fold}; a network would be tested on patients that it was trained on"
            )
    missing = [image_ids[i] for i, name in enumerate(names) if name is None]
    if missing:
        raise UsageError(
            f"--splits {path}: {counted(len(missing), 'image')} without a row, the first is {missing[0]!r}"
        )
    order = _order({str(name) for name in names})
    if len(order) < 2:
        raise UsageError(f"--splits {path}: there is one fold only; a split has two or more")
    return np.array([order.index(str(name)) for name in names], np.int64)


def _rows(path: Path) -> list[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            absent = {"image_id", "fold"} - set(reader.fieldnames or ())
            if absent:
                raise UsageError(f"--splits {path}: no column {', '.join(sorted(absent))} in its first row")
            rows = [(row["image_id"] or "", (row["fold"] or "").strip()) for row in reader]
    except OSError as error:
        raise UsageError(f"--splits {path}: {error.strerror or error}; name a CSV of folds") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--splits {path}: cannot be read as CSV ({error}); fix the file") from error
    for number, (image_id, fold) in enumerate(rows, start=2):
        if not image_id or not fold:
            raise UsageError(f"--splits {path}: row {number}: an image_id and a fold are needed")
    return rows


def _by_name(image_ids: Sequence[str]) -> dict[str, list[int]]:
    """Images by id, and by file name where no id is called so."""
    by_id = {image_id: [i] for i, image_id in enumerate(image_ids)}
    by_file: dict[str, list[int]] = {}
    for i, image_id in enumerate(image_ids):
        by_file.setdefault(image_id.rsplit("/", 1)[-1], []).append(i)
    known = {**by_file, **by_id}
    twins: dict[str, list[int]] = {}
    for name, found in known.items():
        twins.setdefault(same_path(name), []).extend(found)
    return {**{name: sorted(set(found)) for name, found in twins.items()}, **known}


def _order(names: set[str]) -> list[str]:
    numbers = all(name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (name != HELD_OUT, int(name) if numbers else 0, name))


def folds_table(cache: Cache, folds: int, seed: int, splits: Path | None = None) -> pd.DataFrame:
    """Every labelled image of the cache with its test fold: index, image_id, patient_id, label, fold.

    Images of one group (same patient, or the cache's `group_ids`) share a fold, also where the folds come
    from the CSV `splits`.
    """
    index = np.flatnonzero(cache.labels >= 0)
    labels = cache.labels[index]
    if len(np.unique(labels)) < 2:
        raise NoInputError(
            f"{cache.path}: its images have fewer than two labels; there is nothing to tell apart"
        )
    groups = cache.group_ids if any(cache.group_ids) else cache.patient_ids
    if not any(groups):
        say(
            f"{cache.path.name}: patients are unknown, so images of one patient may be in both training "
            "and test, and the figures too optimistic (give patient_id in metadata.csv)",
            level="warning",
        )
    ids = [cache.image_ids[i] for i in index]
    mine = [groups[i] for i in index]
    return pd.DataFrame(
        {
            "index": index.astype(np.int64),
            "image_id": ids,
            "patient_id": [cache.patient_ids[i] for i in index],
            "label": [cache.classes[k] for k in labels],
            "fold": read_splits(splits, ids, mine) if splits else make_folds(labels, mine, folds, seed),
        }
    )


def source_table(cache: Cache) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The folds table whose folds are the sources of the images, and their names. Says what is odd."""
    table = folds_table(cache, 2, 0)
    sources = read_samples(cache.path).set_index("image_id")["source"].fillna("")
    groups = cache.group_ids if any(cache.group_ids) else cache.patient_ids
    folds, names = source_folds(list(sources.reindex(table["image_id"])), [groups[i] for i in table["index"]])
    table = table.assign(fold=folds)
    for fold, name in enumerate(names):
        part = table["label"][table["fold"] == fold]
        counts = ", ".join(f"{label} {count}" for label, count in part.value_counts().items())
        say(f"held out: {name}, {counted(len(part), 'image')} ({counts})", source=name, images=len(part))
        absent = sorted(set(table["label"]) - set(table["label"][table["fold"] != fold]))
        if absent:
            say(
                f"held out: {name}: all images of {', '.join(absent)} are in it, so the network that is "
                "tested on it never sees one and cannot recognise it",
                level="warning",
            )
    return table, names
