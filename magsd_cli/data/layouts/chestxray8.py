"""ChestX-ray8 and ChestX-ray14 (NIH Clinical Center; Wang et al., CVPR 2017), as downloaded.

Contract: ``Data_Entry_2017*.csv`` lists the images, which lie in ``images/`` or ``images_001/images/`` ...
``images_012/images/``; not all archives need to be there. Label: "Pneumonia" where it is among the
findings, "Normal" for "No Finding"; images with only other findings are left out (other_finding); findings
stay in their column. Patients are the table's, as ``nih-<id>``. Boxes come from ``BBox_List_2017.csv``, whose
frame is 1024x1024, scaled to each image's own size; all are kept, with their label.
"""

from __future__ import annotations

import csv
from pathlib import Path

from magsd_cli.data.decode import read_bytes
from magsd_cli.data.decode_error import DecodeError
from magsd_cli.data.folders.tree import walk
from magsd_cli.data.headers import read_header
from magsd_cli.data.layouts.listing import Boxes, Listing, Record, count_notes, unlisted
from magsd_cli.data.layouts.table import lenient_rows

FRAME = 1024.0  # the boxes' own frame, whatever size an image has been given since
BOXES = "BBox_List_2017.csv"
COLUMNS = ("image_index", "finding_labels", "patient_id")


def recognise(source: Path) -> bool:
    """The table of the archive is there."""
    return _table(source) is not None


def read(source: Path) -> Listing:
    """List the images of the table. Raises `UsageError` when the table lacks a column."""
    table = _table(source) or source / "Data_Entry_2017.csv"
    tree = walk(source)
    there = {path.name: path for path in tree.files}
    records = [_record(source, there, row) for row in lenient_rows(table, COLUMNS)]
    present = {record.path for record in records}
    records += unlisted(source, present, table.name, tree=tree)
    return Listing(
        "chestxray8",
        records,
        boxes=_boxes(source, there),
        notes=count_notes(source, records),
        left_out=tree.without([table, source / BOXES]),
    )


def _table(source: Path) -> Path | None:
    return next(iter(sorted(source.glob("Data_Entry_2017*.csv"))), None)


def _record(source: Path, there: dict[str, Path], row: dict[str, str]) -> Record:
    name, findings = row["image_index"], row["finding_labels"].split("|")
    label = "Pneumonia" if "Pneumonia" in findings else "Normal" if findings == ["No Finding"] else None
    problem = None
    if name not in there:
        problem = ("not_found", "listed in the table, but missing")
    elif label is None:
        problem = ("other_finding", "neither Pneumonia nor No Finding")
    age = row.get("patient_age", "").rstrip("Yy").lstrip("0")
    return Record(
        path=there.get(name, source / "images" / name),
        image_id=name,
        label=label,
        patient_id=f"nih-{row['patient_id']}" if row["patient_id"] else "",
        sex=row.get("patient_gender", row.get("patient_sex", "")),
        age=age if age.isdigit() and int(age) <= 120 else "",
        view=row.get("view_position", ""),
        source="ChestX-ray8",
        findings="|".join(findings),
        problem=problem,
    )


def _boxes(source: Path, there: dict[str, Path]) -> Boxes | None:
    path = source / BOXES
    if not path.is_file():
        return None
    import pandas as pd

    rows = []
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        # The header is broken ("Bbox [x,y,w,h],,,"), so the columns go by their place.
        for row in list(csv.reader(file))[1:]:
            if len(row) >= 6 and row[0] in there:
                width, height = _size(there[row[0]])
                x, y, w, h = (float(value) for value in row[2:6])
                across, down = width / FRAME, height / FRAME
                rows.append((row[0], row[1], x * across, y * down, w * across, h * down))
    return pd.DataFrame(rows, columns=["image_id", "label", "x", "y", "width", "height"])


def _size(path: Path) -> tuple[int, int]:
    """Width and height of an image as stored; the frame's where the file is damaged and gets an error row."""
    try:
        header = read_header(read_bytes(path))
    except DecodeError:
        return int(FRAME), int(FRAME)
    return header.width, header.height
