"""Published splits: a CSV that says which image belongs to which fold."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.errors import UsageError

HELD_OUT = "test"  # the fold that `magsd train` tests on, where a split has one of this name


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
        found = known.get(image_id, [])
        if len(found) != 1:
            reason = "is no labelled image of the cache" if not found else "is the name of several images"
            raise UsageError(f"{where}: {image_id!r} {reason}; use the ids of the cache's samples.parquet")
        image = found[0]
        if names[image] is not None:
            raise UsageError(f"{where}: {image_id!r} stands there twice; keep one row for each image")
        names[image] = fold
        first_fold, first_id = fold_of_group.setdefault(groups[image] or f"\0{image}", (fold, image_id))
        if first_fold != fold:
            raise UsageError(
                f"{where}: {image_id!r} is in fold {fold}, {first_id!r} of the same patient (or a copy) "
                f"in fold {first_fold}; a network would be tested on patients that it was trained on"
            )
    missing = [image_ids[i] for i, name in enumerate(names) if name is None]
    if missing:
        raise UsageError(f"--splits {path}: {len(missing)} images have no row, the first is {missing[0]!r}")
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
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--splits {path}: cannot be read as CSV ({error}); mend the file") from error
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
    return {**by_file, **by_id}


def _order(names: set[str]) -> list[str]:
    numbers = all(name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (name != HELD_OUT, int(name) if numbers else 0, name))
