"""A folder with a manifest, ``metadata.csv``: ``path,label,patient_id[,sex,age,view,source,findings,...]``.

Contract: a header line, one row per image; `path` is relative to the folder and stays inside it; `label` may
be empty (unlabelled); `patient_id` empty, or a word for unknown, means unknown. Known further columns: sex,
age, view, source, findings, exam_id, split; others are ignored. The name of the file and of its columns may
be in any case; separators, encodings (UTF-8, UTF-16) and a title above the header are found out. A manifest
that cannot be understood or contradicts itself (a missing column, a ragged row, a path twice, a path outside,
"nan" as a label) is refused as a whole, with its row number, before any work. A path is looked for in both
Unicode forms. Optional beside it: ``boxes.csv`` (path,label,x,y,width,height, in pixels) and ``masks/`` or
``lung_masks/`` with one picture per image.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from magsd_cli.console import printable
from magsd_cli.data.folders.tree import Tree, walk
from magsd_cli.data.layouts.listing import (
    Listing,
    Record,
    class_name,
    count_notes,
    count_skipped,
    list_files,
    readable,
    unlisted,
)
from magsd_cli.data.layouts.table import find_table, refuse_missing_label, strict_rows
from magsd_cli.data.missing_words import known_ids
from magsd_cli.data.unicode_forms import same_path
from magsd_cli.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


MANIFEST = "metadata.csv"
MANIFESTS = (MANIFEST, "metadata.tsv")
SHEETS = ("metadata.xlsx", "metadata.xls", "metadata.ods")  # refused: what one shows is not what it stores
REQUIRED = ("path", "label", "patient_id")


def recognise(source: Path) -> bool:
    """A ``metadata.csv``, in any case of its letters, or a table that is named itself."""
    return _is_table(source) or find_table(source, *MANIFESTS, *SHEETS) is not None


def _is_table(source: Path) -> bool:
    return source.suffix.lower() in (".csv", ".tsv", ".xlsx", ".xls", ".ods") and source.is_file()


def find_manifest(source: Path) -> Path:
    """The manifest of a folder, or the table that is named itself. Raises `UsageError` for a spreadsheet."""
    manifest = source if _is_table(source) else find_table(source, *MANIFESTS, *SHEETS) or source / MANIFEST
    if manifest.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise UsageError(f"{manifest}: spreadsheets are not read; save it as {MANIFEST} (CSV, UTF-8)")
    return manifest


def read(source: Path) -> Listing:
    """List the images of the manifest. Raises `UsageError` with the row number of the first contradiction."""
    manifest = find_manifest(source)
    folder = manifest.parent
    rows = _rows(manifest)
    tree = walk(folder)
    records = _find_files([_record(folder, inside, row) for _, inside, row in rows], tree)
    _refuse_twins(rows, records, manifest)
    records = _with_known_ids(records)
    _refuse_split_patients(records, [number for number, _, _ in rows], manifest)
    listed = {record.path for record in records}
    masks = _masks(folder, records)
    used = listed | set(masks.values())
    boxes = find_table(folder, "boxes.csv")
    records += unlisted(folder, used, manifest.name, skip=MASK_FOLDERS, tree=tree)
    return Listing(
        "csv",
        records,
        boxes=_boxes(boxes, records) if boxes else None,
        masks=dict(masks),
        mask_kind="lesion" if (folder / "masks").is_dir() else "lung",
        notes=count_notes(folder, records),
        left_out={
            **count_skipped(tree, MASK_FOLDERS, used),
            **tree.without([manifest, *([boxes] if boxes else [])]),
        },
    )


def refuse_manifests_below(tree: Tree) -> None:
    """Raise `UsageError` where a folder below holds a manifest, which would be ignored."""
    names = {*MANIFESTS, "data_entry_2017.csv", "data_entry_2017_v2020.csv"}
    below = [p.parent for p in tree.tables if p.parent != tree.folder and p.name.strip().lower() in names]
    if below:
        shown = ", ".join(printable(folder) for folder in below[:3]) + (", ..." if len(below) > 3 else "")
        raise UsageError(
            f"{tree.folder}: a manifest lies below it, in {shown}; name that folder as SOURCE (or several), "
            "or read the folders' names as classes with --layout folder"
        )


def _rows(manifest: Path) -> list[tuple[int, str, dict[str, str]]]:
    """Each row's number, path and fields; a path stands once and has one label."""
    seen: dict[str, tuple[int, str]] = {}
    rows = []
    for number, row in strict_rows(manifest, REQUIRED):
        where = f"{manifest}: row {number}"
        inside = _inside(row["path"], where)
        label = class_name(row["label"])
        refuse_missing_label(label, where)
        if inside in seen:
            earlier, other = seen[inside]
            kind = "two labels" if label != other else "listed twice"
            raise UsageError(
                f"{where}: {printable(inside)}: {kind} (first in row {earlier}); keep one row a file"
            )
        seen[inside] = (number, label)
        rows.append((number, inside, row))
    return rows


