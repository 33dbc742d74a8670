"""A folder with a manifest, ``metadata.csv``: ``path,label,patient_id[,sex,age,view,source,findings,...]``.

Contract: UTF-8 (a byte order mark is fine), a header line, one row per image; `path` is relative to the
folder and stays inside it; `label` may be empty (unlabelled); `patient_id` empty means unknown. Known further
columns: sex, age, view, source, findings, exam_id, split; others are ignored. A manifest that contradicts
itself (a missing column, a ragged row, a path twice, a path outside) is refused as a whole, with its row
number, before any work. Optional beside it: ``boxes.csv`` (path,label,x,y,width,height, in pixels)
and ``masks/`` or ``lung_masks/`` with one picture per image.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from magsd_cli.console import printable
from magsd_cli.data.layouts.listing import Listing, Record, count_notes, list_files, readable, unlisted
from magsd_cli.data.layouts.table import header_of, strict_rows
from magsd_cli.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


MANIFEST = "metadata.csv"


REQUIRED = ("path", "label", "patient_id")


def recognise(source: Path) -> bool:
    """A ``metadata.csv`` with a path column, or such a table named itself."""
    return "path" in header_of(_manifest(source))


def _manifest(source: Path) -> Path:
    return source if source.suffix.lower() == ".csv" and source.is_file() else source / MANIFEST


def read(source: Path) -> Listing:
    """List the images of the manifest. Raises `UsageError` with the row number of the first contradiction."""
    manifest = _manifest(source)
    folder = manifest.parent
    seen: dict[str, tuple[int, str]] = {}
    records = []
    for number, row in strict_rows(manifest, REQUIRED):
        where = f"{manifest}: row {number}"
        inside = _inside(row["path"], where)
        if inside in seen:
            earlier, label = seen[inside]
            kind = "two labels" if label != row["label"] else "listed twice"
            raise UsageError(
                f"{where}: {printable(inside)}: {kind} (first in row {earlier}); keep one row a file"
            )
        seen[inside] = (number, row["label"])
        records.append(_record(folder, inside, row))
    _refuse_split_patients(records, manifest)
    listed = {record.path for record in records}
    masks = _masks(folder, records)
    records += unlisted(folder, listed | set(masks.values()), manifest.name, skip=MASK_FOLDERS)
    return Listing(
        "csv",
        records,
        boxes=_boxes(folder, listed),
        masks=dict(masks),
        mask_kind="lesion" if (folder / "masks").is_dir() else "lung",
        notes=count_notes(folder, records),
    )


MASK_FOLDERS = ("masks", "lung_masks")


def _record(source: Path, inside: str, row: dict[str, str]) -> Record:
    return Record(
        path=source / inside,
        image_id=readable(inside),
        label=row["label"] or None,
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


def _refuse_split_patients(records: list[Record], path: Path) -> None:
    """A patient in two given splits leaks from one to the other."""
    split_of: dict[str, str] = {}
    for number, record in enumerate(records, start=2):
        if not record.split or not record.patient_id:
            continue
        split = split_of.setdefault(record.patient_id, record.split)
        if split != record.split:
            raise UsageError(f"{path}: row {number}: its patient is in two splits; keep each patient in one")


def _boxes(source: Path, listed: set[Path]) -> pd.DataFrame | None:
    path = source / "boxes.csv"
    if not path.is_file():
        return None
    import pandas as pd

    rows = []
    for number, row in strict_rows(path, ("path", "x", "y", "width", "height")):
        where = f"{path}: row {number}"
        inside = _inside(row["path"], where)
        if source / inside not in listed:
            raise UsageError(f"{where}: {printable(inside)} is not in {MANIFEST}; list it or remove the box")
        rows.append({"image_id": readable(inside), "label": row.get("label", ""), **_numbers(row, where)})
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
