"""Listed records and the results of their files become the samples table; which records are used at all."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magsd_cli.artifacts.cache import FRAME_COLUMNS
from magsd_cli.artifacts.tables import GROUP_ROWS, groups
from magsd_cli.data.identity import keyed_hash
from magsd_cli.data.layouts.listing import VIEWS, Record, class_name, readable
from magsd_cli.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


Row = Mapping[str, Any]
PerClass = int | Mapping[str, int] | None


def map_labels(records: Sequence[Record], pairs: Iterable[str]) -> list[Record]:
    """Rename labels by "OLD=NEW" pairs; an empty NEW leaves its images out.

    Raises `UsageError` for a pair that cannot be read or an OLD that no image has.
    """
    renamed: dict[str, str] = {}
    known = sorted({record.label for record in records if record.label is not None})
    for pair in pairs:
        old, equals, new = (class_name(part) for part in pair.partition("="))
        if not equals or not old:
            raise UsageError(f"--map {pair}: write it as OLD=NEW; labels here are {', '.join(known)}")
        if old not in known:
            raise UsageError(f"--map {pair}: no image is labelled {old}; labels here are {', '.join(known)}")
        renamed[old] = new
    return [_rename(record, renamed) for record in records]


def _rename(record: Record, renamed: Mapping[str, str]) -> Record:
    if record.label is None or record.label not in renamed:
        return record
    new = renamed[record.label]
    if not new:
        return replace(record, problem=record.problem or ("left_out", "its label is left out by --map"))
    return replace(record, label=new)


def refuse_lateral(records: Sequence[Record]) -> list[Record]:
    """Leave out the images that their source calls lateral."""
    problem = ("lateral_view", "a lateral view; frontal ones are used (--view all allows it)")
    lateral = (VIEWS.get(record.view.replace("_", " ").upper()) == "L" for record in records)
    return [
        replace(record, problem=record.problem or problem) if is_lateral else record
        for record, is_lateral in zip(records, lateral, strict=True)
    ]


def choose(records: Sequence[Record], per_class: PerClass, seed: int, failed: set[int]) -> list[int]:
    """Positions of the records to use: all without a problem, or the first `per_class` of each label.

    The order within a label is that of SHA-256(seed, image id): it looks random, stays the same when images
    are added elsewhere, and the next one takes the place of one in `failed`. `per_class` is one number for
    all labels or one for each.
    """
    usable = [i for i, record in enumerate(records) if record.problem is None]
    if per_class is None:
        return usable
    by_label: dict[str | None, list[int]] = {}
    for position in usable:
        by_label.setdefault(records[position].label, []).append(position)
    chosen: list[int] = []
    for label, positions in by_label.items():
        most = per_class if isinstance(per_class, int) else per_class.get(label or "", 0)
        positions.sort(key=lambda i: hashlib.sha256(f"{seed}|{records[i].image_id}".encode()).digest())
        chosen += [i for i in positions if i not in failed][:most]
    return sorted(chosen)


#: What is known of all rows at a time: what the leak gate looks at, and what it or a later step may change.
KNOWN = (
    "image_id", "status", "error_code", "error", "label", "patient_id", "exam_id", "group_id",
    "pixels_sha256", "perceptual_hash",
)  # fmt: skip
_JUDGED = ("status", "error_code", "error", "patient_id", "exam_id", "group_id", "index")


class Samples:
    """The samples table (columns of `artifacts.cache`): a row for every record, in their order.

    Its rows are made anew each time one goes through them, so that they are never in memory together;
    `known` has the columns `KNOWN` and `index` of all of them, and what it says counts.
    """

    def __init__(self, source: Callable[[], Iterator[Row]]) -> None:
        self._source = source
        self.known = number_rows(_frame_of(source()))

    def __iter__(self) -> Iterator[Row]:
        rows = self._source()
        for start in range(0, len(self.known), GROUP_ROWS):
            some = self.known.iloc[start : start + GROUP_ROWS]
            for judged in zip(*(some[name].tolist() for name in _JUDGED), strict=True):
                yield {**next(rows), **dict(zip(_JUDGED, judged, strict=True))}


def _frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    """The columns `KNOWN` of `rows`; text is Arrow's, which has a byte for each character and eight more."""
    import pandas as pd

    looked_at = (tuple(row[name] for name in KNOWN) for row in rows)
    parts = [pd.DataFrame(some, columns=list(KNOWN), dtype="str") for some in groups(looked_at, GROUP_ROWS)]
    return pd.concat(parts, ignore_index=True)