def _find_files(records: list[Record], tree: Tree) -> list[Record]:
    """Records with the path that is there where the table has its twin in another Unicode form."""
    there = set(tree.files)
    if all(record.path in there for record in records):
        return records
    twins = defaultdict(list)
    for path in tree.files:
        twins[same_path(path.relative_to(tree.folder).as_posix())].append(path)
    found = []
    for record in records:
        fitting = [] if record.path in there else twins.get(same_path(_relative(record, tree)), [])
        found.append(replace(record, path=fitting[0]) if len(fitting) == 1 else record)
    return found


def _relative(record: Record, tree: Tree) -> str:
    return record.path.relative_to(tree.folder).as_posix()


def _refuse_twins(rows: list[tuple[int, str, dict[str, str]]], records: list[Record], manifest: Path) -> None:
    """Two rows that mean one file, in two Unicode forms."""
    first: dict[Path, int] = {}
    for (number, inside, _), record in zip(rows, records, strict=True):
        earlier = first.setdefault(record.path, number)
        if earlier != number:
            raise UsageError(
                f"{manifest}: row {number}: {printable(inside)}: listed twice (first in row {earlier}); "
                "keep one row a file"
            )


def _with_known_ids(records: list[Record]) -> list[Record]:
    patients = known_ids([record.patient_id for record in records])
    exams = known_ids([record.exam_id for record in records])
    return [
        record
        if (record.patient_id, record.exam_id) == (patient, exam)
        else replace(record, patient_id=patient, exam_id=exam)
        for record, patient, exam in zip(records, patients, exams, strict=True)
    ]


MASK_FOLDERS = ("masks", "lung_masks")


def _record(source: Path, inside: str, row: dict[str, str]) -> Record:
    return Record(
        path=source / inside,
        image_id=readable(inside),
        label=class_name(row["label"]) or None,
        patient_id=row["patient_id"],
        sex=row.get("sex", ""),
        age=row.get("age", ""),
        view=row.get("view", ""),
        source=row.get("source", ""),
        findings=row.get("findings", ""),
        exam_id=row.get("exam_id", ""),
        split=row.get("split", ""),
    )


def _inside(text: str, where: str) -> str:
    """The relative path `text`, normalised; it must not leave the folder."""
    path = PurePosixPath(text.replace("\\", "/") if "/" not in text else text)
    outside = path.is_absolute() or PureWindowsPath(text).drive or ".." in path.parts
    if not text or "\x00" in text or outside:
        reason = "leaves the folder" if outside else "empty or impossible path"
        raise UsageError(f"{where}: {printable(text)!r}: {reason}; use paths relative to {MANIFEST}")
    return path.as_posix()


def _refuse_split_patients(records: list[Record], numbers: list[int], path: Path) -> None:
    """A patient in two given splits leaks from one to the other."""
    split_of: dict[str, str] = {}
    for number, record in zip(numbers, records, strict=True):
        if not record.split or not record.patient_id:
            continue
        split = split_of.setdefault(record.patient_id, record.split)
        if split != record.split:
            raise UsageError(f"{path}: row {number}: its patient is in two splits; keep each patient in one")


def _boxes(path: Path, records: list[Record]) -> pd.DataFrame:
    import pandas as pd

    ids = {same_path(record.image_id): record.image_id for record in records if record.problem is None}
    ids |= {image_id: image_id for image_id in ids.values()}
    rows = []
    for number, row in strict_rows(path, ("path", "x", "y", "width", "height")):
        where = f"{path}: row {number}"
        inside = readable(_inside(row["path"], where))
        image_id = ids.get(inside) or ids.get(same_path(inside))
        if image_id is None:
            raise UsageError(f"{where}: {printable(inside)} is not in {MANIFEST}; list it or remove the box")
        rows.append({"image_id": image_id, "label": row.get("label", ""), **_numbers(row, where)})
    return pd.DataFrame(rows)


def _numbers(row: dict[str, str], where: str) -> dict[str, float]:
    try:
        numbers = {name: float(row[name]) for name in ("x", "y", "width", "height")}
    except ValueError as error:
        raise UsageError(f"{where}: x, y, width, height must be numbers") from error
    if not (
        0 < numbers["width"] < 1e6
        and 0 < numbers["height"] < 1e6
        and abs(numbers["x"]) < 1e6 > abs(numbers["y"])
    ):
        raise UsageError(f"{where}: a box needs a positive width and height, in pixels")
    return numbers


def _masks(source: Path, records: list[Record]) -> dict[str, Path]:
    """Mask pictures by image: the same path under masks/ or lung_masks/ by class folder and stem."""
    found: dict[tuple[str, str], Path] = {}
    for name in MASK_FOLDERS:
        if (source / name).is_dir():
            for path in list_files(source / name):
                found.setdefault((path.parent.name if path.parent != source / name else "", path.stem), path)
    by_stem = {stem: path for (_, stem), path in found.items()}
    masks = {}
    for record in records:
        place = (record.path.parent.name, record.path.stem)
        mask = found.get(place) or by_stem.get(record.path.stem)
        if mask is not None:
            masks[record.image_id] = mask
    return masks