def sample_rows(
    records: Sequence[Record],
    rows: Iterable[Row | None],
    chosen: Iterable[int],
    key: Callable[[], bytes],
) -> Iterator[Row]:
    """The row of each record, but for its place in the cache.

    `rows` are what came of each record's file, None where it was not decoded; `chosen` are the positions of
    those that are used if they are fine. `key` gives the site key when a header's patient id must be hashed.
    """
    wanted = np.zeros(len(records), bool)
    wanted[list(chosen)] = True
    for record, row, is_wanted in zip(records, rows, wanted, strict=True):
        yield _sample(record, row, bool(is_wanted), key)


def number_rows(samples: pd.DataFrame) -> pd.DataFrame:
    """Set `index`, the place in the cache: 0, 1, ... for the usable rows in order, -1 for the others."""
    used = samples["status"] == "ok"
    return samples.assign(index=np.where(used, used.cumsum() - 1, -1))


def _sample(record: Record, row: Row | None, wanted: bool, key: Callable[[], bytes]) -> dict[str, Any]:
    row = row or {}
    status, code, reason = "ok", row.get("error_code", ""), row.get("error", "")
    if record.problem is not None:
        status, (code, reason) = "excluded", record.problem
    elif code:
        status = "error"
    elif not wanted:
        status, code, reason = "excluded", "not_chosen", "more images of its class than are asked for"
    patient = record.patient_id or _hashed(row, "patient_id", key)
    return {
        "image_id": record.image_id,
        "path": readable(str(record.path.absolute())),
        "sha256": row.get("sha256", ""),
        "pixels_sha256": row.get("pixels_sha256", ""),
        "perceptual_hash": row.get("perceptual_hash", ""),
        "status": status,
        "error_code": code,
        "error": reason,
        "warnings": list(row.get("warnings", ())),
        "label": record.label or "",
        "patient_id": patient,
        "exam_id": record.exam_id or _hashed(row, "exam_id", key),
        "group_id": patient,
        "sex": record.sex or row.get("sex", ""),
        "age": record.age or row.get("age", ""),
        "view": record.view or row.get("view", ""),
        "source": record.source,
        "findings": record.findings,
        "split": record.split,
        "width": row.get("width", 0),
        "height": row.get("height", 0),
        **dict(zip(FRAME_COLUMNS, row.get("frame") or (None,) * len(FRAME_COLUMNS), strict=True)),
    }


def _hashed(row: Row, name: str, key: Callable[[], bytes]) -> str:
    """An id of a header as a keyed hash; tasks on other machines have made it one already."""
    value = str(row.get(name, ""))
    return value if row.get("ids_are_hashed") else keyed_hash(value, key)


def used_classes(samples: pd.DataFrame) -> tuple[str, ...]:
    """The labels that usable images have, sorted."""
    labels = samples.loc[samples["status"] == "ok", "label"]
    return tuple(sorted(set(labels) - {""}))


def distinct_ids(listings: Sequence[tuple[str, Sequence[Record]]]) -> list[Record]:
    """The records of several named sources in one list; ids that collide get their source's name in front."""
    counts = Counter(record.image_id for _, records in listings for record in records)
    collide = any(count > 1 for count in counts.values())
    return [
        replace(
            record,
            image_id=f"{name}/{record.image_id}" if collide else record.image_id,
            source=record.source or name,
        )
        for name, records in listings
        for record in records
    ]


def stamp(path: Path) -> list[int]:
    """Size and modification time of a file, to notice that it changed; [] where it is not there."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return []
    return [facts.st_size, facts.st_mtime_ns]
